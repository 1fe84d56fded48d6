"""Exact top-k of sparse rows by cosine similarity.

Scans the bounds of an inverted index (`recstream.core.numeric.inverted_index`) and scores only rows
whose bound reaches the k-th best, in float64 and in the order of features. So an answer depends
neither on blocks nor on other queries.
"""

# ruff: noqa: C901, PLR0912, PLR0915  (an inner loop is one function)

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.inverted_index import (
    BLOCK,
    CODES,
    LANES,
    IndexBlocks,
    SparseRows,
    add_plane,
    add_postings,
    lane_maxima,
    query_multiplier,
)
from recstream.core.numeric.jit import compiled, helper, interpretable_below
from recstream.core.numeric.simd import LINE, prefetch

EQUAL = np.float32(1e-3)
"""Relative difference below which cosines count as equal."""
ROUNDING = 1.003
"""Factor that widens bounds, for `EQUAL` and for float32 rounding."""
MANY, FEW = 16, 4
"""Rows of a block checked for a query: above `MANY` fewer planes are deferred, below `FEW` more."""


def top_k_in_numpy(
    query_indptr: Int64s,
    query_indices: Int32s,
    query_values: Float32s,
    rows: SparseRows,
    blocks: IndexBlocks,
    without: Int64s,
    found: Int32s,
    cosines: Float32s,
) -> None:
    """Compute `top_k_cosines` with numpy, bit for bit, by the cosines of all rows."""
    count, n = found.shape
    place_of = np.repeat(np.arange(len(rows.owners)), np.diff(rows.indptr))
    values = rows.values.astype(np.float64)
    dense = np.zeros(blocks.starts.shape[1] - 1)
    for q in range(count):
        part = slice(query_indptr[q], query_indptr[q + 1])
        dense[:] = 0.0
        dense[query_indices[part]] = query_values[part]
        # `bincount` adds in the order of entries, as the kernel does.
        totals = np.bincount(place_of, dense[rows.indices] * values, len(rows.owners))
        exact = np.minimum(totals, 1.0).astype(np.float32)
        places = np.flatnonzero((exact > 0.0) & (rows.owners >= 0) & (rows.owners != without[q]))
        places = places[np.lexsort((rows.owners[places], -exact[places]))]
        size = min(n, len(places))
        found[q, :size], cosines[q, :size] = rows.owners[places[:size]], exact[places[:size]]
        if size < n or n == 0:
            continue
        last = cosines[q, n - 1]
        n_tied = np.count_nonzero(np.abs(exact[places] - last) <= EQUAL * last)
        n_listed = np.count_nonzero(cosines[q] - last <= EQUAL * last)
        if n_listed < n_tied:
            cosines[q, n - n_listed :] *= np.float32(n_listed / n_tied)


