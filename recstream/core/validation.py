"""Step 5–7 of the flow, at the door: what comes from outside, checked and made plain.

Every error names the argument, what was expected and what came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.errors import InvalidInput

__all__ = [
    "Rows",
    "as_counts",
    "as_factors",
    "as_item_rows",
    "as_positive",
    "as_rows",
    "plain_array",
]

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Rows:
    """A checked CSR matrix: what the kernels read.

    Attributes
    ----------
    indptr, indices, weights : (n + 1,) int64, (nnz,) int32, (nnz,) float32
        Indices distinct within a row and in range; weights finite and at least 0.
    n_columns : int
        Rows of the side it refers to.
    """

    indptr: Int64s
    indices: Int32s
    weights: Float32s
    n_columns: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def counts(self) -> Int64s:
        """Return how many entries with weight above zero each row has."""
        return self.counts_by_side()[0]

    def counts_by_side(self) -> tuple[Int64s, Int64s]:
        """Return how many entries with weight above zero each row and each column has."""
        by_row, by_column = np.zeros(len(self), np.int64), np.zeros(self.n_columns, np.int64)
        count_entries(self.indptr, self.indices, self.weights, by_row, by_column)
        return by_row, by_column

    def transposed(self) -> Rows:
        """Return the same entries by column."""
        matrix = sp.csr_matrix(
            (self.weights, self.indices, self.indptr), shape=(len(self), self.n_columns)
        ).T.tocsr()
        return Rows(
            matrix.indptr.astype(np.int64, copy=False),
            matrix.indices.astype(np.int32, copy=False),
            matrix.data,
            len(self),
        )


def as_rows(matrix: Any, name: str, *, n_columns: int | None = None) -> Rows:
    """Check a scipy sparse matrix and return it as `Rows`; the caller's object stays untouched.

    Parameters
    ----------
    matrix : scipy sparse matrix or array, (n, m)
        Any format and number type; repeated entries are added up.
    name : str
        The argument's name, for the error.
    n_columns : int, optional
        The width it must have.

    Raises
    ------
    InvalidInput
        Not sparse, not two-dimensional, of another width, or with a weight that is negative,
        infinite or not a number.
    """
    if not sp.issparse(matrix):
        raise InvalidInput(
            f"{name} must be a scipy sparse matrix, got {type(matrix).__name__}; "
            "wrap it in scipy.sparse.csr_matrix"
        )
    if matrix.ndim != 2:  # noqa: PLR2004
        raise InvalidInput(f"{name} must have two dimensions, got shape {matrix.shape}")
    if matrix.dtype.kind not in "fiub":
        raise InvalidInput(f"{name} must hold real numbers, got dtype {matrix.dtype}")
    if n_columns is not None and matrix.shape[1] != n_columns:
        raise InvalidInput(f"{name} must have {n_columns} columns, got shape {matrix.shape}")
    csr = matrix.tocsr()
    if not csr.has_canonical_format:
        csr = csr.copy() if csr is matrix else csr
        csr.sum_duplicates()
    weights = csr.data.astype(np.float32, copy=False)
    if len(weights):
        low, high = float(weights.min()), float(weights.max())
        if not (low >= 0.0 and high < np.inf):
            where = int(np.flatnonzero(~((weights >= 0.0) & (weights < np.inf)))[0])
            row = int(np.searchsorted(csr.indptr, where, side="right")) - 1
            raise InvalidInput(
                f"{name} must hold finite weights of at least 0, got {csr.data[where]} "
                f"at row {row}, column {csr.indices[where]}"
            )
    return Rows(
        plain_array(csr.indptr, np.int64),
        plain_array(csr.indices, np.int32),
        plain_array(weights, np.float32),
        csr.shape[1],
    )


def plain_array(array: Any, dtype: type[Number]) -> NDArray[Number]:
    """Return the array as kernels are compiled for: contiguous, aligned and writable.

    Anything else, a view of received bytes for instance, is copied: it would be another type to
    the compiler, and cost another compilation.
    """
    return np.require(array, dtype, ["C", "A", "W"])


def as_factors(
    values: Any, name: str, *, n_factors: int | None = None, n_rows: int | None = None
) -> Float32s:
    """Return a checked contiguous float32 matrix."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind != "f":  # noqa: PLR2004
        raise InvalidInput(f"{name} must be a float matrix, got {array.dtype} {array.shape}")
    if array.shape[1] != n_factors if n_factors is not None else array.shape[1] < 1:
        raise InvalidInput(f"{name} must have {n_factors or 'some'} columns, got {array.shape}")
    if n_rows is not None and len(array) != n_rows:
        raise InvalidInput(f"{name} must have {n_rows} rows, got {array.shape}")
    array = plain_array(array, np.float32)
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise InvalidInput(f"{name} must be finite, got {array[bad].min()} in row {bad}")
    return array


def as_counts(values: Any, name: str, n: int) -> Int64s:
    """Return checked counts."""
    array = np.asarray(values)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise InvalidInput(f"{name} must be {n} whole numbers, got {array.dtype} {array.shape}")
    if n and array.min() < 0:
        raise InvalidInput(f"{name} must be at least 0, got {array.min()}")
    return plain_array(array, np.int64)


def as_item_rows(values: Any, name: str, n_items: int) -> Int32s:
    """Return checked rows of items as a vector; a single row is a vector of one."""
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidInput(f"{name} must be item rows, got {array.dtype} {array.shape}")
    if array.size and not (array.min() >= 0 and array.max() < n_items):
        raise InvalidInput(
            f"{name} must be rows from 0 to {n_items - 1}, "
            f"got {int(array.min())} to {int(array.max())}"
        )
    return plain_array(array, np.int32)


def as_positive(value: float, name: str) -> float:
    """Return a checked positive number."""
    if not (np.isfinite(value) and value > 0):
        raise InvalidInput(f"{name} must be a finite number above 0, got {value!r}")
    return float(value)


@compiled
def count_entries(
    indptr: Int64s, indices: Int32s, weights: Float32s, by_row: Int64s, by_column: Int64s
) -> None:
    """Add the entries with weight above zero to their row and their column."""
    for row in range(len(indptr) - 1):
        for a in range(indptr[row], indptr[row + 1]):
            if weights[a] > 0.0:
                by_row[row] += 1
                by_column[indices[a]] += 1
