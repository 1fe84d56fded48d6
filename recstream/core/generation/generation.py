"""A generation: the trained model as it is served. Item ids, factors, priors, neighbours, attributes.

A generation is stored once, as named arrays (`recstream.core.generation.serialize`), and then changed by
numbered deltas. The score of an item is ``x_u · y_i + bias_i`` plus neighbour scores; the bias is the item's
popularity. It holds every item of the catalogue, also those without events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALSModel
from recstream.core.columns import IdTable
from recstream.core.content import AttributeColumns, ItemDetails, cold_start_multiplier
from recstream.core.generation.delta import DeltaValues
from recstream.core.generation.scoring import ScoringParameters
from recstream.core.generation.serialize import generation_arrays, generation_parts
from recstream.core.neighbours import Neighbours
from recstream.core.numeric.arrays import GrowableArray
from recstream.core.records import DeltaAnnounced, Item
from recstream.core.search import ItemIndex
from recstream.errors import ArtifactCorrupt, InvalidInput, ModelMismatch


class Generation:
    """A model generation, as of its newest delta. Not thread-safe: its owner serialises `apply_delta`.

    Parameters
    ----------
    number : int
        0 is the first generation, popularity alone.
    parent : int or None
        The generation that training started from.
    offsets : mapping of str to int
        Next offset of each partition of interactions: the training data.
    hyperparameters : mapping
        Plain JSON values; `scoring` gives those that scores use.
    items : sequence of str
        Ids in the order of their rows.
    bias : (m,) float32
        The items' popularity priors.
    model : ALSModel or None
        None for a generation without factors.
    details : mapping of str to Item, optional
        Catalogue entries by item id (`recstream.core.content.summary.summarise`).
    withdrawn : (m,) bool, optional
        Items deleted from the catalogue: never listed.
    content, behaviour : Neighbours, optional
        Neighbours by content and by behaviour; the generation takes them over.
    content_arrays : mapping, optional
        Named arrays for the next training: `recstream.core.content.content_model`.
    catalogue_offset : int
        Next offset of the catalogue topic; earlier records are in ``details``.
    index : ItemIndex, optional
        Made of ``bias`` and the factors before; then the generation takes the model over too.

    Attributes
    ----------
    followed : (int, int) or None
        The newest delta, by generation and number, that `follow_withdrawals` followed.
    items : IdTable
        Ids in the order of their rows.
    details : ItemDetails
        Catalogue entries by item id.
    compiled_arms : dict
        Cache of compiled arms (`recstream.core.ranking.compiled_arm`).
    """

    def __init__(
        self,
        *,
        number: int,
        parent: int | None,
        offsets: Mapping[str, int],
        hyperparameters: Mapping[str, Any],
        seed: int,
        items: Sequence[str],
        bias: NDArray[np.float32],
        model: ALSModel | None,
        details: Mapping[str, Item] | None = None,
        withdrawn: NDArray[np.bool_] | None = None,
        content: Neighbours | None = None,
        behaviour: Neighbours | None = None,
        content_arrays: Mapping[str, NDArray[Any]] | None = None,
        catalogue_offset: int = 0,
        index: ItemIndex | None = None,
    ) -> None:
        try:
            self.items = IdTable.of(items)
        except InvalidInput as error:
            raise ModelMismatch(
                f"generation {number} must have distinct items, some repeat"
            ) from error
        if bias.shape != (len(items),) or (model is not None and model.n_items != len(items)):
            raise ModelMismatch(
                f"generation {number} has {len(items)} items, a prior of shape {bias.shape} and "
                f"{'no' if model is None else model.n_items} item factors; they must agree"
            )
        self.number = number
        self.parent = parent
        self.offsets = dict(offsets)
        self.hyperparameters = dict(hyperparameters)
        self.scoring = ScoringParameters.of(self.hyperparameters)
        self.seed = seed
        self.rows = self.items.rows
        self.model = model
        self.delta = 0
        self.followed: tuple[int, int] | None = None
        self.details = ItemDetails.of(details or {}, self.items)
        self.content = _table(content, number, len(items))
        self.behaviour = _table(behaviour, number, len(items))
        self.content_arrays = dict(content_arrays or {})
        self.catalogue_offset = catalogue_offset
        if withdrawn is None:
            withdrawn = np.zeros(len(items), np.bool_)
        if withdrawn.shape != (len(items),) or withdrawn.dtype != np.bool_:
            raise ModelMismatch(
                f"withdrawn must be {len(items)} booleans, got {withdrawn.dtype} {withdrawn.shape}"
            )
        listable = ~withdrawn
        listable[self.details.unavailable_rows()] = False
        self._listable = GrowableArray(listable)
        self._n_withdrawn = int((~listable).sum())
        self._is_shared = index is None
        counts = np.empty(0, np.int64) if model is None else model.item_counts
        self._multiplier = GrowableArray(self._multiplier_of(counts))
        self._columns: AttributeColumns | None = None
        self.compiled_arms: dict[bytes, Any] = {}
        factors = np.zeros((len(items), 1), np.float32) if model is None else model.item_factors
        self.index = ItemIndex(factors, bias) if index is None else index

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.items)

    @property
    def n_factors(self) -> int:
        """Number of factors; 0 without a model."""
        return 0 if self.model is None else self.model.n_factors

    @property
    def bias(self) -> NDArray[np.float32]:
        """The items' popularity priors as of the newest delta."""
        return self.index.bias

    @property
    def withdrawn(self) -> NDArray[np.bool_]:
        """Items deleted from the catalogue or not available, (m,) bool: not listed until they are again."""
        gone: NDArray[np.bool_] = ~self._listable.rows
        return gone

    @property
    def listable(self) -> NDArray[np.bool_] | None:
        """Mask of items that may be listed, (m,) bool; None if no item is withdrawn."""
        allowed: NDArray[np.bool_] = self._listable.rows
        return allowed if self._n_withdrawn else None

    @property
    def columns(self) -> AttributeColumns:
        """Attributes of the catalogue as columns, made on first use."""
        if self._columns is None:
            self._columns = AttributeColumns(
                self.items, self.details, int(self.hyperparameters.get("category_grammar", 1))
            )
        return self._columns

    @property
    def content_multiplier(self) -> NDArray[np.float32]:
        """Factor of each item's content score, (m,); empty without a model, where all are 1."""
        rows: NDArray[np.float32] = self._multiplier.rows
        return rows

    def _multiplier_of(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Return the content multiplier of items with so many entries."""
        return cold_start_multiplier(counts, self.scoring.newcomer_content)

    def apply_delta(self, delta: DeltaAnnounced) -> bool:
        """Apply a delta; False if it was applied before.

        The cost depends on the size of the delta alone.

        Raises
        ------
        ModelMismatch
            It belongs to another generation, skips a number, or has a wrong shape; nothing changed.
        """
        if delta.generation != self.number:
            raise ModelMismatch(
                f"delta {delta.delta} is of generation {delta.generation}, expected {self.number}"
            )
        if delta.delta <= self.delta:
            return False
        if delta.delta != self.delta + 1:
            raise ModelMismatch(
                f"generation {self.number} expects delta {self.delta + 1}, got {delta.delta}; "
                "read the models topic again from the generation's announcement"
            )
        values = DeltaValues.of(delta, self.n_factors)
        rows, new = self._rows_of(delta)
        n_items = len(self.items) + len(new)
        if values.near.max(initial=-1) >= n_items or values.near.min(initial=-1) < -1:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {self.number} names a neighbour that is not "
                f"among {n_items} items"
            )
        known = self.items.rows_of(list(delta.catalogue)) >= 0
        added = set(new)
        unknown = [
            item
            for item, is_known in zip(delta.catalogue, known.tolist(), strict=True)
            if not is_known and item not in added
        ]
        if unknown:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {self.number} has catalogue entries of items that it does not "
                f"hold: {unknown[:3]}"
            )
        self.own()
        if self.model is not None:
            self.model.put_items(rows, values.factors, counts=values.counts.astype(np.int64))
            self._multiplier.grow(n_items)
            self._multiplier.rows[rows] = self._multiplier_of(values.counts)
        factors = values.factors if self.model is not None else np.zeros((len(rows), 1), np.float32)
        self.index.update(rows, factors, values.bias)
        self.items.add(new)
        self._listable.grow(n_items, fill=True)
        self.content.grow(n_items)
        self.behaviour.grow(n_items)
        self._set_listable(delta.catalogue)
        self.details.update_all(delta.catalogue)
        if self._columns is not None:
            self._columns.update(self.rows, delta.catalogue)
        if len(values.near):
            self.content.put_all(rows, values.near, values.nearness)
        self.catalogue_offset = max(self.catalogue_offset, delta.catalogue_offset)
        self.delta = delta.delta
        return True

    def own(self) -> None:
        """Copy shared arrays, with capacity for new items; otherwise the first delta copies them."""
        if self.model is not None and self._is_shared:
            self.model = self.model.growing()
            self._is_shared = False

    def _rows_of(self, delta: DeltaAnnounced) -> tuple[NDArray[np.int32], list[str]]:
        """Return the rows of a delta's items, and its new items in the order of their rows."""
        rows = self.items.rows_of(delta.items)
        if len(set(delta.items)) != len(delta.items):
            raise ModelMismatch(f"delta {delta.delta} of generation {self.number} repeats an item")
        is_new = np.flatnonzero(rows < 0)
        rows[is_new] = len(self.items) + np.arange(len(is_new))
        return rows, [delta.items[at] for at in is_new.tolist()]

    def follow_withdrawals(self, delta: DeltaAnnounced) -> None:
        """Withdraw items, or list them again, by a newer generation's delta that can't be applied here."""
        rows = self.items.rows_of(list(delta.catalogue)).tolist()
        known = {
            item: facts
            for row, (item, facts) in zip(rows, delta.catalogue.items(), strict=True)
            if row >= 0
        }
        if known:
            self._set_listable(known)
            self.compiled_arms.clear()
            self.followed = delta.generation, delta.delta

    def _set_listable(self, catalogue: Mapping[str, Item | None]) -> None:
        rows = self.items.rows_of(list(catalogue))
        allowed = [facts is not None and facts.available for facts in catalogue.values()]
        listable = self._listable.rows
        self._n_withdrawn += int(np.count_nonzero(listable[rows])) - sum(allowed)
        listable[rows] = allowed

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the generation as named arrays, as its artifact holds them."""
        names = (
            "number", "parent", "offsets", "hyperparameters", "seed", "items", "bias", "model",
            "details", "withdrawn", "content", "behaviour", "content_arrays", "catalogue_offset",
        )  # fmt: skip
        return generation_arrays({name: getattr(self, name) for name in names})

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> Generation:
        """Return the generation of these `arrays`.

        Raises
        ------
        ArtifactCorrupt
            A name, type or shape is not what it must be.
        """
        try:
            return cls(**generation_parts(named))
        except (KeyError, TypeError, ValueError, ModelMismatch, InvalidInput) as error:
            raise ArtifactCorrupt(f"artifact does not hold a generation: {error}") from error


def _table(table: Neighbours | None, number: int, n_items: int) -> Neighbours:
    """Return a table of the right size, or an empty table for None."""
    if table is None:
        return Neighbours.empty(n_items)
    if len(table) != n_items:
        raise ModelMismatch(
            f"generation {number} has {n_items} items, a neighbour table of {len(table)}"
        )
    return table
