"""Quantised inverted index of sparse rows: upper bounds on dot products, a block of rows at a time.

Index values are rounded up, so a bound is never below the exact product. Frequent features of a block
are dense rows of bytes (*planes*), the others posting lists. `recstream.core.numeric.sparse_topk`
searches it.
"""

from typing import NamedTuple

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s, UInt8s, UInt32s
from recstream.core.numeric.jit import compiled, helper, interpretable_below
from recstream.core.numeric.simd import LINE, prefetch

BLOCK = 8_192
"""Rows of a block: its sums stay in the L1 cache. Fewer than 65,536."""
LANES = 512
"""Sums this far apart share one maximum, which is read first; divides `BLOCK`."""
PLANE_PART = 11
"""A feature of more than one row in so many gets a plane, where a value costs a tenth."""
PLANE_LEAST = BLOCK // 64
"""Features of fewer rows get none."""
VALUES = 65_535
"""Largest value in posting lists."""
CODES = 255
"""Largest value in planes."""
_LARGEST = 2.0**31 - 2.0**16
_FROM = np.uint32(16)
_PLACE = np.uint32(0xFFFF)


class SparseRows(NamedTuple):
    """CSR matrix of features whose rows may be deleted.

    Attributes
    ----------
    owners : (p,) int32
        Item row at each place; -1 where deleted.
    """

    owners: Int32s
    indptr: Int64s
    indices: Int32s
    values: Float32s


class IndexBlocks(NamedTuple):
    """Inverted index of places, in blocks of `BLOCK` places.

    Attributes
    ----------
    sizes : (b,) int64
        Places of each block.
    scales, norms : (b,) float64
        Factor of the quantised values; largest norm of a row.
    first : (b + 1,) int64
        First posting of each block.
    starts : (b, n_features + 1) int32
        First posting of each feature, within its block.
    postings : uint32
        Value in the upper half, place within the block in the lower.
    first_plane : (b + 1,) int64
    plane_features : int32
        Ascending within a block.
    plane_steps : float64
        Value of 1 in a plane, in units of postings.
    planes : (n, BLOCK) uint8
    """

    sizes: Int64s
    scales: Float64s
    norms: Float64s
    first: Int64s
    starts: Int32s
    postings: UInt32s
    first_plane: Int64s
    plane_features: Int32s
    plane_steps: Float64s
    planes: UInt8s


@interpretable_below(lambda rows, first, end: int(rows.indptr[end] - rows.indptr[first]))
@compiled
def block_scale(rows: SparseRows, first: int, end: int) -> tuple[float, float]:
    """Return the quantisation factor of places first to end, and their largest norm."""
    largest = norm = 0.0
    for place in range(first, end):
        length = 0.0
        for p in range(rows.indptr[place], rows.indptr[place + 1]):
            value = np.float64(rows.values[p])
            largest = max(largest, value)
            length += value * value
        norm = max(norm, length)
    return (VALUES / largest if largest > 0.0 else 1.0), np.sqrt(norm)


@interpretable_below(lambda rows, first, end, *_: 2 * int(rows.indptr[end] - rows.indptr[first]))
@compiled
def fill_block(
    rows: SparseRows,
    first: int,
    end: int,
    scale: float,
    starts: Int32s,
    plane_features: Int32s,
    plane_steps: Float64s,
    postings: UInt32s,
    planes: UInt8s,
) -> None:
    """Fill postings and planes of one block from places first to end.

    Parameters
    ----------
    scale : float
        From `block_scale`.
    starts, plane_features : (n_features + 1,) int32, (n,) int32
        Layout of the block; see `IndexBlocks`.
    plane_steps, postings, planes : (n,) float64, uint32, (n, BLOCK) uint8
        Filled.
    """
    nexts = starts[:-1].copy()
    plane_of = np.full(len(nexts), -1, np.int32)
    for at in range(len(plane_features)):
        plane_of[plane_features[at]] = at
    plane_steps[:] = 0.0
    for p in range(rows.indptr[first], rows.indptr[end]):
        at = plane_of[rows.indices[p]]
        if at >= 0:
            plane_steps[at] = max(plane_steps[at], np.float64(rows.values[p]) * scale / CODES)
    planes[:] = 0
    for place in range(first, end):
        for p in range(rows.indptr[place], rows.indptr[place + 1]):
            feature, value = rows.indices[p], np.float64(rows.values[p]) * scale
            at = plane_of[feature]
            if at < 0:
                value = min(np.ceil(value), np.float64(VALUES))
                postings[nexts[feature]] = (np.uint32(value) << _FROM) | np.uint32(place - first)
                nexts[feature] += 1
            elif value > 0.0:
                value = min(np.ceil(value / plane_steps[at]), np.float64(CODES))
                planes[at, place - first] = np.uint8(value)


