"""Step 5 of the flow: which items are alike by their features, exactly, in an index that grows.

Postings by feature hold what the index was last packed with; rows that came or changed since lie
beside them and are looked through one by one. A cosine is summed in float64 in the order of the
features either way, so an answer does not depend on how the index came to hold its rows.
"""

# ruff: noqa: C901, PLR0912  (an inner loop is one function)

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.kernels.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.kernels.jit import compiled
from recstream.errors import InvalidInput

__all__ = ["FeatureIndex"]

LOOSE = 1_024
"""Rows beside the postings before they are packed again; beyond it, a part of all rows."""
LOOSE_PART = 32
"""One row in so many may lie beside the postings: packing 100,000 rows takes a quarter of a second."""
EQUAL = np.float32(1e-3)
"""Cosines within this part of each other are equally near."""
ROUNDING = 1.003
"""Bounds are widened by this, for `EQUAL` and for float32."""
LONG = 512
"""Shorter postings are added up without asking whether that can still matter."""
LOOK = 128
"""A row's exact score takes as long as adding up so many postings: rows lie apart in memory."""


class FeatureIndex:
    """Features of a generation's items, by row; grows, and rows can be replaced.

    Parameters
    ----------
    n_features : int
        Columns of the features.
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self._rows: list[tuple[Int32s, Float32s]] = []
        self._loose: dict[int, None] = {}
        self._packed = 0
        self._stale = np.zeros(0, np.bool_)
        self._indptr = np.zeros(n_features + 1, np.int64)
        self._indices = np.zeros(0, np.int32)
        self._values = np.zeros(0, np.float32)
        self._largest = np.zeros(n_features, np.float32)
        self._by_row = _stacked([], n_features)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Int32s | Int64s, features: sparse.csr_matrix) -> None:
        """Set the features of some rows; rows past the end make the index grow.

        Parameters
        ----------
        rows : (n,) int
            Distinct, at least 0; rows left out between are without features.
        features : (n, n_features) csr, float32
            From `ContentModel.features`.
        """
        at = np.asarray(rows, np.int64)
        if features.shape != (len(at), self.n_features):
            raise InvalidInput(
                f"features must be {len(at)} rows of {self.n_features}, got {features.shape}"
            )
        if len(at) and (at.min() < 0 or len(np.unique(at)) != len(at)):
            raise InvalidInput("rows must be distinct and at least 0")
        nothing = (np.zeros(0, np.int32), np.zeros(0, np.float32))
        for _ in range(len(self._rows), int(at.max(initial=-1)) + 1):
            self._rows.append(nothing)
        indptr = features.indptr
        for place, row in enumerate(at.tolist()):
            part = slice(indptr[place], indptr[place + 1])
            self._rows[row] = (
                features.indices[part].astype(np.int32),
                features.data[part].astype(np.float32),
            )
            self._loose[row] = None
            if row < self._packed:
                self._stale[row] = True
        if len(self._loose) > max(LOOSE, len(self._rows) // LOOSE_PART):
            self._pack()

    def features(self, rows: Int32s | Int64s) -> sparse.csr_matrix:
        """Return the features of some rows."""
        chosen = [self._rows[row] for row in np.asarray(rows).tolist()]
        return _stacked(chosen, self.n_features)

    def _pack(self) -> None:
        """Make postings of all rows."""
        matrix = _stacked(self._rows, self.n_features)
        columns = matrix.tocsc()
        self._indptr = columns.indptr.astype(np.int64)
        self._indices = columns.indices.astype(np.int32)
        self._values = columns.data
        self._largest = columns.max(axis=0).toarray().ravel() if self._rows else self._largest
        self._by_row = matrix
        self._packed = len(self._rows)
        self._stale = np.zeros(self._packed, np.bool_)
        self._loose = {}

    def nearest(
        self, queries: sparse.csr_matrix, n: int, exclude: Int32s | Int64s | None = None
    ) -> tuple[Int32s, Float32s]:
        """Return the n rows of largest cosine to each query, best first, and how much they tell.

        Where more rows are as near as the last one than the list has places for, which of them are
        listed is an accident: their weights are the cosine times the part of them that is listed.
        So attributes that hundreds of items share add next to nothing to a score.

        Parameters
        ----------
        queries : (q, n_features) csr
        n : int
        exclude : (q,) int, optional
            A row to leave out of each query's answer, its own for instance; -1 for none.

        Returns
        -------
        rows : (q, n) int32
            -1 where no more rows share a feature with the query.
        weights : (q, n) float32
            Above 0 and at most 1, descending; equal cosines are in the order of the rows.
        """
        if queries.shape[1] != self.n_features:
            raise InvalidInput(
                f"queries must have {self.n_features} features, got {queries.shape[1]}"
            )
        count = queries.shape[0]
        without = np.full(count, -1, np.int64) if exclude is None else np.asarray(exclude, np.int64)
        found = np.full((count, n), -1, np.int32)
        cosines = np.zeros((count, n), np.float32)
        loose = np.fromiter(self._loose, np.int64, len(self._loose))
        beside = _stacked([self._rows[row] for row in loose.tolist()], self.n_features)
        _nearest(
            queries.indptr.astype(np.int64),
            queries.indices.astype(np.int32),
            queries.data.astype(np.float32),
            self._indptr,
            self._indices,
            self._values,
            self._largest,
            self._by_row.indptr.astype(np.int64),
            self._by_row.indices,
            self._by_row.data,
            self._stale,
            loose,
            beside.indptr.astype(np.int64),
            beside.indices.astype(np.int32),
            beside.data,
            without,
            found,
            cosines,
        )
        return found, cosines


def _stacked(rows: list[tuple[Int32s, Float32s]], n_features: int) -> sparse.csr_matrix:
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(columns) for columns, _ in rows], out=indptr[1:])
    indices = np.concatenate([c for c, _ in rows]) if rows else np.zeros(0, np.int32)
    values = np.concatenate([v for _, v in rows]) if rows else np.zeros(0, np.float32)
    return sparse.csr_matrix((values, indices, indptr), shape=(len(rows), n_features))


@compiled
def _nearest(
    query_indptr: Int64s,
    query_indices: Int32s,
    query_values: Float32s,
    indptr: Int64s,
    indices: Int32s,
    values: Float32s,
    largest: Float32s,
    row_indptr: Int64s,
    row_indices: Int32s,
    row_values: Float32s,
    stale: NDArray[np.bool_],
    loose: Int64s,
    loose_indptr: Int64s,
    loose_indices: Int32s,
    loose_values: Float32s,
    without: Int64s,
    found: Int32s,
    cosines: Float32s,
) -> None:
    """Fill the nearest rows of each query.

    Postings are added up from the shortest list on. Once what the rest could add does not bring a
    row that none has named into the answer, they are added to the rows that may still enter it, as
    long as that is cheaper than scoring these rows exactly.
    """
    n = found.shape[1]
    # Short numbers, so that what is looked up by chance stays near: sums are bounds alone, and
    # features are short in the first place.
    sums = np.zeros(len(stale), np.float32)
    dense = np.zeros(len(indptr) - 1, np.float32)
    touched = np.empty(len(stale), np.int32)
    rows = np.empty(len(stale) + len(loose), np.int64)
    exact = np.empty(len(rows), np.float32)
    best = np.empty(n)
    for q in range(len(query_indptr) - 1):
        features = query_indices[query_indptr[q] : query_indptr[q + 1]]
        weights = query_values[query_indptr[q] : query_indptr[q + 1]]
        rest = 0.0
        for a in range(len(features)):
            dense[features[a]] = weights[a]
            rest += np.float64(weights[a]) * np.float64(largest[features[a]])
        n_touched = 0
        is_closed = False
        for a in np.argsort(indptr[features + 1] - indptr[features]):
            feature, value = features[a], np.float64(weights[a])
            length = indptr[feature + 1] - indptr[feature]
            if length > LONG and (is_closed or 4 * length > n_touched > n):
                least = _least(sums, touched, n_touched, best, without[q])
                is_closed = is_closed or rest * ROUNDING < least
                if is_closed:
                    n_touched = _keep(sums, touched, n_touched, rest, least)
                    if length > LOOK * n_touched:
                        break
            rest -= value * np.float64(largest[feature])
            for p in range(indptr[feature], indptr[feature + 1]):
                row = indices[p]
                if stale[row]:
                    continue
                if sums[row] == 0.0:
                    if is_closed:
                        continue
                    touched[n_touched] = row
                    n_touched += 1
                sums[row] += np.float32(value) * values[p]
        else:
            rest = 0.0
        least = _least(sums, touched, n_touched, best, without[q])
        n_touched = _keep(sums, touched, n_touched, rest, least)
        n_rows = 0
        for at in range(n_touched):
            row = touched[at]
            if row != without[q]:
                rows[n_rows] = row
                exact[n_rows] = _cosine(dense, row_indptr, row_indices, row_values, row)
                n_rows += 1
            sums[row] = 0.0
        for at in range(len(loose)):
            if loose[at] != without[q]:
                rows[n_rows] = loose[at]
                exact[n_rows] = _cosine(dense, loose_indptr, loose_indices, loose_values, at)
                n_rows += 1
        _list(rows[:n_rows], exact[:n_rows], found[q], cosines[q])
        for feature in features:
            dense[feature] = 0.0


@compiled
def _keep(sums: Float32s, touched: Int32s, n_touched: int, rest: float, least: float) -> int:
    """Keep the rows that may still be among the best, forget the sums of others; return how many."""
    kept = 0
    for at in range(n_touched):
        row = touched[at]
        touched[kept] = row
        if (sums[row] + rest) * ROUNDING >= least:
            kept += 1
        else:
            sums[row] = 0.0
    return kept


@compiled
def _cosine(
    dense: Float32s, indptr: Int64s, indices: Int32s, values: Float32s, row: int | np.int64
) -> np.float32:
    """Return the product of a row with the query, summed in the order of the features."""
    total = 0.0
    for p in range(indptr[row], indptr[row + 1]):
        total += np.float64(dense[indices[p]]) * np.float64(values[p])
    return np.float32(min(total, 1.0))


@compiled
def _least(
    sums: Float32s, touched: Int32s, n_touched: int, best: Float64s, without: np.int64
) -> float:
    """Return the n-th largest sum so far, less what counts as equal; 0 if there are fewer."""
    size = 0
    for at in range(n_touched):
        value = sums[touched[at]]
        if touched[at] == without or (size == len(best) and value <= best[size - 1]):
            continue
        size = min(size + 1, len(best))
        place = size - 1
        while place > 0 and best[place - 1] < value:
            best[place] = best[place - 1]
            place -= 1
        best[place] = value
    return min(best[size - 1], 1.0) if 0 < size == len(best) else 0.0


@compiled
def _list(rows: Int64s, exact: Float32s, found: Int32s, cosines: Float32s) -> None:
    """List the best rows; where the last place is an accident, lessen the weights that are."""
    n = len(found)
    size = 0
    for at in range(len(rows)):
        if exact[at] > 0.0:
            size = _insert(found, cosines, size, n, rows[at], exact[at])
    if size < n or n == 0:
        return
    last = cosines[n - 1]
    alike = listed = 0
    for at in range(len(rows)):
        alike += abs(exact[at] - last) <= EQUAL * last
    for place in range(n):
        listed += cosines[place] - last <= EQUAL * last
    if listed < alike:
        for place in range(n - listed, n):
            cosines[place] *= np.float32(listed / alike)


@compiled
def _insert(
    rows: Int32s, cosines: Float32s, size: int, n: int, row: np.int64, cosine: np.float32
) -> int:
    """Keep a list of the n best, best first, equal ones by row; return its new size."""
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
