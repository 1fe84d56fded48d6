"""Scan kernel: one pass over the quantised index that keeps each user's best items exactly.

Each item gets an upper bound (`tile`). Only items whose bound reaches the user's n-th best score so far
are scored exactly. So the result is exact for any order of items and users.
"""

import math

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import ZERO, compiled, helper, interpretable
from recstream.core.numeric.simd import LINE, prefetch, trailing_zeros
from recstream.core.search.keys import exact_score, keep, key_of, score_of
from recstream.core.search.tile import N_LANES, N_QUERIES, tile_candidates

GROUP_TILES = 16
"""Tiles that share one bound on norm and bias, and are skipped together."""
_SMALLEST = 1e-30
_ROOM = 1.0 + 1e-5
"""Factor of a user's norm, for rounding."""
_TOGETHER = 8
"""Items that are scored together."""


@interpretable
@compiled
def quantise(
    users: Float32s,
    limit: int,
    slack: float,
    codes: NDArray[np.int16],
    scale: Float32s,
    norm: Float32s,
) -> None:
    """Quantise users to 16-bit integers, four users side by side.

    Parameters
    ----------
    users : (b, d) float32
    limit : int
        Largest code.
    slack : float
        Largest relative error of a quantised user.
    codes : (n_blocks, n_pairs, 4, 2) int16
        Filled.
    scale, norm : (n_blocks * 4,) float32
        Filled.
    """
    for user in range(users.shape[0]):
        peak = square = 0.0
        for k in range(users.shape[1]):
            value = np.float64(users[user, k])
            peak = max(peak, abs(value))
            square += value * value
        length = math.sqrt(square)
        if peak < _SMALLEST:
            # Too small to quantise: codes stay 0, and the whole norm is error.
            norm[user] = np.float32(length * (1.0 + 1.0 / slack) * _ROOM)
            continue
        scale[user] = np.float32(peak / limit)
        step = np.float64(scale[user])
        for k in range(users.shape[1]):
            whole = round(np.float64(users[user, k]) / step)
            codes[user // N_QUERIES, k // 2, user % N_QUERIES, k % 2] = min(
                max(whole, -limit), limit
            )
        norm[user] = np.float32(length * (1.0 + slack) * _ROOM)


@interpretable
@compiled
def merge_best(keys: Int64s, more: Int64s) -> None:
    """Merge a second set of lists of keys into the first."""
    for row in range(keys.shape[0]):
        for place in range(more.shape[1]):
            keep(keys[row], more[row, place])


@helper
def _contains(sorted_ids: Int32s, first: int, end: int, item: np.int32) -> bool:
    """Return whether ``sorted_ids[first:end]`` contains an item, by bisection."""
    while first < end:
        middle = (first + end) >> 1
        if sorted_ids[middle] < item:
            first = middle + 1
        elif sorted_ids[middle] > item:
            end = middle
        else:
            return True
    return False


@helper
def _block_may_enter(
    norms: Float32s,
    thresholds: Float32s,
    first: int,
    last: int,
    group_norm: np.float32,
    group_bias: np.float32,
) -> bool:
    """Return whether an item of a group may enter the list of any user of a block."""
    for user in range(first, last):
        # Cauchy–Schwarz; `not <` keeps the group if the product is NaN.
        if not norms[user] * group_norm + group_bias < thresholds[user]:
            return True
    return False


