"""Steps 4–8 of the flow: which items are near which, as a table that adds to scores.

Each item has at most `WIDTH` neighbours with a weight from 0 to 1. What a user's history adds to an
item's score is ``gain · Σ_j v_j B[j, i]`` over its strongest entries j (`seed_weights`): at most
`RECENT` · `WIDTH` additions, so no pass over the items is needed (`gather`), and every part of the
sum belongs to an entry (`neighbour_contributions`). Content neighbours and behaviour neighbours have this one form.

`fit_behaviour` makes the table of what follows what in histories.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.numeric.arrays import Float32s, Float64s, GrowableArray, Int32s
from recstream.core.numeric.neighbour_tables import (
    PROXIMITY,
    RECENT,
    WIDTH,
    WINDOW,
    append_contributions,
    fill_behaviour,
    replace_lists,
    sum_by_row,
    write_contributions,
    write_seed_weights,
)
from recstream.core.numeric.pool import open_pool
from recstream.errors import InvalidInput

__all__ = [
    "BEHAVIOUR_WEIGHT",
    "RECENT",
    "WIDTH",
    "NeighbourScores",
    "Neighbours",
    "fit_behaviour",
    "gather",
    "gather_all",
    "neighbour_contributions",
    "seed_weights",
]

BEHAVIOUR_WEIGHT = 7.0
"""Worth of behaviour neighbours where nothing else was chosen, in units of a typical score."""
_NONE = -1


class Neighbours:
    """A table of each item's neighbours, the nearest first; equal weights by item row.

    Rows end in -1 with weight 0 where there are fewer than `WIDTH`. Only `put` and `grow` change a
    table, in place.

    Parameters
    ----------
    rows : (m, WIDTH) int32
    weights : (m, WIDTH) float32
    """

    def __init__(self, rows: Int32s, weights: Float32s) -> None:
        _check(rows, weights)
        self._rows, self._weights, self._size = rows, weights, len(rows)
        self._growing: tuple[GrowableArray, GrowableArray] | None = None

    @classmethod
    def empty(cls, n_items: int) -> Neighbours:
        """Return a table in which no item has a neighbour."""
        shape = (n_items, WIDTH)
        return cls(np.full(shape, _NONE, np.int32), np.zeros(shape, np.float32))

    @property
    def rows(self) -> Int32s:
        """The neighbours' item rows, (m, WIDTH)."""
        return self._rows[: self._size]

    @property
    def weights(self) -> Float32s:
        """How near they are, (m, WIDTH)."""
        return self._weights[: self._size]

    def __len__(self) -> int:
        return self._size

    def grow(self, n_items: int) -> None:
        """Make room for items up to a number; new ones have no neighbours. Never shrinks."""
        if n_items > self._size and self._growing is None:
            self.own()
        if self._growing is not None:
            rows, weights = self._growing
            rows.grow(n_items, _NONE)
            weights.grow(n_items)
            self._rows, self._weights, self._size = rows.rows, weights.rows, len(rows.rows)

    def own(self) -> None:
        """Copy the table to where there is room for more items; the first `grow` does it otherwise."""
        if self._growing is None:
            self._growing = GrowableArray(self._rows), GrowableArray(self._weights)
            self._rows, self._weights = (each.rows for each in self._growing)

    def put(self, row: int, rows: object, weights: object) -> None:
        """Replace an item's list; see `put_all`."""
        self.put_all([row], np.asarray(rows)[None], np.asarray(weights)[None])

    def put_all(self, items: object, rows: object, weights: object) -> None:
        """Replace the lists of items, one after another.

        An item also enters the lists of its neighbours, where it is nearer than their last one, and
        leaves the lists of neighbours it no longer has. The item itself, repeats and weights that
        are not above 0 are left out of a list. What a full list has lost does not come back until
        it is put again.

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
        nearness = np.array(weights, np.float32, order="C")
        if near.shape != nearness.shape or near.ndim != 2 or len(near) != len(at):  # noqa: PLR2004
            msg = f"rows and weights must be {len(at)} lists of one length, got {near.shape} and {nearness.shape}"
            raise InvalidInput(msg)
        if near.shape[1] > WIDTH:
            msg = f"an item has at most {WIDTH} neighbours, got {near.shape[1]}"
            raise InvalidInput(msg)
        if at.min(initial=0) < 0 or max(at.max(initial=-1), near.max(initial=-1)) >= self._size:
            msg = f"items and rows must be among {self._size} items, got {at!r} and {near!r}"
            raise InvalidInput(msg)
        if not np.isfinite(nearness).all():
            msg = f"weights must be finite, got {nearness!r}"
            raise InvalidInput(msg)
        replace_lists(self._rows, self._weights, at, near, nearness)

    def of(self, row: int) -> tuple[Int32s, Float32s]:
        """Return an item's neighbours, the nearest first, and their weights."""
        count = int((self._rows[row] >= 0).sum())
        return self._rows[row, :count], self._weights[row, :count]

    def copy(self) -> Neighbours:
        """Return a table that does not change with this one."""
        return Neighbours(self.rows.copy(), self.weights.copy())

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
            msg = f"neighbours must have rows and weights, got {sorted(named)}"
            raise InvalidInput(msg)
        _check(named["rows"], named["weights"])
        return cls(named["rows"].copy(), named["weights"].copy())


