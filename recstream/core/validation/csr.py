"""Validate sparse matrices and return them as CSR arrays that kernels read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s, csr_of
from recstream.core.numeric.jit import compiled, interpretable_below
from recstream.core.validation.dense import kernel_array
from recstream.errors import InvalidInput

_CANONICAL, _UNSORTED, _BAD_INDPTR, _BAD_INDEX, _BAD_WEIGHT = range(5)
_NO_WEIGHTS = np.empty(0, np.float32)
_MAX_SHAPE = 2**31 - 1
_TWO = 2


@dataclass(frozen=True)
class CSRRows:
    """Checked CSR matrix, as kernels read it.

    Attributes
    ----------
    indptr, indices, weights : (n + 1,) int64, (nnz,) int32, (nnz,) float32
        Indices ascending within a row and in range; weights finite and at least 0.
    """

    indptr: Int64s
    indices: Int32s
    weights: Float32s
    n_columns: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def counts(self) -> Int64s:
        """Return the number of entries above zero of each row."""
        return self.counts_by_side()[0]

    def counts_by_side(self) -> tuple[Int64s, Int64s]:
        """Return the number of entries above zero of each row and of each column."""
        by_row, by_column = np.zeros(len(self), np.int64), np.zeros(self.n_columns, np.int64)
        _count_entries(self.indptr, self.indices, self.weights, by_row, by_column)
        return by_row, by_column

    def matrix(self) -> sp.csr_matrix:
        """Return the rows as a scipy matrix that shares the arrays."""
        return csr_of(self.indptr, self.indices, self.weights, self.n_columns)

    def transposed(self) -> CSRRows:
        """Return the transposed matrix."""
        matrix = self.matrix().T.tocsr()
        return CSRRows(
            matrix.indptr.astype(np.int64, copy=False),
            matrix.indices.astype(np.int32, copy=False),
            matrix.data,
            len(self),
        )


def as_csr_rows(
    matrix: Any, name: str, *, n_columns: int | None = None, n_rows: int | None = None
) -> CSRRows:
    """Check a scipy sparse matrix of weights and return it as `CSRRows`; it is not changed.

    Parameters
    ----------
    matrix : scipy sparse matrix or array, (n, m)
        Any format and real dtype. Repeated entries are summed.
    n_columns, n_rows : int, optional
        Required shape.

    Raises
    ------
    InvalidInput
        Not sparse, not two-dimensional, of another shape, an index outside the matrix, or a weight
        that is negative, infinite or not a number.
    """
    _check_sparse(matrix, name)
    if matrix.dtype.kind not in "fiub":
        raise InvalidInput(f"{name} must hold real numbers, got dtype {matrix.dtype}")
    if n_columns is not None and matrix.shape[1] != n_columns:
        raise InvalidInput(f"{name} must have {n_columns} columns, got shape {matrix.shape}")
    if n_rows is not None and matrix.shape[0] != n_rows:
        raise InvalidInput(f"{name} must have {n_rows} rows, got shape {matrix.shape}")
    return CSRRows(*_as_csr(matrix, name, with_weights=True), matrix.shape[1])


def as_excluded(matrix: Any, name: str, n_users: int, n_items: int) -> tuple[Int64s, Int32s]:
    """Return row pointers and ascending item rows of the stored entries of a sparse matrix.

    Parameters
    ----------
    matrix : scipy sparse matrix or array, (n_users, at most n_items)
        Any format; values do not matter.
    """
    _check_sparse(matrix, name)
    if matrix.shape[0] != n_users or matrix.shape[1] > n_items:
        raise InvalidInput(f"{name} must have shape ({n_users}, {n_items}), got {matrix.shape}")
    indptr, indices, _ = _as_csr(matrix, name, with_weights=False)
    return indptr, indices


def _check_sparse(matrix: Any, name: str) -> None:
    """Raise unless this is a two-dimensional scipy sparse matrix."""
    if not sp.issparse(matrix):
        kind = type(matrix).__name__
        if hasattr(matrix, "columns"):
            names = list(getattr(matrix, "column_names", matrix.columns))
            raise InvalidInput(
                f"{name} must be a scipy sparse matrix of one row a user and one column an item, "
                f"got a {kind} with the columns {names[:10]}; number users and items from 0 "
                "and build scipy.sparse.coo_matrix((weights, (user_rows, item_rows)))"
            )
        raise InvalidInput(
            f"{name} must be a scipy sparse matrix, got {kind}; wrap it in scipy.sparse.csr_matrix"
        )
    if matrix.ndim != _TWO:
        raise InvalidInput(f"{name} must have two dimensions, got shape {matrix.shape}")
    if max(matrix.shape) > _MAX_SHAPE:
        raise InvalidInput(f"{name} must have less than 2**31 rows and columns, got {matrix.shape}")


def _as_csr(matrix: Any, name: str, *, with_weights: bool) -> tuple[Int64s, Int32s, Float32s]:
    """Return checked CSR arrays with ascending indices, repeated entries summed."""
    csr = matrix
    if matrix.format != "csr":
        if matrix.format in ("csc", "bsr", "coo"):
            # scipy trusts their indices when it converts them.
            _check_before_conversion(matrix, name)
        if matrix.format == "coo":  # repeated entries are summed
            matrix = sp.coo_matrix((_summable(matrix.data), matrix.coords), matrix.shape)
        csr = matrix.tocsr()
    arrays = _kernel_arrays(csr, name, with_weights=with_weights)
    fault, where = _find_fault(*arrays, csr.shape[1])
    if fault == _UNSORTED:
        csr = sp.csr_matrix((_summable(csr.data), csr.indices, csr.indptr), csr.shape, copy=True)
        csr.sum_duplicates()
        arrays = _kernel_arrays(csr, name, with_weights=with_weights)
        fault, where = _find_fault(*arrays, csr.shape[1])
    if fault != _CANONICAL:
        _refuse(csr, name, fault, where)
    indptr, indices, weights = arrays
    n = indptr[-1]
    return arrays if n == len(indices) else (indptr, indices[:n], weights[:n])


def _summable(weights: NDArray[Any]) -> NDArray[Any]:
    """Return weights in a type whose sums do not overflow: integers become float64."""
    is_wide = weights.dtype.kind == "b" or weights.dtype in (np.float32, np.float64)
    return weights if is_wide else weights.astype(np.float64)


def _refuse(csr: Any, name: str, fault: int, where: int) -> NoReturn:
    """Raise for a fault of a CSR matrix."""
    if fault == _BAD_INDPTR:
        raise InvalidInput(
            f"{name} must have row pointers that start at 0, never fall and end at no more than "
            f"its {len(csr.data)} entries, got {int(csr.indptr[where])} for row {where}"
        )
    row = int(np.searchsorted(csr.indptr, where, side="right")) - 1
    if fault == _BAD_INDEX:
        raise InvalidInput(
            f"{name} must have columns from 0 to {csr.shape[1] - 1}, got column "
            f"{int(csr.indices[where])} in row {row}; number columns from 0, or give a larger shape"
        )
    raise InvalidInput(
        f"{name} must hold finite weights of at least 0 and at most "
        f"{np.finfo(np.float32).max:.2g}, got {csr.data[where]} "
        f"at row {row}, column {csr.indices[where]}"
    )


def _check_before_conversion(matrix: Any, name: str) -> None:
    """Raise unless the indices of a CSC, BSR or COO matrix lie inside it."""
    if matrix.format == "coo":
        axes = [(matrix.row, matrix.shape[0], "row"), (matrix.col, matrix.shape[1], "column")]
        ends = matrix.data.size
    else:
        block = matrix.blocksize if matrix.format == "bsr" else (1, 1)
        major = 1 if matrix.format == "csc" else 0
        minor = 1 - major
        indptr, ends = np.asarray(matrix.indptr), len(matrix.indices)
        is_valid = (
            indptr.shape == (matrix.shape[major] // block[major] + 1,)
            and indptr.dtype.kind in "iu"
            and indptr[0] == 0
            and (np.diff(indptr.astype(np.int64)) >= 0).all()
            and indptr[-1] <= min(ends, len(matrix.data))
        )
        if not is_valid:
            raise InvalidInput(
                f"{name} must have pointers that start at 0, never fall and end at no more than "
                f"its {ends} entries, got {indptr.tolist()[:10]}"
            )
        side = ("row", "column")[minor]
        axes = [(matrix.indices, matrix.shape[minor] // block[minor], side)]
        ends = int(indptr[-1])
    for indices, size, side in axes:
        found = np.asarray(indices)[:ends]
        if found.dtype.kind not in "iu" or len(found) != ends:
            raise InvalidInput(
                f"{name} must have {ends} whole numbers as {side}s, got {found.dtype} {found.shape}"
            )
        if ends and not (found.min() >= 0 and found.max() < size):
            bad = found[(found < 0) | (found >= size)][0]
            raise InvalidInput(
                f"{name} must have {side}s from 0 to {size - 1}, got {side} {int(bad)}; "
                f"number {side}s from 0, or give a larger shape"
            )


def _kernel_arrays(csr: Any, name: str, *, with_weights: bool) -> tuple[Int64s, Int32s, Float32s]:
    """Return the arrays of a CSR matrix in kernels' types; indices that overflow become -1."""
    indptr, indices, data = np.asarray(csr.indptr), np.asarray(csr.indices), csr.data
    if indptr.shape != (csr.shape[0] + 1,) or indices.ndim != 1 or data.shape != indices.shape:
        raise InvalidInput(
            f"{name} must have {csr.shape[0] + 1} row pointers and as many columns as entries, "
            f"got {indptr.shape}, {indices.shape} and {data.shape}"
        )
    if indptr.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        raise InvalidInput(
            f"{name} must have whole numbers as indices, got {indptr.dtype} and {indices.dtype}"
        )
    if indices.dtype != np.int32:
        indices = np.where((indices >= 0) & (indices <= _MAX_SHAPE), indices, -1)
    weights = _NO_WEIGHTS
    if with_weights and data.dtype == np.float32:
        weights = kernel_array(data, np.float32)
    elif with_weights:
        with np.errstate(over="ignore"):
            weights = kernel_array(data, np.float32)
    return kernel_array(indptr, np.int64), kernel_array(indices, np.int32), weights


