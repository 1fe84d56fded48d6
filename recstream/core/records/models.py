"""Records of `recstream.models`: announcements of generations and of deltas between them."""

from typing import Annotated, Any

import msgspec

from recstream.core.records.catalogue import Item


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the acceptance gate: a candidate generation evaluated on the newest events.

    Attributes
    ----------
    users, items : int
        Evaluated on; 0 if there are too few new events to evaluate.
    candidate, popular : float
        Mean recall@20 of the candidate and of popularity alone.
    serving : float or None
        Mean recall@20 of the serving generation; None if there is none.
    is_accepted : bool
        ``is_adopted`` in JSON.
    reason : str
        One sentence.
    """

    users: int
    items: int
    candidate: float
    popular: float
    serving: float | None
    is_accepted: bool = msgspec.field(name="is_adopted")
    reason: str


Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""Of a generation or delta; JavaScript reads larger ones wrong, and rows have no room for them."""


class GenerationAnnounced(msgspec.Struct, frozen=True, kw_only=True, tag="generation"):
    """A generation that workers and bridges may activate: a reference, never the model itself.

    Attributes
    ----------
    parent : int or None
        The generation it was warm-started from.
    artifact : str
        Name in the model store.
    digest : str
        BLAKE2b of the artifact's content; every reader checks it.
    offsets : dict of str to int
        Partition to the next offset of interactions: the training histories include all before it.
    gate_result : GateResult or None
        ``judgement`` in JSON. None without evaluation: the first generation, a copy, or forced.
    copies : int or None
        Rollback: the generation that this one repeats under a new number.
    catalogue_offset : int
        Next offset of the catalogue: the items' attributes include all before it.
    control_offset : int or None
        Next offset of the control topic: commands before it are carried out, or replaced by others.
        None in older records.
    """

    generation: Number
    parent: int | None
    artifact: str
    digest: str
    offsets: dict[str, int]
    hyperparameters: dict[str, Any]
    seed: int
    n_users: int
    n_items: int
    n_interactions: int
    loss: float | None
    train_seconds: float
    created_ts: int
    gate_result: GateResult | None = msgspec.field(default=None, name="judgement")
    copies: int | None = None
    catalogue_offset: int = 0
    control_offset: int | None = None


class DeltaAnnounced(msgspec.Struct, frozen=True, kw_only=True, tag="delta", omit_defaults=True):
    """Items that changed since a generation. ``delta`` counts 1, 2, 3 … within the generation.

    Attributes
    ----------
    factors : bytes
        float32, C order, ``(len(items), n_factors)``; empty when the generation has no factors.
    bias : bytes
        float32 ``(len(items),)``: the items' new popularity biases.
    counts : bytes
        int32 ``(len(items),)``: users with the item in their history.
    offsets : dict of str to int
        Partition to the next offset of interactions: the delta includes all before it.
    catalogue : dict of str to (Item or None)
        New attributes, as `recstream.core.content.summary.summarise` returns them. None: withdrawn, not
        listed until the item comes back.
    near, nearness : bytes
        int32 and float32 ``(len(items), WIDTH)``: the items' content neighbours and their weights, as
        rows of the generation with this delta applied, -1 for none. Empty when no content changed.
    catalogue_offset : int
        Next offset of the catalogue: lists with this delta include all before it.
    """

    generation: Number
    delta: Number
    offsets: dict[str, int]
    items: tuple[str, ...]
    factors: bytes
    bias: bytes
    counts: bytes
    created_ts: int
    catalogue: dict[str, Item | None] = {}
    near: bytes = b""
    nearness: bytes = b""
    catalogue_offset: int = 0


ModelRecord = GenerationAnnounced | DeltaAnnounced
decode_model = msgspec.json.Decoder(ModelRecord).decode
