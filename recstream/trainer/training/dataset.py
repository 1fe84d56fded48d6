"""Training dataset: histories and catalogue as of known offsets, as a matrix and indexes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.als import ALS, ALSModel, typical_score
from recstream.core.columns import IdRows
from recstream.core.content import summarise
from recstream.core.evaluation import HeldOut, hold_out, n_held_out
from recstream.core.generation import Generation
from recstream.core.history import matrix_rows
from recstream.core.neighbours import Neighbours, fit_behaviour
from recstream.core.numeric.arrays import Int32s, Int64s, csr_of
from recstream.core.popularity import POPULARITY_VERSION, Popularity, fit_popularity
from recstream.core.records import Item
from recstream.core.validation import as_csr_rows
from recstream.errors import ModelMismatch
from recstream.trainer.histories import Entries, FrozenHistories, HistoryColumns


@dataclass(frozen=True)
class TrainingSnapshot:
    """Histories and catalogue as of known offsets: the input of a training.

    Attributes
    ----------
    offsets : dict of str to int
        Partition to the next offset of interactions.
    withdrawn : collection of str
        Deleted items whose tombstone is still on the topic.
    catalogue_offset : int
        Next offset of the catalogue topic.
    changed : collection of str
        Products that changed since the parent's catalogue offset.
    """

    histories: HistoryColumns | FrozenHistories
    offsets: dict[str, int]
    n_events: int
    catalogue: Mapping[str, Item] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    catalogue_offset: int = 0
    changed: frozenset[str] = frozenset()


N_RECENT = 1 << 21
"""Entries that make up all memories of popularity but the counts: 64 of the longest half-lives."""
POPULARITY_USERS = 1 << 15
"""Users whose entries are counted together: it bounds the memory for popularity."""


class CatalogueFacts(NamedTuple):
    """Catalogue facts of a generation: items by row, details that lists show, withdrawn rows."""

    items: list[Item | None]
    details: Mapping[str, Item]
    withdrawn: NDArray[np.bool_]

    @classmethod
    def of(cls, generation: Generation, items: Sequence[str]) -> CatalogueFacts:
        """Return the facts of an existing generation with the same items.

        Raises
        ------
        ModelMismatch
            The items differ.
        """
        if generation.items != list(items):
            raise ModelMismatch(
                f"generation {generation.number} has {generation.n_items} items that differ from "
                f"the {len(items)} of the log"
            )
        return cls([], generation.details, generation.withdrawn)


def catalogue_facts(
    snapshot: TrainingSnapshot, items: Sequence[str], parent: Generation | None
) -> CatalogueFacts:
    """Return the facts of items; a withdrawn item stays so until it is in the catalogue again."""
    catalogue = snapshot.catalogue
    withdrawn = np.array([item in snapshot.withdrawn for item in items], np.bool_)
    if parent is not None:
        gone = np.flatnonzero(parent.withdrawn).tolist()
        withdrawn[[row for row in gone if items[row] not in catalogue]] = True
        withdrawn[parent.items.rows_of(deleted_products(parent, catalogue))] = True
    found = [catalogue.get(item) for item in items]
    details = {each.item: summarise(each) for each in found if each is not None}
    return CatalogueFacts(found, details, withdrawn)


def deleted_products(generation: Generation, catalogue: Mapping[str, Item]) -> list[str]:
    """Return the items with facts that the catalogue lacks: compaction may have removed the deletion."""
    details = generation.details
    if not len(details):
        return []
    return [item for item in generation.items if item not in catalogue and item in details]


Fit = Callable[..., ALSModel]
"""Trains factors: receives the estimator and a matrix, and ``init`` and ``callback`` by name."""


class Dataset(NamedTuple):
    """Users, items and interactions of a training, by rows, in memory.

    Attributes
    ----------
    users : (n_users,) int32
        Rows of the users in `HistoryColumns`, by row of the matrix.
    items : list of str
        By column.
    matrix : (n_users, n_items) CSR
    held : HeldOut
        With the histories of users with held-out entries alone.
    entries : tuple of arrays
        User rows, item rows and times (ms) of entries with a positive weight.
    estimate : callable
        Trains factors: `ALS.fit`, or what gives the same bits elsewhere.
    """

    users: Int32s
    items: list[str]
    matrix: sparse.csr_matrix
    held: HeldOut
    entries: tuple[Int32s, Int32s, Int64s]
    estimate: Fit = ALS.fit

    @property
    def item_counts(self) -> Int64s:
        """Number of positive entries of each item."""
        return np.bincount(self.matrix.indices[self.matrix.data > 0.0], minlength=len(self.items))

    @property
    def n_active(self) -> int:
        """Number of users with a positive entry."""
        return int(np.count_nonzero(as_csr_rows(self.matrix, "matrix").counts()))

    def fit(self, als: ALS, touched: Int64s, **options: Any) -> ALSModel:
        """Train factors on the columns of some items; the options are those of `ALS.fit`."""
        is_all = len(touched) == len(self.items)
        return self.estimate(als, self.matrix if is_all else self.matrix[:, touched], **options)

    def typical_score(self, model: ALSModel) -> float:
        """Return the model's typical score; see `recstream.core.als.typical_score`."""
        return typical_score(model, self.matrix)

    def sampled(self) -> sparse.csr_matrix:
        """Return the matrix with at least the rows that `content_scale` reads."""
        return self.matrix

    def columns(self, items: Int64s) -> sparse.csr_matrix:
        """Return the positive entries of some items, as (n, n_users)."""
        found = self.matrix.tocsc()[:, items].T.tocsr()
        found.eliminate_zeros()
        return found

    def popularity(self, version: int) -> Popularity:
        """Return the popularity of the items, by a version of `fit_popularity`."""
        return fit_popularity(*self.entries[1:], len(self.items), version=version)

    def behaviour(self, threads: int, version: int) -> Neighbours:
        """Return the behaviour neighbours of the items, by a version of `fit_behaviour`."""
        return fit_behaviour(*self.entries, len(self.items), version=version, threads=threads)


