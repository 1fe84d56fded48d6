"""Exact nearest neighbours by cosine over sparse features, in an index that grows.

A new or changed row gets a new slot at the end; its old slot stays, unowned, until there are too many
unowned slots. Slots are packed in blocks; only the last, partial block is packed again.
`recstream.core.numeric.sparse_topk` searches the blocks.
"""

import numpy as np
from scipy import sparse

from recstream.core.numeric.arrays import Float32s, GrowableArray, Int32s, Int64s
from recstream.core.numeric.inverted_index import (
    BLOCK,
    PLANE_LEAST,
    PLANE_PART,
    IndexBlocks,
    SparseRows,
    block_scale,
    fill_block,
)
from recstream.core.numeric.sparse_topk import top_k_cosines
from recstream.core.validation import as_csr_rows
from recstream.errors import InvalidInput

IDLE_PART = 4
"""Unowned slots are dropped when they outnumber one for so many rows, and a block."""
TOGETHER = 64
"""Queries that search a block one after the other, while it is in cache."""


class FeatureIndex:
    """Features of a generation's items, by row; grows, and rows can be replaced.

    Parameters
    ----------
    n_features : int
        Columns of the features.
    """

    def __init__(self, n_features: int) -> None:
        self.n_features = n_features
        self._places = GrowableArray(np.zeros(0, np.int32))
        self._clear()

    def _clear(self) -> None:
        """Drop all slots."""
        self._n_idle = 0
        self._owners = GrowableArray(np.zeros(0, np.int32))
        self._indptr = GrowableArray(np.zeros(1, np.int64))
        self._indices = GrowableArray(np.zeros(0, np.int32))
        self._values = GrowableArray(np.zeros(0, np.float32))
        self._n_full = 0
        self._sizes = GrowableArray(np.zeros(0, np.int64))
        self._scales = GrowableArray(np.zeros(0, np.float64))
        self._norms = GrowableArray(np.zeros(0, np.float64))
        self._first = GrowableArray(np.zeros(1, np.int64))
        self._starts = GrowableArray(np.zeros((0, self.n_features + 1), np.int32))
        self._postings = GrowableArray(np.zeros(0, np.uint32))
        self._first_plane = GrowableArray(np.zeros(1, np.int64))
        self._plane_features = GrowableArray(np.zeros(0, np.int32))
        self._plane_steps = GrowableArray(np.zeros(0, np.float64))
        self._planes = GrowableArray(np.zeros((0, BLOCK), np.uint8))

    def __len__(self) -> int:
        return len(self._places.rows)

    def add(self, rows: Int32s | Int64s, features: sparse.csr_matrix) -> None:
        """Set the features of some rows; rows past the end make the index grow.

        Parameters
        ----------
        rows : (n,) int
            Distinct, at least 0; skipped rows have no features.
        features : (n, n_features) csr, float32
            From `ContentModel.features`: no value is below 0.
        """
        at = np.asarray(rows, np.int64)
        checked = as_csr_rows(features, "features", n_columns=self.n_features, n_rows=len(at))
        features = checked.matrix()
        if len(at) and (at.min() < 0 or len(np.unique(at)) != len(at)):
            raise InvalidInput("rows must be distinct and at least 0")
        self._places.grow(int(at.max(initial=-1)) + 1, -1)
        places = self._places.rows
        left = places[at]
        left = left[left >= 0]
        self._owners.rows[left] = -1
        self._n_idle += len(left)
        places[at] = -1
        says = np.diff(features.indptr) > 0
        if not says.any():
            return
        self._append(at[says], features if says.all() else features[says])
        if self._n_idle > BLOCK + (len(self._owners.rows) - self._n_idle) // IDLE_PART:
            held = np.flatnonzero(places >= 0)
            kept = self.features(held)
            self._clear()
            self._append(held, kept)
        self._pack()

    def _append(self, rows: Int64s, features: sparse.csr_matrix) -> None:
        """Give rows new slots."""
        first, n_values = len(self._owners.rows), len(self._indices.rows)
        self._places.rows[rows] = np.arange(first, first + len(rows))
        self._owners.grow(first + len(rows))
        self._owners.rows[first:] = rows
        self._indptr.grow(first + len(rows) + 1)
        self._indptr.rows[first + 1 :] = features.indptr[1:]
        self._indptr.rows[first + 1 :] += n_values - features.indptr[0]
        used = slice(features.indptr[0], features.indptr[-1])
        for held, more in ((self._indices, features.indices), (self._values, features.data)):
            held.grow(n_values + used.stop - used.start)
            held.rows[n_values:] = more[used]

    def _pack(self) -> None:
        """Pack the slots behind the last full block."""
        rows = self._rows()
        n_places = len(rows.owners)
        for b in range(self._n_full, -(-n_places // BLOCK)):
            first, end = b * BLOCK, min((b + 1) * BLOCK, n_places)
            self._pack_block(rows, b, first, end)
        self._n_full = n_places // BLOCK

    def _pack_block(self, rows: SparseRows, b: int, first: int, end: int) -> None:
        scale, norm = block_scale(rows, first, end)
        used = rows.indices[rows.indptr[first] : rows.indptr[end]]
        counts = np.bincount(used, minlength=self.n_features)
        is_plane = counts > max(PLANE_LEAST, (end - first) // PLANE_PART)
        features = np.flatnonzero(is_plane).astype(np.int32)
        counts[is_plane] = 0
        for each in (self._sizes, self._scales, self._norms, self._starts):
            each.grow(b + 1)
        self._first.grow(b + 2)
        self._first_plane.grow(b + 2)
        self._sizes.rows[b], self._scales.rows[b], self._norms.rows[b] = end - first, scale, norm
        starts = self._starts.rows[b]
        np.cumsum(counts, out=starts[1:])
        n_before, planes_before = self._first.rows[b], self._first_plane.rows[b]
        n_after = self._first.rows[b + 1] = n_before + starts[-1]
        planes_after = self._first_plane.rows[b + 1] = planes_before + len(features)
        self._postings.grow(n_after)
        self._plane_features.grow(planes_after)
        self._plane_steps.grow(planes_after)
        self._planes.grow(planes_after)
        part = slice(planes_before, planes_after)
        self._plane_features.rows[part] = features
        fill_block(
            rows, first, end, scale, starts, features, self._plane_steps.rows[part],
            self._postings.rows[n_before:n_after], self._planes.rows[part],
        )  # fmt: skip

    def _rows(self) -> SparseRows:
        return SparseRows(
            self._owners.rows, self._indptr.rows, self._indices.rows, self._values.rows
        )

    def features(self, rows: Int32s | Int64s) -> sparse.csr_matrix:
        """Return the features of some rows."""
        places = self._places.rows[np.asarray(rows, np.int64)]
        held = self._rows()
        starts = held.indptr[places]
        lengths = np.where(places >= 0, held.indptr[places + 1] - starts, 0)
        indptr = np.zeros(len(places) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        at = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
        return sparse.csr_matrix(
            (held.values[at], held.indices[at], indptr), shape=(len(places), self.n_features)
        )

    def nearest(
        self, queries: sparse.csr_matrix, n: int, exclude: Int32s | Int64s | None = None
    ) -> tuple[Int32s, Float32s]:
        """Return the n rows of largest cosine to each query, best first, and their weights.

        A weight is the cosine. Where more rows tie with the last one than fit, the choice among them is
        arbitrary: their weights are the cosine times the part of them that fits. So attributes that
        hundreds of items share add next to nothing to a score.

        Parameters
        ----------
        queries : (q, n_features) csr
        exclude : (q,) int, optional
            A row to exclude from each query's answer, such as its own; -1 for none.

        Returns
        -------
        rows : (q, n) int32
            -1 where no more rows share a feature with the query.
        weights : (q, n) float32
            Above 0 and at most 1, descending; equal cosines are in the order of the rows.
        """
        rows = as_csr_rows(queries, "queries", n_columns=self.n_features)
        count = len(rows)
        without = np.full(count, -1, np.int64) if exclude is None else np.asarray(exclude, np.int64)
        found = np.full((count, n), -1, np.int32)
        cosines = np.zeros((count, n), np.float32)
        blocks = IndexBlocks(
            self._sizes.rows, self._scales.rows, self._norms.rows, self._first.rows,
            self._starts.rows, self._postings.rows, self._first_plane.rows,
            self._plane_features.rows, self._plane_steps.rows, self._planes.rows,
        )  # fmt: skip
        for start in range(0, count, TOGETHER):
            part = slice(start, start + TOGETHER)
            top_k_cosines(
                rows.indptr[start : start + TOGETHER + 1], rows.indices, rows.weights,
                self._rows(), blocks, without[part], found[part], cosines[part],
            )  # fmt: skip
        return found, cosines
