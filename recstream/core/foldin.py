"""Step 7 of the flow, and each half of step 5: solve rows against a fixed side.

There is one solver. A half-step of training solves all users against the items (or the reverse)
and keeps going from there; fold-in solves some users, with the same equations and the same
meaning of the regularization.

The fixed side is brought into its *principal axes* first: with ``α₀ Σ m_i y_i y_iᵀ = QΛQᵀ`` and
``Z = YQ`` the part of a row's system that all rows share is the diagonal Λ, so a per-row
regularization and separable weights cost nothing. Products ``x·y`` don't change, so factors stay
in these axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp

from recstream.core.kernels.arrays import Float32s, Int32s, Int64s
from recstream.core.kernels.plain import solve_plain
from recstream.core.kernels.pool import SERIAL, Pool
from recstream.core.objective import Objective, row_terms
from recstream.errors import InvalidInput, ModelError

Solver = Literal["mixed", "exact"]
Side = Literal["users", "items"]

__all__ = ["FixedSide", "Rows", "Solved", "Solver", "as_rows", "principal_axes", "solve"]


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
        """Return the number of entries with weight above zero per row."""
        return np.diff(np.concatenate(([0], np.cumsum(self.weights > 0.0)))[self.indptr])

    def column_counts(self) -> Int64s:
        """Return the number of entries with weight above zero per column."""
        return np.bincount(self.indices[self.weights > 0.0], minlength=self.n_columns)

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


def as_rows(matrix: object, name: str, *, n_columns: int | None = None) -> Rows:
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
        csr.indptr.astype(np.int64, copy=False),
        csr.indices.astype(np.int32, copy=False),
        weights,
        csr.shape[1],
    )


@dataclass(frozen=True)
class FixedSide:
    """One side's factors in their principal axes, and its weights: what rows are solved against.

    Attributes
    ----------
    factors : (m, d) float32
    spectrum : (d,) float32
        ``α₀ Λ``, ascending.
    weight : (m,) float32
        The positives' separable weight, p_i.
    missing_total : float
        ``α₀ Σ m_i``.
    """

    factors: Float32s
    spectrum: Float32s
    weight: Float32s
    missing_total: float


@dataclass(frozen=True, slots=True)
class Solved:
    """What the rows of a half-step add to the objective.

    Attributes
    ----------
    loss : float
        All terms they take part in, their regularization among them.
    penalty : float
        Their regularization alone.
    """

    loss: float
    penalty: float


def principal_axes(
    factors: Float32s, missing: Float32s, unobserved_weight: float
) -> tuple[Float32s, Float32s]:
    """Return the rotation Q (d, d) and the spectrum (d,) of ``α₀ Σ m_i y_i y_iᵀ``."""
    gramian = unobserved_weight * ((factors * missing[:, None]).T @ factors).astype(np.float64)
    values, vectors = np.linalg.eigh((gramian + gramian.T) / 2)
    return vectors.astype(np.float32), np.maximum(values, 0.0).astype(np.float32)


def solve(
    rows: Rows,
    fixed: FixedSide,
    objective: Objective,
    side: Side,
    mean: float,
    *,
    out: Float32s,
    solver: Solver = "exact",
    pool: Pool = SERIAL,
) -> Solved:
    """Solve every row against the fixed side, in place.

    Parameters
    ----------
    rows : Rows
        Their entries; columns are rows of `fixed`.
    side : {"users", "items"}
        Which side the rows are; it chooses the exponents.
    mean : float
        Mean count of that side in the training matrix.
    out : (n, d) float32
        Overwritten. With ``solver="mixed"`` the values in it are where long rows start from.
    pool : Pool
        Where the work runs; the result has the same bits for any number of threads.

    Raises
    ------
    ModelError
        A factor would not be finite: the numbers overflow float32.
    """
    n = len(rows)
    scale, ridge, missing = (np.empty(n, np.float32) for _ in range(3))
    terms = objective.terms(side, fixed.missing_total)
    row_terms(
        rows.indptr, rows.indices, rows.weights, fixed.weight, mean, terms, scale, ridge, missing
    )
    loss = np.empty(n)
    order = np.argsort(np.diff(rows.indptr), kind="stable")

    def run(part: Int64s) -> None:
        solve_plain(
            fixed.factors,
            fixed.spectrum,
            part,
            rows.indptr,
            rows.indices,
            rows.weights,
            fixed.weight,
            scale,
            ridge,
            out,
            loss,
        )

    pool.run(run, np.array_split(order, max(1, min(64, n // 64))))
    total = float(loss @ missing)
    if not np.isfinite(total):
        bad = int(np.flatnonzero(~np.isfinite(loss))[0])
        raise ModelError(
            f"the factors of row {bad} of the {side} are not finite; "
            "scale the weights down or raise the regularization"
        )
    penalty = float(np.einsum("ij,ij->i", out, out) @ (ridge * missing))
    return Solved(total, penalty)