@interpretable_below(
    lambda query_indptr, _indices, _values, rows, *_: len(query_indptr) * len(rows.indices) // 32,
    top_k_in_numpy,
)
@compiled
def top_k_cosines(
    query_indptr: Int64s,
    query_indices: Int32s,
    query_values: Float32s,
    rows: SparseRows,
    blocks: IndexBlocks,
    without: Int64s,
    found: Int32s,
    cosines: Float32s,
) -> None:
    """Write the k rows of largest cosine of each query, best first.

    All queries scan one block before the next, so each block is read from memory once.

    Parameters
    ----------
    query_indptr, query_indices, query_values : CSR arrays
        Queries, unit length.
    rows, blocks : SparseRows, IndexBlocks
        Unit-length rows and their index.
    without : (q,) int64
        Row to leave out for each query; -1 for none.
    found, cosines : (q, k) int32, float32
        Filled; empty places are unchanged.
    """
    count, n = found.shape
    sums = np.zeros(BLOCK, np.int32)
    lanes = np.zeros(LANES, np.int32)
    near = np.empty(BLOCK, np.int32)
    # Lower bounds of the best cosines of each query so far, descending.
    best = np.zeros((count, n))
    highest = np.empty(n)
    # Candidates: query, place, and upper bound of the cosine.
    n_open = 0
    asking = np.empty(256 * count, np.int32)
    open_places = np.empty(256 * count, np.int32)
    bounds = np.empty(256 * count, np.float32)
    planes = np.empty(0, np.int64)
    factors = np.empty(0, np.int32)
    # Number of planes that are not added, but read for candidates only.
    later = np.ones(count, np.int64)
    totals, lengths = np.zeros(count), np.zeros(count)
    for q in range(count):
        for p in range(query_indptr[q], query_indptr[q + 1]):
            totals[q] += query_values[p]
            lengths[q] += np.float64(query_values[p]) ** 2
        lengths[q] = np.sqrt(lengths[q])
    for b in range(len(blocks.sizes)):
        width = (blocks.sizes[b] + LANES - 1) // LANES * LANES
        for q in range(count):
            features = query_indices[query_indptr[q] : query_indptr[q + 1]]
            weights = query_values[query_indptr[q] : query_indptr[q + 1]]
            if lengths[q] == 0.0 or n == 0:
                continue
            if len(planes) < len(features):
                planes = np.empty(len(features), np.int64)
                factors = np.empty(len(features), np.int32)
            multiplier, wrong = query_multiplier(
                len(features), totals[q], lengths[q], blocks.scales[b], blocks.norms[b]
            )
            unit = multiplier * blocks.scales[b]
            for local in range(width):
                sums[local] = 0
            n_planes = add_postings(features, weights, multiplier, blocks, b, sums, planes, factors)
            for at in range(n_planes):
                wrong += factors[at]
            is_first = best[q, n - 1] == 0.0
            n_added = n_planes if is_first else max(0, n_planes - later[q])
            for at in range(n_added):
                add_plane(blocks.planes[planes[at]], factors[at], sums[:width])
            rest = 0
            for at in range(n_added, n_planes):
                rest += CODES * factors[at]
            lane_maxima(sums[:width], lanes)
            n_looked = 0
            # Before there are n candidates, start with the rows of the largest sums.
            for sweep in range(0 if is_first else 1, 2):
                least = _nth(lanes, highest) if sweep == 0 else _least(best[q, n - 1], unit)
                n_near = 0
                for lane in range(LANES):
                    if lanes[lane] < least - rest:
                        continue
                    for local in range(lane, width, LANES):
                        if sums[local] >= least - rest:
                            near[n_near] = local
                            n_near += 1
                            for at in range(n_added, n_planes):
                                prefetch(blocks.planes, planes[at] * BLOCK + local)
                n_looked += n_near
                for local in near[:n_near]:
                    total = np.int64(sums[local])
                    for at in range(n_added, n_planes):
                        total += factors[at] * np.int64(blocks.planes[planes[at], local])
                    if total < least:
                        continue
                    sums[local] = 0
                    place = b * BLOCK + local
                    row = rows.owners[place]
                    if row < 0 or row == without[q]:
                        continue
                    if n_open == len(asking):
                        asked, placed, bound = asking, open_places, bounds
                        asking = np.empty(2 * n_open, np.int32)
                        open_places = np.empty(2 * n_open, np.int32)
                        bounds = np.empty(2 * n_open, np.float32)
                        for at in range(n_open):
                            asking[at], bounds[at] = asked[at], bound[at]
                            open_places[at] = placed[at]
                    asking[n_open] = q
                    open_places[n_open] = place
                    bounds[n_open] = total / unit
                    n_open += 1
                    known = min((total - wrong) / unit, 1.0)
                    if known > best[q, n - 1]:
                        _enter(best[q], known)
                        if sweep == 1:
                            least = _least(best[q, n - 1], unit)
            if n_looked > MANY:
                later[q] = (n_planes - n_added) // 2
            elif n_looked < FEW:
                later[q] = 2 * (n_planes - n_added) + 1
    _score(
        query_indptr, query_indices, query_values, rows, asking[:n_open], open_places, bounds,
        best, blocks.starts.shape[1] - 1, found, cosines,
    )  # fmt: skip


