"""The records on the topics beside interactions: lists, models, control, catalogue, dead letters.

Plain JSON that any client can read. One struct a record; REST and WebSocket send the same bodies.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from recstream.core.events import EventWeights
from recstream.core.steering import Steering

Source = Literal["popular", "fold-in", "refresh", "content"]


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why an item is in a list: the part of its score that one thing brings.

    Attributes
    ----------
    kind : str
        ``because`` of an item of the history, ``content`` that is like an item of the history,
        ``popular`` of late, ``boosted`` or ``pinned`` by a rule; ``newcomer``, which a place is kept for.
    item, event : str
        Of the history.
    share : float
        Among all parts that raise the score.
    shared : tuple of str
        What both items have in common: ``brand: Acme``, ``category: Books``, ``word: guitar``.
    rule : str
        Its name.
    """

    kind: Literal["because", "content", "popular", "pinned", "boosted", "newcomer"]
    item: str = ""
    event: str = ""
    share: float = 0.0
    shared: tuple[str, ...] = ()
    rule: str = ""


class RecommendedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One place of a list. ``was`` is its rank in the list before, 0 if it was not there."""

    item: str
    rank: int
    score: float
    was: int = 0
    why: tuple[Reason, ...] = ()


class AsOf(msgspec.Struct, frozen=True, kw_only=True):
    """The newest event of the user that the list knows of: a position on the interactions topic."""

    partition: int
    offset: int


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the list came from, and when each step was done (milliseconds since 1970).

    The times are for measuring; nothing is derived from them, and two derivations of one list are
    compared without them.
    """

    event_id: str = ""
    event_ts: int = 0
    appended_ts: int = 0
    folded_ts: int = 0
    published_ts: int = 0


class Recommendations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user's list: the record on `recstream.recommendations`, and the body of REST and WebSocket.

    A pure function of (the user's history as of ``as_of``, ``generation``, ``delta``, the rules that
    ``control`` names by their offset on the control topic). ``arm`` is the user's in an experiment,
    if there is one. ``epoch`` and ``offset`` are the list's own position and are filled in by its reader.
    """

    rec_id: str
    user: str
    generation: int
    delta: int = 0
    control: int = -1
    arm: str = ""
    as_of: AsOf | None = None
    source: Source
    items: tuple[RecommendedItem, ...]
    lineage: Lineage = Lineage()
    epoch: str = ""
    partition: int = 0
    offset: int = -1


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a candidate generation did on what happened last, and what follows.

    Attributes
    ----------
    users, items : int
        Judged by; 0 if too little happened to judge.
    candidate, popular : float
        Mean recall@20.
    serving : float or None
        None if there is no generation to compare with.
    is_accepted : bool
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


class GenerationAnnounced(
    msgspec.Struct, frozen=True, kw_only=True, tag="generation", tag_field="type"
):
    """A generation that workers and bridges may adopt: a reference, never the model itself.

    Attributes
    ----------
    generation : int
    parent : int or None
        The generation it was warm-started from.
    artifact : str
        Name in the model store.
    digest : str
        BLAKE2b of the artifact's content; checked by every reader.
    offsets : dict of str to int
        Partition to the next offset of interactions: everything before it is in the histories trained on.
    gate_result : GateResult or None
        Why it was adopted; None where nobody asked (the first, a copy, or by force).
    copies : int or None
        The generation that it repeats under a number of its own: a rollback.
    catalogue_offset : int
        Next offset of the catalogue: everything before it is in the items' facts.
    """

    generation: int
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


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A product: the record on `recstream.catalogue` and the body of ``/v1/items``."""

    item: str
    title: str = ""
    category: str = ""
    brand: str = ""
    price: float | None = None
    description: str = ""
    image: str = ""
    attributes: dict[str, Any] = {}


class DeltaAnnounced(
    msgspec.Struct, frozen=True, kw_only=True, tag="delta", tag_field="type", omit_defaults=True
):
    """Items that moved since a generation. ``delta`` counts 1, 2, 3 … within the generation.

    Attributes
    ----------
    items : tuple of str
    factors : bytes
        float32, C order, ``(len(items), n_factors)``; empty when the generation has no factors.
    bias : bytes
        float32 ``(len(items),)``: the items' new priors.
    counts : bytes
        int32 ``(len(items),)``: users who have the item by now, which its weights depend on.
    offsets : dict of str to int
        Partition to the next offset of interactions that the delta knows of.
    catalogue : dict of str to (Item or None)
        AttributeColumns of items that changed, as lists need them (`recstream.core.content.summary.summarise`); None:
        withdrawn, never listed until it comes back.
    near, nearness : bytes
        int32 and float32 ``(len(items), WIDTH)``: the items' content neighbours, as rows of the
        generation once this delta is applied, -1 for none; empty when no item's content changed.
    catalogue_offset : int
        Next offset of the catalogue: everything before it is in lists with this delta.
    """

    generation: int
    delta: int
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


