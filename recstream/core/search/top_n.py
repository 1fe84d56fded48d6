"""Exact top-N: the best items of each user, with the same bits for a user alone or in any batch.

A score is ``user · item + bias``, summed in float64 in a fixed order and rounded once to float32
(`recstream.core.search.keys.exact_score`). A list is sorted by descending score, ties by item row. `top_n` does not score all
items: a pass over an 8-bit copy gives each item an upper bound, and only items whose bound reaches the
user's n-th best score so far are scored exactly.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s
from recstream.core.numeric.pool import Pool, open_pool
from recstream.core.search.index import ItemIndex, user_code_limit, user_slack
from recstream.core.search.keys import EMPTY_KEY, lists_of
from recstream.core.search.scan import merge_best, quantise, scan
from recstream.core.search.tile import N_QUERIES
from recstream.core.validation import as_excluded, as_matrix, as_whole
from recstream.errors import InvalidInput

MAX_N = 1 << 20
"""A longer list than this has at most as many places as there are items."""
_BATCH = 256


class Ranking(NamedTuple):
    """Best items of each user, best first; -1 with score -inf where no more are allowed."""

    ids: NDArray[np.int32]
    scores: Float32s


class _Queries(NamedTuple):
    """Quantised user factors: 16-bit codes, four users side by side, with scale and norm."""

    codes: NDArray[np.int16]
    scale: Float32s
    norm: Float32s


def top_n(
    user_factors: object,
    items: ItemIndex | object,
    n: int,
    *,
    exclude: object | None = None,
    bias: object | None = None,
    mask: object | None = None,
    threads: int | None = None,
) -> Ranking:
    """Return each user's n best items, exactly.

    The result equals scoring all items and sorting by (-score, item row). It does
    not depend on the batch, the threads or earlier updates of the index.

    Parameters
    ----------
    user_factors : (b, d) float32
    items : ItemIndex or (m, d) float32
        A matrix is indexed first, at about 1 µs an item; serving keeps an index.
    n : int
        From 1 to the number of items or `MAX_N`. Missing items are -1 with score -inf.
    exclude : (b, m) scipy sparse, any format, optional
        Stored entries, of any value, are excluded from that user's list.
    bias : (m,) float32, optional
        Only with a matrix; an index has its own.
    mask : (m,) bool, optional
        False excludes an item from every list.
    threads : int, optional
        1 by default. Each scans a share of the items; their results are merged.

    Raises
    ------
    InvalidInput
        Values that are not finite, or types or shapes that do not fit together.
    """
    index = _index_of(items, bias)
    users = as_matrix(user_factors, "user_factors", n_columns=index.n_factors)
    n = as_whole(n, "n", 1)
    if n > max(MAX_N, index.n_items):
        raise InvalidInput(f"n must be at most {max(MAX_N, index.n_items):,}, got {n:,}")
    threads = 1 if threads is None else as_whole(threads, "threads", 1)
    excluded = np.zeros(1, np.int64), np.zeros(0, np.int32)
    if exclude is not None:
        excluded = as_excluded(exclude, "exclude", len(users), index.n_items)
    allowed = _allowed(mask, index.n_items)
    return Ranking(*lists_of(best_keys(users, index, n, excluded, allowed, threads)))


def best_keys(
    users: Float32s,
    index: ItemIndex,
    n: int,
    excluded: tuple[NDArray[np.int64], NDArray[np.int32]],
    allowed: NDArray[np.bool_],
    threads: int = 1,
) -> NDArray[np.int64]:
    """Return `top_n` of checked values, as keys (b, n) in the order of `keep`.

    Parameters
    ----------
    users : (b, d) float32
        C-ordered and finite.
    excluded : indptr, indices
        Excluded rows of each user, ascending; an indptr of length 1 excludes none.
    allowed : (m,) bool
        Empty allows every item.
    """
    indptr, indices = excluded
    keys = np.full((len(users), n), EMPTY_KEY)
    with open_pool(min(threads, max(1, index.n_groups))) as pool:
        for first in range(0, len(users), _BATCH):
            part = slice(first, min(first + _BATCH, len(users)))
            own = indptr[part.start : part.stop + 1] if len(indptr) > 1 else indptr
            _scan(index, users[part], (own, indices), allowed, pool, keys[part])
    return keys


def _index_of(items: object, bias: object | None) -> ItemIndex:
    """Return the index, or a new one of a matrix."""
    if not isinstance(items, ItemIndex):
        return ItemIndex(items, bias)
    if bias is not None:
        msg = "bias must be None with an ItemIndex, which has its own; use ItemIndex.set_bias"
        raise InvalidInput(msg)
    return items


def _allowed(mask: object | None, n_items: int) -> NDArray[np.bool_]:
    """Return the checked mask, or an empty one that allows every item."""
    if mask is None:
        return np.zeros(0, np.bool_)
    allowed = np.asarray(mask)
    if allowed.shape != (n_items,) or allowed.dtype != np.bool_:
        msg = f"mask must be {n_items} bools, got {allowed.dtype} of shape {allowed.shape}"
        raise InvalidInput(msg)
    return np.ascontiguousarray(allowed)


def _queries(users: Float32s) -> _Queries:
    """Quantise users with the error that the bounds of an index assume (`user_slack`)."""
    n_users, n_factors = users.shape
    n_blocks = -(-n_users // N_QUERIES)
    codes = np.zeros((n_blocks, (n_factors + 1) // 2, N_QUERIES, 2), np.int16)
    scale, norm = np.zeros((2, n_blocks * N_QUERIES), np.float32)
    quantise(users, user_code_limit(n_factors), user_slack(n_factors), codes, scale, norm)
    return _Queries(codes, scale, norm)


def _scan(
    index: ItemIndex,
    users: Float32s,
    excluded: tuple[NDArray[np.int64], NDArray[np.int32]],
    allowed: NDArray[np.bool_],
    pool: Pool,
    keys: NDArray[np.int64],
) -> None:
    """Add the best keys of one batch; each thread scans a share of the groups of items."""
    queries = _queries(users)

    def scan_share(share: tuple[int, int, NDArray[np.int64]]) -> None:
        first, last, best = share
        threshold = np.full(len(queries.scale), np.inf, np.float32)
        threshold[: len(users)] = lists_of(np.ascontiguousarray(best[:, :1]))[1][:, 0]
        scan(
            index.codes,
            index.scale,
            index.error,
            index.bound_bias,
            index.order,
            index.group_norm,
            index.group_bias,
            index.item_factors,
            index.bias,
            users,
            queries.codes,
            queries.scale,
            queries.norm,
            threshold,
            *excluded,
            allowed,
            first,
            last,
            best,
        )

    if pool.threads == 1:
        scan_share((0, index.n_groups, keys))
        return
    cuts = np.linspace(0, index.n_groups, pool.threads + 1).astype(int).tolist()
    parts = [keys, *(np.full_like(keys, EMPTY_KEY) for _ in range(pool.threads - 1))]
    pool.run(scan_share, zip(cuts[:-1], cuts[1:], parts, strict=True))
    for more in parts[1:]:
        merge_best(keys, more)