@interpretable
@compiled
def scan(
    codes: NDArray[np.int8],
    scale: Float32s,
    error: Float32s,
    bound_bias: Float32s,
    order: Int32s,
    group_norm: Float32s,
    group_bias: Float32s,
    items: Float32s,
    bias: Float32s,
    users: Float32s,
    queries: NDArray[np.int16],
    q_scale: Float32s,
    q_norm: Float32s,
    threshold: Float32s,
    excluded_indptr: Int64s,
    excluded_indices: Int32s,
    mask: NDArray[np.bool_],
    first_group: int,
    last_group: int,
    keys: Int64s,
) -> None:
    """Scan groups of items for all users and keep each user's best keys.

    Parameters
    ----------
    codes : (n_tiles, n_pairs, 16, 2) int8
        Quantised factors of the items.
    scale, error, bound_bias : (n_tiles * 16,) float32
        Values of each slot, as in `tile_candidates`.
    order : (n_tiles * 16,) int32
        Item in each slot, -1 in padding.
    group_norm, group_bias : (n_groups,) float32
        Upper bounds of norm and bias in each group.
    items, bias : (n_items, n_factors) and (n_items,) float32
        Exact factors and biases.
    users : (b, n_factors) float32
        Exact factors of the users.
    queries : (n_blocks, n_pairs, 4, 2) int16
        Quantised factors of the users.
    q_scale, q_norm, threshold : (n_blocks * 4,) float32
        Scale and norm of each user, and the smallest score that may enter the list.
    excluded_indptr, excluded_indices : (b + 1,) int64 and (nnz,) int32
        CSR of each user's excluded items, sorted; an `excluded_indptr` of length 1 excludes none.
    mask : (n_items,) bool
        False for items to exclude; an empty one allows all.
    first_group, last_group : int
        Groups to scan, the last one excluded.
    keys : (b, n) int64
        Each user's best keys, in the order of `keep`; changed in place.
    """
    n_users = users.shape[0]
    n_pairs = codes.shape[1]
    has_excluded = excluded_indptr.shape[0] > 1
    has_mask = mask.shape[0] > 0
    # Factor rows lie apart in memory: prefetch those of several items together.
    waiting_users = np.empty(_TOGETHER + N_QUERIES * N_LANES, np.int32)
    waiting = np.empty_like(waiting_users)
    n_waiting = ZERO
    for group in range(first_group, last_group):
        first_tile = group * GROUP_TILES
        last_tile = min(first_tile + GROUP_TILES, codes.shape[0])
        for block in range(queries.shape[0]):
            first_user = block * N_QUERIES
            last_user = min(first_user + N_QUERIES, n_users)
            if not _block_may_enter(
                q_norm, threshold, first_user, last_user, group_norm[group], group_bias[group]
            ):
                continue
            for tile in range(first_tile, last_tile):
                bits = tile_candidates(
                    codes,
                    scale,
                    error,
                    bound_bias,
                    queries,
                    q_scale,
                    q_norm,
                    threshold,
                    tile,
                    block,
                    n_pairs,
                )
                while bits != 0:
                    lane = trailing_zeros(bits)
                    bits &= bits - 1
                    item = order[tile * N_LANES + lane % N_LANES]
                    user = first_user + lane // N_LANES
                    if (
                        user < n_users
                        and item >= 0
                        and not (has_mask and not mask[item])
                        and not (
                            has_excluded
                            and _contains(
                                excluded_indices,
                                excluded_indptr[user],
                                excluded_indptr[user + 1],
                                item,
                            )
                        )
                    ):
                        waiting_users[n_waiting] = user
                        waiting[n_waiting] = item
                        n_waiting += 1
                        for k in range(0, items.shape[1], LINE):
                            prefetch(items, np.int64(item) * items.shape[1] + k)
                if n_waiting >= _TOGETHER:
                    n_waiting = _score(
                        n_waiting, waiting_users, waiting, items, bias, users, threshold, keys
                    )
        if n_waiting:
            n_waiting = _score(
                n_waiting, waiting_users, waiting, items, bias, users, threshold, keys
            )


@helper
def _score(
    n_waiting: int,
    of: Int32s,
    waiting: Int32s,
    items: Float32s,
    bias: Float32s,
    users: Float32s,
    threshold: Float32s,
    keys: Int64s,
) -> int:
    """Score the waiting items, each for its user, and raise thresholds; return 0.

    Parameters
    ----------
    of, waiting : (≥ n_waiting,) int32
        User and item of each pair.
    items, bias, users, threshold, keys
        As in `scan`.
    """
    for at in range(n_waiting):
        user, item = of[at], waiting[at]
        key = key_of(exact_score(users[user], items[item], bias[item]), item)
        if key > keys[user, 0]:
            keep(keys[user], key)
            threshold[user] = score_of(keys[user, 0])
    return 0
