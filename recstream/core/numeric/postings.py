"""Step 5 of the flow, compiled: what a query shares with rows, a little too much, a block at a time.

A block's features are kept by feature, as whole numbers that are rounded up, so that what a query and
a row share is added up for all rows of a block in memory that is near. Features that many of a
block's rows have lie in planes, a number for each row; the others in postings.
`recstream.core.numeric.sparse_topk` finds the nearest rows with that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.simd import LINE, prefetch

BLOCK = 8_192
"""Places of a block: its sums stay in the nearest memory. Fewer than 65,536."""
LANES = 512
"""The largest sum of each so many places apart is looked at first; divides `BLOCK`."""
PLANE_PART = 11
"""A feature that more than one place in so many has lies in a plane: a number costs a tenth there."""
PLANE_LEAST = BLOCK // 64
"""Features that fewer have never do."""
VALUES = 65_535
"""Values in postings go from 0 to this."""
CODES = 255
"""Values in planes do."""
_LARGEST = 2.0**31 - 2.0**16
_FROM = np.uint32(16)
_PLACE = np.uint32(0xFFFF)

UInt8s = NDArray[np.uint8]
UInt32s = NDArray[np.uint32]


class HeldRows(NamedTuple):
    """Features by place, and which row's they are.

    Attributes
    ----------
    owners : (p,) int32
        -1 where they are no row's any more.
    indptr, indices, values : arrays
        As in a CSR matrix.
    """

    owners: Int32s
    indptr: Int64s
    indices: Int32s
    values: Float32s


class Blocks(NamedTuple):
    """Features of places by feature, `BLOCK` places after `BLOCK` places.

    Attributes
    ----------
    sizes : (b,) int64
        Places of each.
    scales, norms : (b,) float64
        What values were multiplied with; the greatest length of a row.
    first : (b + 1,) int64
        Each block's first of `postings`.
    starts : (b, n_features + 1) int32
        Each feature's first of its block's postings.
    postings : uint32
        Value and place within the block.
    first_plane : (b + 1,) int64
    plane_features : int32
        Ascending within a block.
    plane_steps : float64
        What 1 stands for in a plane, in units of postings.
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


@compiled
def scale_of(rows: HeldRows, first: int, end: int) -> tuple[float, float]:
    """Return what the values of some places are multiplied with, and the greatest length of a row."""
    largest = norm = 0.0
    for place in range(first, end):
        length = 0.0
        for p in range(rows.indptr[place], rows.indptr[place + 1]):
            value = np.float64(rows.values[p])
            largest = max(largest, value)
            length += value * value
        norm = max(norm, length)
    return (VALUES / largest if largest > 0.0 else 1.0), np.sqrt(norm)


@compiled
def fill_block(
    rows: HeldRows,
    first: int,
    end: int,
    scale: float,
    starts: Int32s,
    plane_features: Int32s,
    plane_steps: Float64s,
    postings: UInt32s,
    planes: UInt8s,
) -> None:
    """Fill postings and planes from the rows of some places."""
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


@compiled
def multiplier_of(
    size: int, total: float, length: float, scale: float, norm: float
) -> tuple[float, float]:
    """Return what a query's weights are multiplied with, so that no sum of a block is too large.

    And how much a sum may be too large for postings being rounded up.
    """
    # Sums of products of numbers rounded up, by Cauchy and Schwarz.
    fixed = scale * norm * np.sqrt(np.float64(size)) + (1 + CODES) * size
    product = scale * norm * length + (2 + VALUES // CODES) * total
    multiplier = (_LARGEST - 1.01 * fixed) / (1.01 * product)
    return multiplier, 1.01 * (fixed + multiplier * total)


@compiled
def add_postings(
    features: Int32s,
    weights: Float32s,
    multiplier: float,
    blocks: Blocks,
    b: int,
    sums: Int32s,
    planes: Int64s,
    factors: Int32s,
) -> int:
    """Add up postings; list the planes a query needs, those that count most first."""
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


@compiled
def add_plane(plane: UInt8s, factor: np.int32, sums: Int32s) -> None:
    """Add a plane up."""
    for local in range(len(sums)):
        sums[local] += factor * np.int32(plane[local])


@compiled
def look_along(sums: Int32s, lanes: Int32s) -> None:
    """Fill the largest of the sums that are `LANES` apart."""
    for lane in range(LANES):
        lanes[lane] = sums[lane]
    for start in range(LANES, len(sums), LANES):
        part = sums[start : start + LANES]
        for lane in range(LANES):
            lanes[lane] = max(lanes[lane], part[lane])
