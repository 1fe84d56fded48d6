"""Step 8, compiled: one pass over a quantised index, keeping each user's best items exactly.

The pass computes an upper bound for every item (`tile`), and an exact score only for the items
whose bound reaches the user's current n-th best score. What is kept is therefore the exact
answer, whatever the order in which items and users come along.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recstream.core.kernels.arrays import Float32s, Int32s, Int64s
from recstream.core.kernels.jit import compiled
from recstream.core.ranking.tile import N_LANES, N_QUERIES, tile_candidates

__all__ = ["GROUP_TILES", "exact_score", "merge_best", "scan", "score_pairs", "sort_best"]

GROUP_TILES = 16
"""Tiles that share one bound on norm and bias, by which they are skipped together."""


@compiled
def exact_score(user: Float32s, item: Float32s, bias: np.float32) -> np.float32:
    """Return ``user · item + bias``: float64 sums in a fixed order, rounded once to float32.

    A product of two float32 is exact in float64, so a fused multiply-add changes nothing and
    every machine finds the same bits.
    """
    n_factors = user.shape[0]
    a = b = c = d = 0.0
    k = 0
    while k + 4 <= n_factors:
        a += np.float64(user[k]) * np.float64(item[k])
        b += np.float64(user[k + 1]) * np.float64(item[k + 1])
        c += np.float64(user[k + 2]) * np.float64(item[k + 2])
        d += np.float64(user[k + 3]) * np.float64(item[k + 3])
        k += 4
    while k < n_factors:
        a += np.float64(user[k]) * np.float64(item[k])
        k += 1
    return np.float32(((a + b) + (c + d)) + np.float64(bias))


@compiled
def score_pairs(
    users: Float32s, items: Float32s, bias: Float32s, rows: Int64s, ids: Int64s, out: Float32s
) -> None:
    """Write the exact score of ``(rows[p], ids[p])`` to ``out[p]``."""
    for p in range(rows.shape[0]):
        i = ids[p]
        out[p] = exact_score(users[rows[p]], items[i], bias[i])


@compiled
def _worse(score_a: np.float32, id_a: np.int32, score_b: np.float32, id_b: np.int32) -> bool:
    """Say whether a ranks after b: by score, then by higher id."""
    return bool(score_a < score_b or (score_a == score_b and id_a > id_b))


@compiled
def _sink(scores: Float32s, ids: Int32s, at: int, size: int) -> None:
    """Restore the heap (worst on top) below one entry."""
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        right = child + 1
        if right < size and _worse(scores[right], ids[right], scores[child], ids[child]):
            child = right
        if not _worse(scores[child], ids[child], scores[at], ids[at]):
            return
        scores[child], scores[at] = scores[at], scores[child]
        ids[child], ids[at] = ids[at], ids[child]
        at = child


@compiled
def _offer(scores: Float32s, ids: Int32s, score: np.float32, item: np.int32) -> None:
    """Replace the worst entry if the new one ranks before it."""
    if _worse(scores[0], ids[0], score, item):
        scores[0] = score
        ids[0] = item
        _sink(scores, ids, 0, scores.shape[0])


@compiled
def sort_best(scores: Float32s, ids: Int32s, empty: np.int32) -> None:
    """Turn each row's heap into a ranking, best first; unused places become -1 and -inf."""
    for row in range(scores.shape[0]):
        s = scores[row]
        i = ids[row]
        for size in range(s.shape[0] - 1, 0, -1):
            s[0], s[size] = s[size], s[0]
            i[0], i[size] = i[size], i[0]
            _sink(s, i, 0, size)
        for place in range(s.shape[0]):
            if i[place] == empty:
                i[place] = -1


@compiled
def merge_best(scores: Float32s, ids: Int32s, more_scores: Float32s, more_ids: Int32s) -> None:
    """Offer the entries of a second set of heaps to the first."""
    for row in range(scores.shape[0]):
        for place in range(more_ids.shape[1]):
            _offer(scores[row], ids[row], more_scores[row, place], more_ids[row, place])


@compiled
def _contains(sorted_ids: Int32s, first: int, end: int, item: np.int32) -> bool:
    """Find an item in ``sorted_ids[first:end]`` by bisection."""
    while first < end:
        middle = (first + end) >> 1
        if sorted_ids[middle] < item:
            first = middle + 1
        elif sorted_ids[middle] > item:
            end = middle
        else:
            return True
    return False


@compiled
def _block_may_enter(
    norms: Float32s,
    thresholds: Float32s,
    first: int,
    last: int,
    group_norm: np.float32,
    group_bias: np.float32,
) -> bool:
    """Say whether any user of a block could still take an item of a group."""
    for user in range(first, last):
        # Cauchy–Schwarz; `not <` keeps the group when the product is not a number.
        if not norms[user] * group_norm + group_bias < thresholds[user]:
            return True
    return False


@compiled
def scan(
    codes: NDArray[np.int8],  # (n_tiles, n_pairs, 16, 2)
    scale: Float32s,  # (n_tiles * 16,), as error, bound_bias and order
    error: Float32s,
    bound_bias: Float32s,
    order: Int32s,  # the item in each slot, -1 in padding
    group_norm: Float32s,  # (n_groups,), as group_bias
    group_bias: Float32s,
    items: Float32s,  # (n_items, n_factors), as they were given
    bias: Float32s,  # (n_items,)
    users: Float32s,  # (b, n_factors)
    queries: NDArray[np.int16],  # (n_blocks, n_pairs, 4, 2)
    q_scale: Float32s,  # (n_blocks * 4,), as q_norm and threshold
    q_norm: Float32s,
    threshold: Float32s,
    seen_indptr: Int64s,  # CSR of what to leave out, rows sorted; (1,) where there is none
    seen_indices: Int32s,
    mask: NDArray[np.bool_],  # (n_items,); (0,) allows everything
    first_group: int,
    last_group: int,
    scores: Float32s,  # (b, n) heaps
    ids: Int32s,
) -> None:
    """Scan groups of items for all users and keep each user's best in its heap."""
    n_users = users.shape[0]
    n_pairs = codes.shape[1]
    has_seen = seen_indptr.shape[0] > 1
    has_mask = mask.shape[0] > 0
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
                if bits == 0:
                    continue
                for user in range(first_user, last_user):
                    lanes = (bits >> (N_LANES * (user - first_user))) & 0xFFFF
                    lane = 0
                    while lanes:
                        if lanes & 1:
                            item = order[tile * N_LANES + lane]
                            if (
                                item >= 0
                                and not (has_mask and not mask[item])
                                and not (
                                    has_seen
                                    and _contains(
                                        seen_indices, seen_indptr[user], seen_indptr[user + 1], item
                                    )
                                )
                            ):
                                _offer(
                                    scores[user],
                                    ids[user],
                                    exact_score(users[user], items[item], bias[item]),
                                    item,
                                )
                                threshold[user] = scores[user, 0]
                        lanes >>= 1
                        lane += 1