def _check(rows: NDArray[Any], weights: NDArray[Any]) -> None:
    """Raise unless the arrays can be a table."""
    if rows.shape != weights.shape or rows.ndim != 2 or rows.shape[1] != WIDTH:  # noqa: PLR2004
        msg = f"neighbours must be (m, {WIDTH}), got {rows.shape} and {weights.shape}"
        raise InvalidInput(msg)
    if rows.dtype != np.int32 or weights.dtype != np.float32:
        msg = f"neighbours must be int32 with float32 weights, got {rows.dtype}, {weights.dtype}"
        raise InvalidInput(msg)
    if rows.min(initial=_NONE) < _NONE or rows.max(initial=_NONE) >= len(rows):
        msg = f"neighbours must be rows in 0..{len(rows) - 1} or -1"
        raise InvalidInput(msg)


class NeighbourScores(NamedTuple):
    """What neighbours add to the scores of the items they touch.

    ``rows`` are distinct item rows, ascending; ``total`` is float64.
    """

    rows: Int32s
    total: Float64s


def seed_weights(columns: Int32s, weights: Float32s) -> Float32s:
    """Return how strongly each entry of a user's row speaks through its neighbours.

    Of the strongest `RECENT` entries each has ``s = 0.8^k √(weight / largest weight)``, where k entries
    have a larger weight; the others 0. The strength is ``4 s / (3 + Σ s)``: a single entry speaks
    with 1, many together with less than 4, for by then factors know as much. A function of the row alone
    (`recstream.core.history.fold.row`, whose weights fade with age).

    >>> seed_weights(np.array([3, 7], np.int32), np.array([0.5, 2.0], np.float32))
    array([0.36363637, 0.90909094], dtype=float32)
    """
    out = np.zeros(len(columns), np.float32)
    write_seed_weights(weights, out)
    return out


def gather(
    columns: Int32s, v: Float32s, tables: Sequence[tuple[Neighbours, float]]
) -> NeighbourScores:
    """Return what a user's entries add to the items near them, summed over tables.

    Sums run by table, then entry, then place in the list, in float64: the same bits in any batch.

    Parameters
    ----------
    columns : (h,) int32
        The user's items.
    v : (h,) float32
        Their seed_weights.
    tables : sequence of (Neighbours, float)
        Each with its gain.
    """
    return gather_all([columns], [v], tables)[0]


