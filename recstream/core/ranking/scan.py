"""Step 8, compiled: one pass over a quantised index, keeping each user's best items exactly.

The pass computes an upper bound for every item (`tile`), and an exact score only for the items
whose bound reaches the user's current n-th best score. What is kept is therefore the exact
answer, whatever the order in which items and users come along.
"""

from __future__ import annotations

import numba
import numpy as np

from recstream.core.ranking.tile import N_LANES, N_QUERIES, tile_candidates

__all__ = ["GROUP_TILES", "exact_score", "merge_best", "scan", "score_pairs", "sort_best"]

GROUP_TILES = 16
"""Tiles that share one bound on norm and bias, by which they are skipped together."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def exact_score(user, item, bias):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def score_pairs(users, items, bias, rows, ids, out):  # type: ignore[no-untyped-def]
    """Write the exact score of ``(rows[p], ids[p])`` to ``out[p]``."""
    for p in range(rows.shape[0]):
        i = ids[p]
        out[p] = exact_score(users[rows[p]], items[i], bias[i])


@numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _worse(score_a, id_a, score_b, id_b):  # type: ignore[no-untyped-def]
    """Say whether a ranks after b: by score, then by higher id."""
    return score_a < score_b or (score_a == score_b and id_a > id_b)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _sink(scores, ids, at, size):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _offer(scores, ids, score, item):  # type: ignore[no-untyped-def]
    """Replace the worst entry if the new one ranks before it."""
    if _worse(scores[0], ids[0], score, item):
        scores[0] = score
        ids[0] = item
        _sink(scores, ids, 0, scores.shape[0])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sort_best(scores, ids, empty):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def merge_best(scores, ids, more_scores, more_ids):  # type: ignore[no-untyped-def]
    """Offer the entries of a second set of heaps to the first."""
    for row in range(scores.shape[0]):
        for place in range(more_ids.shape[1]):
            _offer(scores[row], ids[row], more_scores[row, place], more_ids[row, place])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _contains(sorted_ids, first, end, item):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _block_may_enter(norms, thresholds, first, last, group_norm, group_bias):  # type: ignore[no-untyped-def]
    """Say whether any user of a block could still take an item of a group."""
    for user in range(first, last):
        # Cauchy–Schwarz; `not <` keeps the group when the product is not a number.
        if not norms[user] * group_norm + group_bias < thresholds[user]:
            return True
    return False


@numba.njit(cache=True, nogil=True, error_model="numpy")
def scan(  # type: ignore[no-untyped-def]
    codes,  # (n_tiles, n_pairs, 16, 2) int8
    scale,  # (n_tiles * 16,) float32, as error, bound_bias and order
    error,
    bound_bias,
    order,  # int32, the item in each slot, -1 in padding
    group_norm,  # (n_groups,) float32, as group_bias
    group_bias,
    items,  # (n_items, n_factors) float32, as they were given
    bias,  # (n_items,) float32
    users,  # (b, n_factors) float32
    queries,  # (n_blocks, n_pairs, 4, 2) int16
    q_scale,  # (n_blocks * 4,) float32, as q_norm and threshold
    q_norm,
    threshold,
    seen_indptr,  # CSR of what to leave out, rows sorted; (1,) where there is none
    seen_indices,
    mask,  # (n_items,) bool; (0,) allows everything
    first_group,
    last_group,
    scores,  # (b, n) float32 heaps
    ids,
):
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