def build_dataset(
    snapshot: TrainingSnapshot,
    known: Sequence[str],
    half_life_ms: float,
    *,
    products: Collection[str] = (),
    with_held_out: bool = False,
    estimate: Fit = ALS.fit,
) -> Dataset:
    """Build the dataset of a snapshot: users by id, items as ``known`` says.

    Parameters
    ----------
    known : sequence of str
        Items that keep their rows; new ones follow by id.
    products : collection of str
        Items to include even if no user touched them.
    with_held_out : bool
        Hold out the newest entries for evaluation.
    estimate : callable
        Trains factors; see `Dataset`.
    """
    histories = snapshot.histories.columns()
    users = histories.sorted_rows()
    names = list(histories.items)
    is_used = np.zeros(len(names), np.bool_)
    for _, entries in histories.slices(users):
        is_used[entries.items] = True
    held = hold_out_newest(histories, users) if with_held_out else HeldOut([], {})
    ids = {names[at] for at in np.flatnonzero(is_used).tolist()}
    items = [*known, *sorted(ids.union(products).difference(known))]
    columns = columns_of(names, {item: at for at, item in enumerate(items)})
    n_entries = int(histories.runs["n"][users].sum(dtype=np.int64))
    rows = MatrixRows(len(users), n_entries)
    owners, touched = np.empty(n_entries, np.int32), np.empty(n_entries, np.int32)
    at_ms, n_seen = np.empty(n_entries, np.int64), 0
    owners_held = [each for each in held.histories if each.user in held.items]
    taken = dict(
        zip(histories.rows_of([e.user for e in owners_held]).tolist(), owners_held, strict=True)
    )
    first = 0
    for part, entries in histories.slices(users):
        clock_ms = histories.runs["clock_ms"][part]
        at = columns[entries.items]
        for place in np.flatnonzero(np.isin(part, list(taken))).tolist():
            history = taken[int(part[place])]
            clock_ms[place] = history.clock_ms
            for n in range(int(entries.indptr[place]), int(entries.indptr[place + 1])):
                if history.find(names[entries.items[n]]) is None:
                    at[n] = -1
        rows.add(entries, at, clock_ms, half_life_ms)
        seen = np.flatnonzero((at >= 0) & (entries.weights > 0.0))
        where = slice(n_seen, n_seen + len(seen))
        users_of = np.repeat(np.arange(first, first + len(part)), np.diff(entries.indptr))
        owners[where], touched[where] = users_of[seen], at[seen]
        at_ms[where], n_seen = entries.at_ms[seen], where.stop
        first += len(part)
    found = owners[:n_seen], touched[:n_seen], at_ms[:n_seen]
    return Dataset(users, items, rows.matrix(len(items)), held, found, estimate)


def columns_of(names: Sequence[str], rows: Mapping[str, int]) -> Int32s:
    """Return the row of each name; -1 for others."""
    if isinstance(rows, IdRows):
        found: Int32s = rows.rows_of(names)
        return found
    return np.fromiter((rows.get(each, -1) for each in names), np.int32, len(names))