@helper
def query_multiplier(
    size: int, total: float, length: float, scale: float, norm: float
) -> tuple[float, float]:
    """Return the factor of a query's weights and the largest rounding error of a sum.

    With this factor no sum of a block overflows int32. Rounding up posting values makes a sum too
    large by at most the error.

    Parameters
    ----------
    size : int
        Terms of the query.
    total, length : float
        Sum of its weights, and their Euclidean length.
    scale, norm : float
        Of the block: its place in ``scales`` and ``norms`` of `IndexBlocks`.
    """
    # Bound on sums of rounded products, by Cauchy–Schwarz.
    fixed = scale * norm * np.sqrt(np.float64(size)) + (1 + CODES) * size
    product = scale * norm * length + (2 + VALUES // CODES) * total
    multiplier = (_LARGEST - 1.01 * fixed) / (1.01 * product)
    return multiplier, 1.01 * (fixed + multiplier * total)


@helper
def add_postings(
    features: Int32s,
    weights: Float32s,
    multiplier: float,
    blocks: IndexBlocks,
    b: int,
    sums: Int32s,
    planes: Int64s,
    factors: Int32s,
) -> int:
    """Add a query's postings of block b to `sums`; list the planes it needs, largest factor first.

    Parameters
    ----------
    features, weights : (k,) int32, float32
        The query.
    multiplier : float
        From `query_multiplier`.
    blocks, b : IndexBlocks, int
    sums : (BLOCK,) int32
    planes, factors : (≥ k,) int64, int32
        Receive the planes and their factors.

    Returns
    -------
    int
        Number of planes.
    """
    starts = blocks.starts[b]
    postings = blocks.postings[blocks.first[b] : blocks.first[b + 1]]
    begun, ended = blocks.first_plane[b], blocks.first_plane[b + 1]
    for feature in features:
        for p in range(starts[feature], starts[feature + 1], LINE):
            prefetch(postings, p)
    n_planes = 0
    for at in range(len(features)):
        feature, weight = features[at], np.float64(weights[at]) * multiplier
        part = postings[starts[feature] : starts[feature + 1]]
        factor = np.int32(np.ceil(weight))
        for p in range(len(part)):
            sums[part[p] & _PLACE] += factor * np.int32(part[p] >> _FROM)
        if len(part) > 0 or begun == ended:
            continue
        low, high = begun, ended
        while low < high:
            middle = (low + high) // 2
            if blocks.plane_features[middle] < feature:
                low = middle + 1
            else:
                high = middle
        if low == ended or blocks.plane_features[low] != feature:
            continue
        factor = np.int32(np.ceil(weight * blocks.plane_steps[low]))
        place = n_planes
        while place > 0 and factors[place - 1] < factor:
            factors[place], planes[place] = factors[place - 1], planes[place - 1]
            place -= 1
        factors[place], planes[place] = factor, low
        n_planes += 1
    return n_planes


@helper
def add_plane(plane: UInt8s, factor: np.int32, sums: Int32s) -> None:
    """Add a plane times a factor to `sums`."""
    for local in range(len(sums)):
        sums[local] += factor * np.int32(plane[local])


@helper
def lane_maxima(sums: Int32s, lanes: Int32s) -> None:
    """Write the maximum of the sums that are `LANES` apart to each lane."""
    for lane in range(LANES):
        lanes[lane] = sums[lane]
    for start in range(LANES, len(sums), LANES):
        part = sums[start : start + LANES]
        for lane in range(LANES):
            lanes[lane] = max(lanes[lane], part[lane])