def gather_all(
    columns: Sequence[Int32s],
    v: Sequence[Float32s],
    tables: Sequence[tuple[Neighbours, float]],
) -> list[NeighbourScores]:
    """Return `gather` of many users, for less."""
    gathered = []
    for entries, strength in zip(columns, v, strict=True):
        used = min(len(entries), int(np.count_nonzero(strength)))
        room = max(1, used * WIDTH * len(tables))
        keys, values = np.empty(room, np.int32), np.empty(room, np.float64)
        n_edges = 0
        for table, gain in tables:
            n_edges = append_contributions(
                entries, strength, table.rows, table.weights, gain, keys, values, n_edges
            )
        n_rows = sum_by_row(keys, values, n_edges)
        gathered.append(NeighbourScores(keys[:n_rows], values[:n_rows]))
    return gathered


def neighbour_contributions(
    columns: Int32s, v: Float32s, table: Neighbours, weight: float, item_rows: object
) -> Float64s:
    """Return what each entry adds to each item through one table, (n, h) float64.

    Rows add up to what `gather` tells of the table.
    """
    items = np.ascontiguousarray(item_rows, np.int32)
    out = np.zeros((len(items), len(columns)))
    write_contributions(columns, v, table.rows, table.weights, weight, items, out)
    return out


def fit_behaviour(
    owners: object,
    columns: object,
    at_ms: object,
    n_items: int,
    *,
    threads: int = 1,
) -> Neighbours:
    """Return what is near what in histories: the items that come close to each other in order.

    Two entries of one user count the more, the fewer others lie between them, half with five more;
    an item counts less for those that came after it than for those before (3 : 4). Weight of item i
    in the list of j: ``Σ / √((n_j + 3)(n_i + 3))``, which is at most 1 and draws what few users did
    towards 0. Sums are of whole numbers, so the order of users changes nothing. docs/explanation/research/neighbours.md
    has the trials.

    At most `WINDOW` · 2 `REACH` additions a user.

    Parameters
    ----------
    owners : (n,) int
        The entry's user, any number.
    columns : (n,) int
        Its item row.
    at_ms : (n,) int
        Time of its newest event; equal times are ordered by item row.
    n_items : int
    threads : int
    """
    users, items = np.asarray(owners, np.int64), np.asarray(columns, np.int32)
    times = np.asarray(at_ms)
    if not users.shape == items.shape == times.shape or users.ndim != 1:
        msg = f"owners, columns and at_ms must be vectors of one length, got {users.shape}, {items.shape} and {times.shape}"
        raise InvalidInput(msg)
    if items.min(initial=0) < 0 or items.max(initial=-1) >= n_items:
        msg = f"columns must be in 0..{n_items - 1}, got {items!r}"
        raise InvalidInput(msg)
    order = np.lexsort((items, times, users))
    users, items = users[order], items[order]
    ends = np.flatnonzero(users[1:] != users[:-1]) + 1
    bounds = np.concatenate(([0], ends, [len(users)] if len(users) else [])).astype(np.int64)
    user_of = np.repeat(np.arange(len(bounds) - 1, dtype=np.int64), np.diff(bounds))
    recent = np.arange(len(users)) >= (bounds[1:] - WINDOW)[user_of]
    places = np.flatnonzero(recent)
    by_item = sparse.csr_matrix(
        (np.ones(len(places), np.bool_), (items[places], places)), shape=(n_items, len(users))
    )
    counts = np.diff(by_item.indptr).astype(np.int64)
    table = Neighbours.empty(n_items)
    cuts = np.linspace(0, n_items, 8 * threads + 1).astype(int).tolist()

    def fill(part: tuple[int, int]) -> None:
        fill_behaviour(
            by_item.indptr.astype(np.int64), by_item.indices.astype(np.int64), items, user_of,
            bounds, counts, PROXIMITY, *part, table.rows, table.weights,
        )  # fmt: skip

    with open_pool(threads) as workers:
        workers.run(fill, itertools.pairwise(cuts))
    return table
