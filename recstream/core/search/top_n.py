"""Step 8: factors → top N, exact, with the same bits for a user alone or in any batch.

A score is ``user · item + bias``, summed in float64 in a fixed order and rounded once to float32
(`scores_of`); a ranking is by falling score, equal scores by rising item row. `top_n` finds it
without scoring everything: a first pass over an 8-bit copy of the items gives each an upper
bound with a proven error, and only items whose bound reaches the user's n-th best score so far
are scored exactly.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.search.index import (
    F32,
    ItemIndex,
    checked_matrix,
    checked_vector,
    user_code_limit,
    user_slack,
)
from recstream.core.search.keys import NOBODY, lists_of
from recstream.core.search.scan import merge_best, quantise, scan, score_pairs
from recstream.core.search.tile import N_QUERIES
from recstream.errors import InvalidInput

__all__ = ["ItemIndex", "Ranking", "best_keys", "scores_of", "top_n"]

_BATCH = 256


class Ranking(NamedTuple):
    """The best items of each user, best first; -1 with score -inf where no more are allowed."""

    ids: NDArray[np.int32]
    scores: F32


class _Queries(NamedTuple):
    """Users' factors as 16-bit integers, four users side by side, with scale and norm."""

    codes: NDArray[np.int16]
    scale: F32
    norm: F32


def top_n(
    user_factors: object,
    items: ItemIndex | object,
    n: int,
    *,
    exclude: sparse.csr_array | sparse.csr_matrix | None = None,
    bias: object | None = None,
    mask: object | None = None,
    threads: int | None = None,
) -> Ranking:
    """Return each user's n best items, exactly.

    The answer is that of scoring all items with `scores_of` and sorting by (-score, item row);
    it does not depend on the batch, the threads or the index's history.

    Parameters
    ----------
    user_factors : (b, d) float32
    items : ItemIndex or (m, d) float32
        A matrix is indexed on the spot, which costs about 1 µs an item; serving keeps an index.
    n : int
        At least 1. More than are allowed fill up with -1 and -inf.
    exclude : (b, m) CSR, optional
        Stored entries, of any value, are left out of that user's list.
    bias : (m,) float32, optional
        Only with a matrix; an index has its own.
    mask : (m,) bool, optional
        False leaves an item out of every list.
    threads : int, optional
        1 by default. Each takes a share of the items; what they found is merged.

    Raises
    ------
    InvalidInput
        For values that are not finite or shapes that do not fit together.
    """
    index = _index_of(items, bias)
    users = checked_matrix("user_factors", user_factors, index.n_factors)
    if n < 1:
        msg = f"n must be at least 1, got {n}"
        raise InvalidInput(msg)
    if threads is not None and threads < 1:
        msg = f"threads must be at least 1, got {threads}"
        raise InvalidInput(msg)
    indptr, indices = _seen(exclude, len(users), index.n_items)
    allowed = _allowed(mask, index.n_items)
    seen = indptr, indices
    return Ranking(*lists_of(best_keys(users, index, n, seen, allowed, threads or 1)))


def best_keys(
    users: F32,
    index: ItemIndex,
    n: int,
    seen: tuple[NDArray[np.int64], NDArray[np.int32]],
    allowed: NDArray[np.bool_],
    threads: int = 1,
) -> NDArray[np.int64]:
    """Return `top_n` of values that need no check, as keys (b, n) the way `keep` keeps them.

    Parameters
    ----------
    users : (b, d) float32
        C-ordered and finite.
    seen : indptr, indices
        Each user's rows to leave out, ascending; an indptr of length 1 for nobody's.
    allowed : (m,) bool
        Empty to allow every item.
    """
    indptr, indices = seen
    keys = np.full((len(users), n), NOBODY)
    for first in range(0, len(users), _BATCH):
        part = slice(first, min(first + _BATCH, len(users)))
        own = indptr[part.start : part.stop + 1] if len(indptr) > 1 else indptr
        _scan(index, users[part], (own, indices), allowed, threads, keys[part])
    return keys


