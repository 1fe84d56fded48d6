"""Item-item neighbour tables: from behaviour, and the scores that a user's history gets from them.

Each item has at most `WIDTH` neighbours with a weight from 0 to 1. A history adds
``gain · Σ_j v_j B[j, i]`` to the score of item i, over its strongest entries j (`seed_weights`): at most
`RECENT` · `WIDTH` additions, without a pass over all items (`gather`). Each summand belongs to one entry
(`recstream.core.ranking.reasons`). Content and behaviour neighbours use the same table.

`fit_behaviour` makes the table of items that occur close to each other in histories.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.neighbours.co_occurrence import (
    PROXIMITY,
    TOGETHER,
    WINDOW,
    fill_behaviour,
    skew,
)
from recstream.core.numeric.arrays import Float32s, Float64s, GrowableArray, Int32s, Int64s
from recstream.core.numeric.neighbour_tables import (
    WIDTH,
    SeedRule,
    append_contributions,
    count_tied,
    replace_lists,
    sum_by_row,
    write_seed_weights,
)
from recstream.core.numeric.pool import open_pool
from recstream.errors import InvalidInput

BEHAVIOUR_WEIGHT = 10.0
"""Default weight of behaviour neighbours, in typical scores."""
BEHAVIOUR_VERSION = 3
"""Version of `fit_behaviour` and `SeedRule`; 1 for generations that record none."""
_NONE = -1


class Neighbours:
    """Table of each item's nearest neighbours, by descending weight; equal weights by item row.

    A row with fewer than `WIDTH` neighbours ends in -1 with weight 0. Only `put` and `grow` change a
    table, in place.

    Parameters
    ----------
    rows : (m, WIDTH) int32
    weights : (m, WIDTH) float32
        Both are copied, with room for new items.
    """

    def __init__(self, rows: Int32s, weights: Float32s) -> None:
        self._rows, self._weights = GrowableArray(rows), GrowableArray(weights)
        self.check()

    @classmethod
    def empty(cls, n_items: int) -> Neighbours:
        """Return a table without neighbours."""
        table = cls(np.empty((0, WIDTH), np.int32), np.empty((0, WIDTH), np.float32))
        table.grow(n_items)
        return table

    @classmethod
    def over(cls, rows: GrowableArray, weights: GrowableArray) -> Neighbours:
        """Return the table of these arrays, which it takes over unchecked."""
        table = cls.empty(0)
        table._rows, table._weights = rows, weights  # noqa: SLF001 - its own class
        return table

    @property
    def rows(self) -> Int32s:
        """Item rows of the neighbours, (m, WIDTH)."""
        return self._rows.rows

    @property
    def weights(self) -> Float32s:
        """Weights of the neighbours, (m, WIDTH)."""
        return self._weights.rows

    def __len__(self) -> int:
        return len(self.rows)

    def grow(self, n_items: int) -> None:
        """Grow to a number of items; new ones have no neighbours. Never shrinks."""
        self._rows.grow(n_items, _NONE)
        self._weights.grow(n_items)

    def put(self, row: int, rows: object, weights: object) -> None:
        """Replace an item's neighbours; see `put_all`."""
        self.put_all([row], np.asarray(rows)[None], np.asarray(weights)[None])

    def put_all(self, items: object, rows: object, weights: object) -> None:
        """Replace the neighbours of items, one item after another.

        An item also enters the rows of its neighbours where its weight exceeds their last one, and leaves
        the rows of neighbours it no longer has. The item itself, repeats, and weights that are not above
        0 are dropped. A neighbour that a full row has dropped comes back only when it is put again.

        Parameters
        ----------
        items : (n,) int
        rows : (n, k) int
            Neighbours of each, k at most `WIDTH`, in any order; -1 for none.
        weights : (n, k) float

        Raises
        ------
        InvalidInput
            A row the table lacks, a weight that is not finite, or shapes that do not fit.
        """
        # Copies: an array that may not be written has a type of its own, to be compiled for again.
        at, near = np.array(items, np.int32), np.array(rows, np.int32, order="C")
        strengths = np.array(weights, np.float32, order="C")
        if near.shape != strengths.shape or near.ndim != 2 or len(near) != len(at):  # noqa: PLR2004
            msg = f"rows and weights must be {len(at)} lists of one length, got {near.shape} and {strengths.shape}"
            raise InvalidInput(msg)
        if near.shape[1] > WIDTH:
            raise InvalidInput(f"an item has at most {WIDTH} neighbours, got {near.shape[1]}")
        if at.min(initial=0) < 0 or max(at.max(initial=-1), near.max(initial=-1)) >= len(self):
            msg = f"items and rows must be among {len(self)} items, got {at!r} and {near!r}"
            raise InvalidInput(msg)
        if not np.isfinite(strengths).all():
            raise InvalidInput(f"weights must be finite, got {strengths!r}")
        replace_lists(self.rows, self.weights, at, near, strengths)

    def of(self, row: int) -> tuple[Int32s, Float32s]:
        """Return an item's neighbours by descending weight, and their weights."""
        count = int((self.rows[row] >= 0).sum())
        return self.rows[row, :count], self.weights[row, :count]

    def copy(self) -> Neighbours:
        """Return an independent copy."""
        return Neighbours(self.rows, self.weights)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the table as named arrays."""
        return {"rows": self.rows, "weights": self.weights}

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[Any]]) -> Neighbours:
        """Return the table that `arrays` described; the arrays are copied.

        Raises
        ------
        InvalidInput
            A name, type or shape is not what it must be.
        """
        if set(named) != {"rows", "weights"}:
            raise InvalidInput(f"neighbours must have rows and weights, got {sorted(named)}")
        return cls(named["rows"], named["weights"])

    def check(self) -> None:
        """Raise `InvalidInput` unless the arrays are a table."""
        rows, weights = self.rows, self.weights
        if rows.shape != weights.shape or rows.ndim != 2 or rows.shape[1] != WIDTH:  # noqa: PLR2004
            raise InvalidInput(
                f"neighbours must be (m, {WIDTH}), got {rows.shape} and {weights.shape}"
            )
        if rows.dtype != np.int32 or weights.dtype != np.float32:
            msg = (
                f"neighbours must be int32 with float32 weights, got {rows.dtype}, {weights.dtype}"
            )
            raise InvalidInput(msg)
        if rows.min(initial=_NONE) < _NONE or rows.max(initial=_NONE) >= len(rows):
            raise InvalidInput(f"neighbours must be rows in 0..{len(rows) - 1} or -1")


class NeighbourScores(NamedTuple):
    """Scores that neighbours add to items.

    ``rows`` are distinct item rows, ascending; ``total`` is float64.
    """

    rows: Int32s
    total: Float64s


def seed_weights(columns: Int32s, weights: Float32s, rule: SeedRule = SeedRule()) -> Float32s:  # noqa: B008
    """Return the weight of each entry of a user's row as a seed of neighbour scores.

    Of the strongest `RECENT` entries, ``s = decay^k √(weight / largest weight)``, where k entries have a
    larger weight; of the others 0. From version 2 on, entries as strong as the last of these are seeds
    too, up to 256: a history without order is used as a whole. The seed weight is
    ``4 s / (3 + Σ s)``: 1 for a single entry, below 4 for many together, since factors are accurate by
    then. A function of the row alone (`recstream.core.history.matrix.matrix_row`, whose weights decay
    with age).

    >>> seed_weights(np.array([3, 7], np.int32), np.array([0.5, 2.0], np.float32))
    array([0.36363637, 0.90909094], dtype=float32)
    """
    out = np.zeros(len(columns), np.float32)
    write_seed_weights(weights, rule, out)
    return out


def gather(
    columns: Int32s, v: Float32s, tables: Sequence[tuple[Neighbours, float]]
) -> NeighbourScores:
    """Return the neighbour scores of a user's entries, summed over tables.

    Sums run by table, then entry, then rank, in float64.

    Parameters
    ----------
    columns : (h,) int32
        The user's items.
    v : (h,) float32
        Their seed weights.
    tables : sequence of (Neighbours, float)
        Each with its gain.
    """
    room = max(1, min(len(columns), int(np.count_nonzero(v))) * WIDTH * len(tables))
    keys, values = np.empty(room, np.int32), np.empty(room, np.float64)
    n_edges = 0
    for table, gain in tables:
        n_edges = append_contributions(
            columns, v, table.rows, table.weights, gain, keys, values, n_edges
        )
    n_rows = sum_by_row(keys, values, n_edges)
    return NeighbourScores(keys[:n_rows], values[:n_rows])


def fit_behaviour(
    owners: object,
    columns: object,
    at_ms: object,
    n_items: int,
    *,
    version: int = BEHAVIOUR_VERSION,
    threads: int = 1,
) -> Neighbours:
    """Fit the table of items that occur close to each other in histories.

    A pair of entries of one user counts half for every five entries between them. Earlier items of an
    item count more than later ones (4 : 3). t entries of the same time have no order: each of their
    pairs counts ``t^-¼``. The weight of item i as a neighbour of j is
    ``Σ / ((n_j + 3)^0.7 (n_i + 3)^0.3)``: between the cosine and the conditional probability of i given j,
    shrunk towards 0 where few users had both. Sums are of integers, so the order of users changes nothing.
    docs/explanation/research/neighbours.md has the trials.

    At most `WINDOW` entries of a user are read. Without equal times, each forms at most 2 `REACH` pairs.

    Parameters
    ----------
    owners : (n,) int
        The entry's user, any number.
    columns : (n,) int
        Its item row.
    at_ms : (n,) int
        Time of its newest event.
    version : int
        Below 3 both exponents are 0.5; in version 1 equal times are ordered by item row.
    """
    users, items = np.asarray(owners, np.int64), np.asarray(columns, np.int32)
    times = np.asarray(at_ms)
    if not users.shape == items.shape == times.shape or users.ndim != 1:
        msg = f"owners, columns and at_ms must be vectors of one length, got {users.shape}, {items.shape} and {times.shape}"
        raise InvalidInput(msg)
    if items.min(initial=0) < 0 or items.max(initial=-1) >= n_items:
        raise InvalidInput(f"columns must be in 0..{n_items - 1}, got {items!r}")
    order = np.lexsort((items, times, users))
    users, items, times = users[order], items[order], times[order]
    ends = np.flatnonzero(users[1:] != users[:-1]) + 1
    bounds = np.concatenate(([0], ends, [len(users)] if len(users) else [])).astype(np.int64)
    user_of = np.repeat(np.arange(len(bounds) - 1, dtype=np.int64), np.diff(bounds))
    recent = np.arange(len(users)) >= (bounds[1:] - WINDOW)[user_of]
    tied = np.zeros(len(users), np.int32) if version < 2 else count_tied(users, times, recent)  # noqa: PLR2004
    places = np.flatnonzero(recent)
    by_item = sparse.csr_matrix(
        (np.ones(len(places), np.bool_), (items[places], places)), shape=(n_items, len(users))
    )
    counts = np.diff(by_item.indptr).astype(np.int64)
    table = Neighbours.empty(n_items)
    cuts = np.linspace(0, n_items, 8 * threads + 1).astype(int).tolist()

    indptr, places = by_item.indptr.astype(np.int64), by_item.indices.astype(np.int64)

    def fill(part: tuple[int, int]) -> None:
        first, last = part
        fill_behaviour(
            indptr[first : last + 1], places, items, user_of, bounds, tied, counts, PROXIMITY, TOGETHER,
            skew(version), first, last, table.rows[first:last], table.weights[first:last],
        )  # fmt: skip

    with open_pool(threads) as workers:
        workers.run(fill, itertools.pairwise(cuts))
    return table


def behaviour_lists(
    items: Int32s,
    user_of: Int64s,
    bounds: Int64s,
    tied: Int32s,
    counts: Int64s,
    first: int,
    last: int,
    version: int = BEHAVIOUR_VERSION,
) -> tuple[Int32s, Float32s]:
    """Return the lists of items `first` to before `last` of the table of `fit_behaviour`.

    Parameters
    ----------
    items : (n,) int32
        Histories, one after another: item rows by time, equal times by row; the newest `WINDOW` of each.
    user_of : (n,) int64
        Number of the history of each.
    bounds : (n_users + 1,) int64
        First place of each history.
    tied : (n,) int32
        Number of entries of the same history and time before each; 0 in version 1.
    counts : (m,) int64
        Number of places of each item.

    Returns
    -------
    (last - first, WIDTH) int32 and float32
    """
    places = np.concatenate(
        [
            at + np.flatnonzero((part >= first) & (part < last))
            for at, part in _parts(items, 1 << 20)
        ]
        or [np.empty(0, np.int64)]
    )
    chosen = items[places]
    order = np.argsort(chosen, kind="stable")
    indptr = np.searchsorted(chosen[order], np.arange(first, last + 1)).astype(np.int64)
    rows = np.full((last - first, WIDTH), _NONE, np.int32)
    weights = np.zeros((last - first, WIDTH), np.float32)
    fill_behaviour(
        indptr, places[order], items, user_of, bounds, tied, counts, PROXIMITY, TOGETHER,
        skew(version), first, last, rows, weights,
    )  # fmt: skip
    return rows, weights


def _parts(items: Int32s, size: int) -> Iterator[tuple[int, Int32s]]:
    """Yield slices of an array and where each begins."""
    for at in range(0, len(items), size):
        yield at, items[at : at + size]
