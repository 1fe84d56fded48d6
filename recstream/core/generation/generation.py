"""Steps 5 and 6 of the flow: a generation as it serves: item ids, factors, priors, and its deltas.

A generation is written once, as named arrays (`recstream.core.generation.serialize`), and then moves by
numbered deltas. Score of an item for a user: ``x_u · y_i + bias_i``, and what the item's content
and behaviour neighbours in the history add; the bias is the item's prior, how popular it is of
late. It holds every item of the catalogue, also those that nobody has touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALSModel
from recstream.core.content import AttributeColumns, cold_start_multiplier
from recstream.core.generation.serialize import arrays_of, parts_of
from recstream.core.neighbours import WIDTH, Neighbours
from recstream.core.numeric.arrays import GrowableArray
from recstream.core.records import DeltaAnnounced, Item
from recstream.core.search import ItemIndex
from recstream.errors import ArtifactCorrupt, InvalidInput, ModelMismatch

__all__ = ["Generation"]


class Generation:
    """A model generation, as of its newest delta. Its owner serialises `apply_delta` with reading.

    Parameters
    ----------
    number : int
        0 is the first, popularity alone.
    parent : int or None
        The generation it was warm-started from.
    offsets : mapping of str to int
        Partition to the next offset of interactions: what was trained on.
    hyperparameters : mapping
        What it was trained with, plain JSON values.
    seed : int
    items : list of str
        Ids in the order of their rows.
    bias : (m,) float32
        The items' priors.
    model : ALSModel or None
        None: no factors.
    details : mapping of str to Item, optional
        The catalogue's facts by item id, as `recstream.core.content.summary.summarise` keeps them; items
        without facts lack.
    withdrawn : (m,) bool, optional
        Items that the catalogue deleted: never listed.
    content, behaviour : Neighbours, optional
        Which items are alike, and which go together in histories; they are the generation's now.
    content_arrays : mapping, optional
        What the trainer goes on with, as named arrays: `recstream.core.content.features`.
    catalogue_offset : int
        Next offset of the catalogue: everything before it is in ``details``.

    Attributes
    ----------
    delta : int
        Number of the newest delta applied.
    rows : dict of str to int
        Item id to row.
    index : ItemIndex
        What lists are ranked by.
    steered : dict
        Steering documents carried out on this generation (`recstream.core.ranking.compiled_arm`).
    """

    def __init__(
        self,
        *,
        number: int,
        parent: int | None,
        offsets: Mapping[str, int],
        hyperparameters: Mapping[str, Any],
        seed: int,
        items: list[str],
        bias: NDArray[np.float32],
        model: ALSModel | None,
        details: Mapping[str, Item] | None = None,
        withdrawn: NDArray[np.bool_] | None = None,
        content: Neighbours | None = None,
        behaviour: Neighbours | None = None,
        content_arrays: Mapping[str, NDArray[Any]] | None = None,
        catalogue_offset: int = 0,
    ) -> None:
        if len(set(items)) != len(items):
            raise ModelMismatch(f"generation {number} must have distinct items, some repeat")
        if bias.shape != (len(items),) or (model is not None and model.n_items != len(items)):
            raise ModelMismatch(
                f"generation {number} has {len(items)} items, a prior of shape {bias.shape} and "
                f"{'no' if model is None else model.n_items} item factors; they must agree"
            )
        self.number = number
        self.parent = parent
        self.offsets = dict(offsets)
        self.hyperparameters = dict(hyperparameters)
        self.seed = seed
        self.items = list(items)
        self.rows = {item: row for row, item in enumerate(items)}
        self.model = model
        self.delta = 0
        self.details = dict(details or {})
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
        self._listable = GrowableArray(~withdrawn)
        self._n_withdrawn = int(withdrawn.sum())
        self._is_shared = True
        counts = np.empty(0, np.int64) if model is None else model.item_counts
        self._worth = GrowableArray(self._worth_of(counts))
        self._facts: AttributeColumns | None = None
        self.steered: dict[bytes, Any] = {}
        factors = np.zeros((len(items), 1), np.float32) if model is None else model.item_factors
        self.index = ItemIndex(factors, bias)

    @property
    def n_items(self) -> int:
        """Items it can list."""
        return len(self.items)

    @property
    def n_factors(self) -> int:
        """Factors of an item; 0 without factors."""
        return 0 if self.model is None else self.model.n_factors

    @property
    def bias(self) -> NDArray[np.float32]:
        """The items' priors as of the newest delta."""
        return self.index.bias

    @property
    def withdrawn(self) -> NDArray[np.bool_]:
        """Items that the catalogue deleted: never listed until they come back."""
        gone: NDArray[np.bool_] = ~self._listable.rows
        return gone

    @property
    def listable(self) -> NDArray[np.bool_] | None:
        """False for withdrawn items, as a mask of lists; None while there is none."""
        allowed: NDArray[np.bool_] = self._listable.rows
        return allowed if self._n_withdrawn else None

    @property
    def facts(self) -> AttributeColumns:
        """The catalogue's facts as columns, made when they are first asked for."""
        if self._facts is None:
            self._facts = AttributeColumns(self.items, self.details)
        return self._facts

    def gain(self, name: str) -> float:
        """Return what a neighbour term's weight is worth in scores: ``content``, ``behaviour``.

        Content's is that of items with many events; see `content_worth` for the others.
        """
        used = self.hyperparameters
        unit = float(used.get("popularity_unit", 1.0))
        return float(used.get(f"{name}_weight", 0.0)) * float(used.get(f"{name}_unit", 1.0)) * unit

    @property
    def content_worth(self) -> NDArray[np.float32]:
        """What content adds to each item is multiplied by this; empty without factors, where it is 1."""
        rows: NDArray[np.float32] = self._worth.rows
        return rows

    def _worth_of(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Return what content is worth to items of so many entries."""
        return cold_start_multiplier(
            counts, float(self.hyperparameters.get("newcomer_content", 0.0))
        )

    def apply_delta(self, delta: DeltaAnnounced) -> bool:
        """Move the items a delta names; False if it was applied before.

        Costs what the delta holds, whatever the number of items.

        Raises
        ------
        ModelMismatch
            It belongs to another generation, skips a number, or has the wrong shape; nothing moved.
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
        values = _Values.of(delta, self.n_factors)
        rows, new = self._rows_of(delta)
        n_items = len(self.items) + len(new)
        if values.near.max(initial=-1) >= n_items or values.near.min(initial=-1) < -1:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {self.number} names a neighbour that is not "
                f"among {n_items} items"
            )
        added = set(new)
        unknown = [i for i in delta.catalogue if i not in self.rows and i not in added]
        if unknown:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {self.number} has facts of items it does not "
                f"know: {unknown[:3]}"
            )
        self.own()
        if self.model is not None:
            self.model.put_items(rows, values.factors, counts=values.counts.astype(np.int64))
            self._worth.grow(n_items)
            self._worth.rows[rows] = self._worth_of(values.counts)
        factors = values.factors if self.model is not None else np.zeros((len(rows), 1), np.float32)
        self.index.update(rows, factors, values.bias)
        for item in new:
            self.rows[item] = len(self.items)
            self.items.append(item)
        self._listable.grow(n_items, fill=True)
        self.content.grow(n_items)
        self.behaviour.grow(n_items)
        self._take_facts(delta.catalogue)
        if len(values.near):
            self.content.put_all(rows, values.near, values.nearness)
        self.catalogue_offset = max(self.catalogue_offset, delta.catalogue_offset)
        self.delta = delta.delta
        return True

    def own(self) -> None:
        """Copy what others may hold too, with room for new items; the first delta does it otherwise."""
        if self.model is not None and self._is_shared:
            self.model = self.model.growing()
            self._is_shared = False
        self.content.own()
        self.behaviour.own()

    def _rows_of(self, delta: DeltaAnnounced) -> tuple[NDArray[np.int32], list[str]]:
        """Return the rows of a delta's items, and those that are new, in the order of their rows."""
        rows = np.empty(len(delta.items), np.int32)
        new: dict[str, int] = {}
        for at, item in enumerate(delta.items):
            row = self.rows.get(item)
            if row is None:
                row = new.setdefault(item, len(self.items) + len(new))
            rows[at] = row
        if len(set(delta.items)) != len(delta.items):
            raise ModelMismatch(f"delta {delta.delta} of generation {self.number} repeats an item")
        return rows, list(new)

    def _take_facts(self, catalogue: Mapping[str, Item | None]) -> None:
        """Take in what the catalogue says now of some items."""
        listable = self._listable.rows
        for item, facts in catalogue.items():
            row = self.rows[item]
            self._n_withdrawn += int(listable[row]) - int(facts is not None)
            listable[row] = facts is not None
            if facts is None:
                self.details.pop(item, None)
            else:
                self.details[item] = facts
        if self._facts is not None:
            self._facts.update(self.rows, catalogue)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the generation as named arrays: what its artifact holds beside their digest."""
        return arrays_of(self)

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> Generation:
        """Return the generation that `arrays` described.

        Raises
        ------
        ArtifactCorrupt
            A name, type or shape is not what it must be.
        """
        try:
            return cls(**parts_of(named))
        except (KeyError, TypeError, ValueError, ModelMismatch, InvalidInput) as error:
            raise ArtifactCorrupt(f"artifact does not hold a generation: {error}") from error


class _Values(NamedTuple):
    """The numbers of a delta, one row an item."""

    factors: NDArray[np.float32]
    bias: NDArray[np.float32]
    counts: NDArray[np.int32]
    near: NDArray[np.int32]
    nearness: NDArray[np.float32]

    @classmethod
    def of(cls, delta: DeltaAnnounced, n_factors: int) -> _Values:
        """Return them; raises `ModelMismatch` if they are not numbers that the items can have."""
        n = len(delta.items)
        try:
            factors = np.frombuffer(delta.factors, np.float32)
            bias = np.frombuffer(delta.bias, np.float32)
            counts = np.frombuffer(delta.counts, np.int32)
            near = np.frombuffer(delta.near, np.int32)
            nearness = np.frombuffer(delta.nearness, np.float32)
        except ValueError as error:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} must hold numbers of four "
                f"bytes: {error}"
            ) from error
        if factors.size != n * n_factors or bias.size != n or counts.size != n:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} names {n} items of "
                f"{n_factors} factors, got {factors.size} factors, {bias.size} priors and "
                f"{counts.size} counts"
            )
        if near.size != nearness.size or near.size not in {0, n * WIDTH}:
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} must have {n * WIDTH} "
                f"neighbours of its {n} items or none, got {near.size} and {nearness.size} weights"
            )
        if not (np.isfinite(factors).all() and np.isfinite(bias).all() and (counts >= 0).all()):
            raise ModelMismatch(
                f"delta {delta.delta} of generation {delta.generation} must hold finite factors "
                "and priors and counts of at least 0, some are not"
            )
        return cls(
            factors.reshape(n, n_factors),
            bias,
            counts,
            near.reshape(-1, WIDTH),
            nearness.reshape(-1, WIDTH),
        )


def _table(table: Neighbours | None, number: int, n_items: int) -> Neighbours:
    """Return a table if it fits a generation, an empty one for none."""
    if table is None:
        return Neighbours.empty(n_items)
    if len(table) != n_items:
        raise ModelMismatch(
            f"generation {number} has {n_items} items, a neighbour table of {len(table)}"
        )
    return table