def scores_of(
    user_factors: object,
    item_factors: object,
    rows: object,
    ids: object,
    bias: object | None = None,
) -> F32:
    """Return the scores of pairs ``(rows[p], ids[p])``, the same bits as in `top_n`."""
    items = checked_matrix("item_factors", item_factors)
    users = checked_matrix("user_factors", user_factors, items.shape[1])
    bias_of = np.zeros(len(items), np.float32) if bias is None else bias
    vector = checked_vector("bias", bias_of, len(items))
    user_rows = np.ascontiguousarray(rows, dtype=np.int64)
    item_rows = np.ascontiguousarray(ids, dtype=np.int64)
    _check_rows("rows", user_rows, len(users), len(item_rows))
    _check_rows("ids", item_rows, len(items), len(user_rows))
    out = np.empty(len(user_rows), np.float32)
    score_pairs(users, items, vector, user_rows, item_rows, out)
    return out


def _check_rows(name: str, rows: NDArray[np.int64], n_rows: int, length: int) -> None:
    """Raise unless rows are that many and in range."""
    if rows.shape != (length,) or rows.min(initial=0) < 0 or rows.max(initial=-1) >= n_rows:
        msg = f"{name} must be {length} rows in 0..{n_rows - 1}, got {rows!r}"
        raise InvalidInput(msg)


def _index_of(items: ItemIndex | object, bias: object | None) -> ItemIndex:
    """Return the index itself or a new one of a matrix."""
    if not isinstance(items, ItemIndex):
        return ItemIndex(items, bias)
    if bias is not None:
        msg = "bias must be None with an ItemIndex, which has its own; use ItemIndex.set_bias"
        raise InvalidInput(msg)
    return items


def _seen(
    exclude: sparse.csr_array | sparse.csr_matrix | None, n_users: int, n_items: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the row pointers and sorted item rows of what to leave out."""
    if exclude is None:
        return np.zeros(1, np.int64), np.zeros(0, np.int32)
    if not sparse.issparse(exclude) or exclude.format != "csr":
        msg = f"exclude must be a scipy CSR matrix, got {type(exclude).__name__}"
        raise InvalidInput(msg)
    if exclude.shape[0] != n_users or exclude.shape[1] > n_items:
        msg = f"exclude must have shape ({n_users}, {n_items}), got {exclude.shape}"
        raise InvalidInput(msg)
    ordered = exclude if exclude.has_sorted_indices else exclude.sorted_indices()
    return ordered.indptr.astype(np.int64), ordered.indices.astype(np.int32, copy=False)


def _allowed(mask: object | None, n_items: int) -> NDArray[np.bool_]:
    """Return the mask, or an empty one that allows everything."""
    if mask is None:
        return np.zeros(0, np.bool_)
    allowed = np.asarray(mask)
    if allowed.shape != (n_items,) or allowed.dtype != np.bool_:
        msg = f"mask must be {n_items} bools, got {allowed.dtype} of shape {allowed.shape}"
        raise InvalidInput(msg)
    return np.ascontiguousarray(allowed)


def _queries(users: F32) -> _Queries:
    """Quantise users so that the bounds of an index hold for them (see `user_slack`)."""
    n_users, n_factors = users.shape
    n_blocks = -(-n_users // N_QUERIES)
    codes = np.zeros((n_blocks, (n_factors + 1) // 2, N_QUERIES, 2), np.int16)
    scale, norm = np.zeros((2, n_blocks * N_QUERIES), np.float32)
    quantise(users, user_code_limit(n_factors), user_slack(n_factors), codes, scale, norm)
    return _Queries(codes, scale, norm)


def _scan(
    index: ItemIndex,
    users: F32,
    seen: tuple[NDArray[np.int64], NDArray[np.int32]],
    allowed: NDArray[np.bool_],
    threads: int,
    keys: NDArray[np.int64],
) -> None:
    """Find the best keys of one batch, the groups of items dealt out to threads."""
    queries = _queries(users)

    def take(first: int, last: int, keys: NDArray[np.int64]) -> None:
        threshold = np.full(len(queries.scale), np.inf, np.float32)
        threshold[: len(users)] = -np.inf
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
            *seen,
            allowed,
            first,
            last,
            keys,
        )

    shares = min(threads, max(1, index.n_groups))
    cuts = np.linspace(0, index.n_groups, shares + 1).astype(int).tolist()
    if shares == 1:
        take(0, index.n_groups, keys)
        return
    parts = [keys, *(keys.copy() for _ in range(shares - 1))]
    with ThreadPoolExecutor(shares) as pool:
        jobs = [
            pool.submit(take, first, last, part)
            for first, last, part in zip(cuts[:-1], cuts[1:], parts, strict=True)
        ]
        for job in jobs:
            job.result()
    for more in parts[1:]:
        merge_best(keys, more)
