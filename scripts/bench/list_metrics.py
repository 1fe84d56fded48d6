"""Metrics of ranked lists.

Batch metrics compare lists with a test matrix and average over users with test items. Metrics of
single events take the rank of the event's item.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.numeric.arrays import Float64s, Int32s
from recstream.core.validation import as_excluded, as_whole
from recstream.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class RankingQuality:
    """Means over users with test items, and how lists spread over the items."""

    recall: float
    ndcg: float
    mrr: float
    hit: float
    coverage: float
    gini: float
    n_users: int


def hits(ids: Int32s, test: sparse.csr_array | sparse.csr_matrix) -> NDArray[np.bool_]:
    """Return which places of each ranking hold a test item of that row.

    Parameters
    ----------
    ids : (b, n) int32
        Rankings, best first, without repetition; -1 is an unused place.
    test : (b, m) CSR
        Stored entries, of any value, are the row's test items.
    """
    ids = _as_rankings(ids)
    if ids.shape[0] != test.shape[0]:
        msg = (
            f"ids must be ({test.shape[0]}, n) for a test matrix of that many rows, got {ids.shape}"
        )
        raise InvalidInput(msg)
    if ids.size and int(ids.max()) >= test.shape[1]:
        msg = f"ids must be below {test.shape[1]}, the test matrix's columns, got {ids.max()}"
        raise InvalidInput(msg)
    indptr, indices = as_excluded(test, "test", *test.shape)
    n_columns = test.shape[1] + 1
    owners = np.repeat(np.arange(test.shape[0], dtype=np.int64), np.diff(indptr))
    wanted = owners * n_columns + indices
    # Column m is for unused places; no test item has it.
    columns = np.where(ids < 0, test.shape[1], ids).astype(np.int64)
    return np.isin(columns + np.arange(len(ids), dtype=np.int64)[:, None] * n_columns, wanted)


def _as_rankings(ids: Any) -> NDArray[Any]:
    """Return checked rankings, (b, n) int."""
    array = np.asarray(ids)
    if array.ndim != 2 or array.dtype.kind not in "iu":
        raise InvalidInput(f"ids must be rows of items, got {array.dtype} of shape {array.shape}")
    return array


def recall_at(found: NDArray[np.bool_], n_test: NDArray[np.integer], k: int) -> Float64s:
    """Return hits in the first k places over the number of test items, for each user.

    >>> recall_at(np.array([[True, False, True]]), np.array([4]), 3)
    array([0.5])
    """
    return np.asarray(found[:, :k].sum(axis=1) / np.maximum(n_test, 1), np.float64)


def ndcg_at(found: NDArray[np.bool_], n_test: NDArray[np.integer], k: int) -> Float64s:
    """Return the discounted gain over that of an ideal list of min(k, n_test) hits.

    A hit at place p (from 1) gains ``1 / log2(p + 1)``.

    >>> ndcg_at(np.array([[False, True]]), np.array([1]), 2).round(4)
    array([0.6309])
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    gain = found[:, :k] @ discount[: found.shape[1]]
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(n_test, k)]
    return np.asarray(gain / np.where(ideal > 0.0, ideal, 1.0), np.float64)


def mrr(found: NDArray[np.bool_]) -> Float64s:
    """Return one over the place of the first hit, 0 where there is none, for each user.

    >>> mrr(np.array([[False, True, True], [False, False, False]]))
    array([0.5, 0. ])
    """
    if not found.shape[1]:
        return np.zeros(len(found))
    first = found.argmax(axis=1)
    return np.asarray(np.where(found.any(axis=1), 1.0 / (first + 1), 0.0), np.float64)


def hit_at(found: NDArray[np.bool_], k: int) -> Float64s:
    """Return 1 where any of the first k places is a hit, for each user."""
    return np.asarray(found[:, :k].any(axis=1), np.float64)


def coverage(ids: Int32s, n_items: int) -> float:
    """Return the share of all items that appear in any list.

    >>> coverage(np.array([[0, 1], [1, -1]], np.int32), 4)
    0.5
    """
    return len(np.unique(ids[ids >= 0])) / n_items if n_items else 0.0


def gini(ids: Int32s, n_items: int) -> float:
    """Return the Gini coefficient of list places over items: 0 if equal, 1 - 1/m if all are one's.

    >>> gini(np.array([[0], [0]], np.int32), 4)
    0.75
    """
    counts = np.sort(np.bincount(ids[ids >= 0], minlength=n_items)).astype(np.float64)
    total = counts.sum()
    if not total:
        return 0.0
    order = np.arange(1, n_items + 1)
    return float(((2 * order - n_items - 1) * counts).sum() / (n_items * total))


def quality(
    ids: Int32s, test: sparse.csr_array | sparse.csr_matrix, k: int | None = None
) -> RankingQuality:
    """Return every metric at k (by default the lists' length) over users that have test items."""
    ids = _as_rankings(ids)
    length = ids.shape[1] if k is None else as_whole(k, "k", 1)
    n_test = np.diff(as_excluded(test, "test", *test.shape)[0])
    has_test = n_test > 0
    found, wanted = hits(ids, test)[has_test][:, :length], n_test[has_test]
    lists = ids[has_test][:, :length]

    def mean(values: Float64s) -> float:
        return float(values.mean()) if len(values) else math.nan

    return RankingQuality(
        recall=mean(recall_at(found, wanted, length)),
        ndcg=mean(ndcg_at(found, wanted, length)),
        mrr=mean(mrr(found)),
        hit=mean(hit_at(found, length)),
        coverage=coverage(lists, test.shape[1]),
        gini=gini(lists, test.shape[1]),
        n_users=int(has_test.sum()),
    )