@interpretable_below(lambda indptr, indices, *_: 2 * len(indptr) + len(indices))
@compiled
def _find_fault(
    indptr: Int64s, indices: Int32s, weights: Float32s, n_columns: int
) -> tuple[int, int]:
    """Return the first fault of CSR arrays and its row or entry; `weights` may be empty."""
    n_rows, n_entries = len(indptr) - 1, len(indices)
    if indptr[0] != 0:
        return _BAD_INDPTR, 0
    for row in range(n_rows):
        if indptr[row + 1] < indptr[row] or indptr[row + 1] > n_entries:
            return _BAD_INDPTR, row + 1
    is_sorted, bad_weight = True, -1
    for row in range(n_rows):
        before = -1
        for a in range(indptr[row], indptr[row + 1]):
            column = indices[a]
            if column < 0 or column >= n_columns:
                return _BAD_INDEX, a
            if column <= before:
                is_sorted = False
            before = column
            if len(weights) > 0 and not 0.0 <= weights[a] < np.inf and bad_weight < 0:
                bad_weight = a
    if not is_sorted:
        return _UNSORTED, 0
    return (_CANONICAL, 0) if bad_weight < 0 else (_BAD_WEIGHT, bad_weight)


@compiled
def _count_entries(
    indptr: Int64s, indices: Int32s, weights: Float32s, by_row: Int64s, by_column: Int64s
) -> None:
    """Add the entries above zero to the counts of their row and their column."""
    for row in range(len(indptr) - 1):
        for a in range(indptr[row], indptr[row + 1]):
            if weights[a] > 0.0:
                by_row[row] += 1
                by_column[indices[a]] += 1