@helper
def _score(
    query_indptr: Int64s,
    query_indices: Int32s,
    query_values: Float32s,
    rows: SparseRows,
    asking: Int32s,
    open_places: Int32s,
    bounds: Float32s,
    best: Float64s,
    n_features: int,
    found: Int32s,
    cosines: Float32s,
) -> None:
    """Score the candidates exactly and list the best of each query.

    Parameters
    ----------
    query_indptr, query_indices, query_values, rows, found, cosines
        As in `top_k_cosines`.
    queries, open_places, bounds : (c,) int32, int32, float32
        Candidates: query, place, upper bound of the cosine.
    best : (q, n) float64
        Lower bounds of the best cosines.
    """
    count, n = found.shape
    firsts = np.zeros(count + 1, np.int64)
    for at in range(len(asking)):
        if bounds[at] * ROUNDING >= best[asking[at], n - 1]:
            firsts[asking[at] + 1] += 1
    most = 0
    for q in range(count):
        most = max(most, firsts[q + 1])
        firsts[q + 1] += firsts[q]
    nexts = firsts.copy()
    places = np.empty(firsts[-1], np.int32)
    for at in range(len(asking)):
        if bounds[at] * ROUNDING >= best[asking[at], n - 1]:
            places[nexts[asking[at]]] = open_places[at]
            nexts[asking[at]] += 1
    near = np.empty(most, np.int64)
    exact = np.empty(len(near), np.float32)
    dense = np.zeros(n_features, np.float32)
    for q in range(count):
        part = places[firsts[q] : firsts[q + 1]]
        for place in part:
            for p in range(rows.indptr[place], rows.indptr[place + 1], LINE):
                prefetch(rows.indices, p)
                prefetch(rows.values, p)
        for p in range(query_indptr[q], query_indptr[q + 1]):
            dense[query_indices[p]] = query_values[p]
        for at in range(len(part)):
            near[at] = rows.owners[part[at]]
            exact[at] = _cosine(dense, rows, part[at])
        _list_best(near[: len(part)], exact[: len(part)], found[q], cosines[q])
        for p in range(query_indptr[q], query_indptr[q + 1]):
            dense[query_indices[p]] = 0.0


@helper
def _least(cosine: float, unit: float) -> int:
    """Return the smallest sum of a row that may still be among the best."""
    return max(1, int(cosine * unit / ROUNDING))


@helper
def _nth(values: Int32s, highest: Float64s) -> int:
    """Return the smallest of the highest values, at least 1."""
    highest[:] = 1.0
    for value in values:
        if value > highest[-1]:
            _enter(highest, np.float64(value))
    return int(highest[-1])


@helper
def _enter(best: Float64s, value: float) -> None:
    """Insert a value into a descending list in place of the last."""
    place = len(best) - 1
    while place > 0 and best[place - 1] < value:
        best[place] = best[place - 1]
        place -= 1
    best[place] = value


@helper
def _cosine(dense: Float32s, rows: SparseRows, place: int) -> np.float32:
    """Return the dot product of a row with the query, summed in the order of features."""
    total = 0.0
    for p in range(rows.indptr[place], rows.indptr[place + 1]):
        total += np.float64(dense[rows.indices[p]]) * np.float64(rows.values[p])
    return np.float32(min(total, 1.0))


@helper
def _list_best(rows: Int64s, exact: Float32s, found: Int32s, cosines: Float32s) -> None:
    """List the best rows; where more rows tie for the last places than fit, scale those weights down."""
    n = len(found)
    size = 0
    for at in range(len(rows)):
        if exact[at] > 0.0:
            size = _insert(found, cosines, size, n, rows[at], exact[at])
    if size < n or n == 0:
        return
    last = cosines[n - 1]
    n_tied = n_listed = 0
    for at in range(len(rows)):
        n_tied += abs(exact[at] - last) <= EQUAL * last
    for place in range(n):
        n_listed += cosines[place] - last <= EQUAL * last
    if n_listed < n_tied:
        for place in range(n - n_listed, n):
            cosines[place] *= np.float32(n_listed / n_tied)


@helper
def _insert(
    rows: Int32s, cosines: Float32s, size: int, n: int, row: np.int64, cosine: np.float32
) -> int:
    """Insert into a list of the n best, descending, ties by row; return its new size."""
    if size == n:
        if n == 0 or cosine < cosines[n - 1] or (cosine == cosines[n - 1] and row > rows[n - 1]):
            return size
        size -= 1
    at = size
    while at > 0 and (
        cosine > cosines[at - 1] or (cosine == cosines[at - 1] and row < rows[at - 1])
    ):
        rows[at] = rows[at - 1]
        cosines[at] = cosines[at - 1]
        at -= 1
    rows[at] = row
    cosines[at] = cosine
    return size + 1