class TrainingRequested(
    msgspec.Struct, frozen=True, kw_only=True, tag="train", tag_field="type", omit_defaults=True
):
    """Somebody asked for a training run; the answer is a generation, or why there is none.

    ``force`` has it adopted whatever the gate says.
    """

    id: str
    requested_ts: int
    reason: str = ""
    force: bool = False


class RollbackRequested(
    msgspec.Struct, frozen=True, kw_only=True, tag="rollback", tag_field="type", omit_defaults=True
):
    """Somebody asked for an older generation back; the answer is a generation that copies it.

    It stays until somebody asks for a training run: the schedule would bring back what was rolled
    back from.
    """

    id: str
    generation: int
    requested_ts: int
    reason: str = ""


class SettingsActivated(msgspec.Struct, frozen=True, kw_only=True, tag="rules", tag_field="type"):
    """From an offset of a partition on, its events weigh and its lists are made by these rules.

    The worker that owns the partition appends it before it folds the first event by them, so that
    a replay folds every event by the rules that held then. Its own offset on the control topic is
    the number that lists carry as ``control``. ``steering`` is the control offset of the
    `SteeringSet` in force, -1 for none.
    """

    partition: int
    from_offset: int
    weights: EventWeights
    half_life_ms: float
    list_size: int
    adopted_ts: int
    steering: int = -1


class SteeringSet(
    msgspec.Struct, frozen=True, kw_only=True, tag="steering", tag_field="type", omit_defaults=True
):
    """A shop said how its lists are to be shaped; it holds for a partition once its worker adopts it.

    An empty document takes back what was said before.
    """

    id: str
    steering: Steering
    requested_ts: int


class ForgetRequested(msgspec.Struct, frozen=True, kw_only=True, tag="forget", tag_field="type"):
    """Somebody asked that a user be forgotten. The last step of that is to blank this record."""

    id: str
    user: str
    requested_ts: int


class Forgotten(msgspec.Struct, frozen=True, kw_only=True, tag="forgotten", tag_field="type"):
    """A user of a partition is forgotten, who is not said: their events before an offset do not count.

    Appended with the tombstones of the user's rows. Generations that knew those events can't be
    trained again from what remains.

    Attributes
    ----------
    id : str
        Of the request.
    partition : int
    at_offset : int
        On the interactions topic. What the user does from here on is a new history.
    """

    id: str
    partition: int
    at_offset: int
    forgotten_ts: int


ControlRecord = (
    TrainingRequested
    | RollbackRequested
    | SettingsActivated
    | SteeringSet
    | ForgetRequested
    | Forgotten
)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What could not be read, why, and where it came from; it can be sent again from here."""

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    pointer: str = ""
    value: str = ""
    truncated: bool = False


class TrainingProgress(
    msgspec.Struct, frozen=True, kw_only=True, tag="training", tag_field="type", omit_defaults=True
):
    """What the trainer is doing now, on `recstream.pipeline`: for people to look at."""

    state: Literal["waiting", "training", "done", "failed", "rejected"]
    generation: int = 0
    iteration: int = 0
    iterations: int = 0
    seconds: float = 0.0
    detail: str = ""
    ts: int = 0


class PrequentialScore(msgspec.Struct, frozen=True, kw_only=True):
    """How well lists predicted some events, each before it was learnt.

    Attributes
    ----------
    events : int
    hits : dict of int to float
        k to the share of events whose item was among the first k.
    mrr : float
        Mean of 1 / rank, 0 where the item was not listed.
    """

    events: int
    hits: dict[int, float]
    mrr: float


class ClickCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many items were shown from lists, and how many of them were taken for the first time."""

    shown: int = 0
    clicked: int = 0


class WorkerStatus(
    msgspec.Struct, frozen=True, kw_only=True, tag="worker", tag_field="type", omit_defaults=True
):
    """What one worker has done, about once a second while it works."""

    worker: str
    events: int
    published: int
    dead_letters: int
    lag: dict[str, int]
    generation: int
    delta: int = 0
    fold_in_ms_p50: float = 0.0
    fold_in_ms_p99: float = 0.0
    freshness_ms_p50: float = 0.0
    freshness_ms_p99: float = 0.0
    prequential: dict[str, PrequentialScore] = {}
    clicks: dict[str, ClickCounts] = {}
    ts: int = 0


PipelineRecord = TrainingProgress | WorkerStatus
