"""Kernel of `fit_behaviour`: which items occur close to each other in histories."""

import numpy as np

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled, helper, interpretable_below
from recstream.core.numeric.neighbour_tables import insert

WINDOW = 256
"""Newest entries of a history that `fill_behaviour` reads."""
REACH = 32
"""Distance in entries up to which two entries of a history form a pair in `fill_behaviour`."""
_HALF_DISTANCE = 5.0
"""Distance at which a pair counts half."""
_BACKWARD = 0.75
"""Weight of a pair in reverse order."""
_SHRINKAGE = 3.0
"""Added to both counts, which lowers the weights of rare items."""
# Weight of two adjacent entries. Whole numbers make sums independent of their order.
_UNIT = 1 << 20
PROXIMITY = np.round(_UNIT * 2.0 ** (-np.arange(REACH) / _HALF_DISTANCE)).astype(np.int64)
"""Weight of a pair of entries, by the number of entries between them."""
TOGETHER = np.round(_UNIT * np.maximum(np.arange(WINDOW + 1), 1) ** -0.25).astype(np.int64)
"""Weight of a pair of entries of one time, by the number of entries of that time."""


def skew(version: int) -> float:
    """Return the skew of `fill_behaviour` in a version."""
    return 0.0 if version < 3 else 0.2  # noqa: PLR2004


@helper
def _add(sums: Int64s, touched: Int32s, n_touched: int, item: int, weight: int) -> int:
    """Add to the sum of an item; return the number of items with a sum."""
    if sums[item] == 0:
        touched[n_touched] = item
        n_touched += 1
    sums[item] += weight
    return n_touched


@interpretable_below(lambda _indptr, _places, items, *_: 2 * REACH * len(items))
@compiled
def fill_behaviour(  # noqa: C901 - an inner loop is one function
    indptr: Int64s,
    places: Int64s,
    items: Int32s,
    user_of: Int64s,
    bounds: Int64s,
    tied: Int32s,
    counts: Int64s,
    nearness: Int64s,
    together: Int64s,
    skew: float,
    first: int,
    last: int,
    rows: Int32s,
    weights: Float32s,
) -> None:
    """Write the lists of items first to last: which items are close to them in histories.

    Parameters
    ----------
    indptr, places : (last - first + 1,) int64, (nnz,) int64
        Positions of each of these items in `items`.
    items, user_of : (n,) int32, int64
        All histories, one after another, and the user of each position.
    bounds : (n_users + 1,) int64
        First position of each history.
    tied : (n,) int32
        Number of entries of the same time before each, among the newest `WINDOW` of the history.
    counts : (m,) int64
        Number of positions of each item.
    nearness : (REACH,) int64
        `PROXIMITY`.
    together : (WINDOW + 1,) int64
        `TOGETHER`.
    skew : float
        Exponents of the counts: 0.5 + skew for the item, 0.5 - skew for its neighbour; 0 is the cosine.
    rows, weights : (last - first, WIDTH) int32, float32
        Their rows of the table, to fill.
    """
    sums = np.zeros(len(counts), np.int64)
    touched = np.empty(len(counts), np.int32)
    for item in range(first, last):
        n_touched = 0
        for at in range(indptr[item - first], indptr[item - first + 1]):
            place = places[at]
            user = user_of[place]
            first_place, limit = max(bounds[user], bounds[user + 1] - WINDOW), bounds[user + 1]
            begin, end = place - tied[place], place + 1
            while end < limit and tied[end] > 0:
                end += 1
            for other in range(begin, end):
                if other != place:
                    weight = int(together[end - begin])
                    n_touched = _add(sums, touched, n_touched, items[other], weight)
            for other in range(end, limit):
                between = other - tied[other] - end
                if between >= REACH:
                    break
                n_touched = _add(sums, touched, n_touched, items[other], int(nearness[between]))
            end = begin  # of the entries of `other`'s time
            for other in range(begin - 1, first_place - 1, -1):
                if begin - end >= REACH:
                    break
                weight = int(_BACKWARD * nearness[begin - end])
                n_touched = _add(sums, touched, n_touched, items[other], weight)
                if tied[other] == 0:
                    end = other
        for at in range(n_touched):
            near = touched[at]
            size = (counts[item] + _SHRINKAGE) * (counts[near] + _SHRINKAGE)
            share = np.float64(sums[near]) / (_UNIT * np.sqrt(size))
            if skew > 0.0:
                share *= ((counts[near] + _SHRINKAGE) / (counts[item] + _SHRINKAGE)) ** skew
            insert(rows[item - first], weights[item - first], near, np.float32(share))
            sums[near] = 0