def hold_out_newest(histories: HistoryColumns, users: Int32s) -> HeldOut:
    """Return `hold_out` of all histories; only those with the newest entries become objects."""
    n_entries = int(histories.runs["n"][users].sum(dtype=np.int64))
    most = n_held_out(n_entries)
    owners, keys = np.empty(0, np.int32), np.empty((2, 0), np.int64)
    for part, entries in histories.slices(users) if most else ():
        counts = np.diff(entries.indptr)
        may = entries.is_single & (entries.weights > 0.0) & (np.repeat(counts, counts) > 1)
        owners = np.concatenate([owners, np.repeat(part, counts)[may]])
        keys = np.concatenate([keys, np.stack([entries.at_ms, entries.offsets])[:, may]], axis=1)
        kept = is_newest(keys[0], keys[1], most)
        owners, keys = owners[kept], keys[:, kept]
    chosen = users[np.isin(users, owners)]
    return hold_out(histories.histories(chosen.tolist()), n_entries)


def is_newest(at_ms: Int64s, offsets: Int64s, n: int) -> NDArray[np.bool_]:
    """Return a mask of the n newest entries. Ties in time and offset are all included."""
    if len(at_ms) <= n:
        return np.ones(len(at_ms), np.bool_)
    limit = np.partition(at_ms, -n)[-n]
    newer, equal = at_ms > limit, at_ms == limit
    n_left = n - int(newer.sum())
    least = np.partition(offsets[equal], -n_left)[-n_left]
    return np.asarray(newer | (equal & (offsets >= least)))


class MatrixRows:
    """Rows of a matrix, made a slice of users at a time.

    Parameters
    ----------
    n_rows, n_entries : int
        Room for rows and entries; rows may be fewer.
    """

    def __init__(self, n_rows: int, n_entries: int) -> None:
        self._indptr = np.zeros(n_rows + 1, np.int64)
        self._indices = np.empty(n_entries, np.int32)
        self._values = np.empty(n_entries, np.float32)
        self._n_rows = self._n_entries = 0

    def add(
        self, entries: Entries, columns: Int32s, clock_ms: Int64s, half_life_ms: float
    ) -> tuple[Int64s, Int32s, NDArray[np.float32]]:
        """Add the rows of users and return them; see `recstream.core.history.matrix_rows`."""
        made = matrix_rows(
            entries.indptr, columns, entries.weights, entries.at_ms, clock_ms, half_life_ms
        )
        indptr, indices, values = made
        rows = slice(self._n_rows, self._n_rows + len(clock_ms))
        where = slice(self._n_entries, self._n_entries + len(indices))
        self._indptr[rows.start + 1 : rows.stop + 1] = indptr[1:] + where.start
        self._indices[where], self._values[where] = indices, values
        self._n_rows, self._n_entries = rows.stop, where.stop
        return made

    def matrix(self, n_columns: int) -> sparse.csr_matrix:
        """Return all rows as one matrix."""
        n = self._n_entries
        indptr = self._indptr[: self._n_rows + 1]
        return csr_of(indptr, self._indices[:n], self._values[:n], n_columns)


def popularity_of(
    histories: HistoryColumns,
    users: Int32s,
    columns: Int32s,
    n_items: int,
    version: int = POPULARITY_VERSION,
) -> Popularity:
    """Return `fit_popularity` of the positive entries of users, at the cost of the newest ones.

    Of entries before the `N_RECENT` newest only the counts are exact: no other memory lasts that long.

    Parameters
    ----------
    users : (n,) int32
    columns : (m,) int32
        Item row of each of the histories' items; -1 for items that do not count.
    """
    counts = np.zeros(n_items, np.int64)
    parts = [np.empty((2, 0), np.int64)]
    for _, entries in histories.slices(users, POPULARITY_USERS):
        at = columns[entries.items]
        seen = (at >= 0) & (entries.weights > 0.0)
        counts += np.bincount(at[seen], minlength=n_items)
        parts.append(np.stack([entries.at_ms[seen], at[seen]]))
        if sum(each.shape[1] for each in parts) > 2 * N_RECENT:
            parts = [_newest(parts)]
    newest = _newest(parts)
    counts -= np.bincount(newest[1], minlength=n_items)
    return fit_popularity(newest[1], newest[0], n_items, earlier=counts, version=version)


def _newest(parts: Sequence[Int64s]) -> Int64s:
    """Return the `N_RECENT` newest of (time, item) entries in parts, ties included."""
    found = np.concatenate(parts, axis=1)
    newest: Int64s = found[:, is_newest(found[0], found[1], N_RECENT)]
    return newest
