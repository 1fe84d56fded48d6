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
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recstream.core.kernels.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.kernels.dense import add_gramian, panels, rotate
from recstream.core.kernels.exact import solve_dual, solve_primal
from recstream.core.kernels.gradients import improve
from recstream.core.kernels.plain import solve_plain
from recstream.core.kernels.pool import SERIAL, Pool
from recstream.core.kernels.tiles import OUTER_COLUMNS
from recstream.core.kernels.vector import HAS_AVX2, LANES
from recstream.core.objective import Objective, count_entries, row_terms
from recstream.errors import InvalidInput, ModelError

Number = TypeVar("Number", bound=np.generic)
Solver = Literal["mixed", "exact"]
Side = Literal["users", "items"]

__all__ = [
    "Axes",
    "Plan",
    "Rows",
    "Side",
    "Solved",
    "Solver",
    "as_rows",
    "is_warm",
    "make_plan",
    "padded",
    "plain_array",
    "principal_axes",
    "solve",
    "turn",
    "warm_up",
    "width_of",
]

TURNED = 2048
"""Rows that one task rotates."""


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


@dataclass(frozen=True)
class Axes:
    """One side's factors in their principal axes: what rows are solved against.

    Attributes
    ----------
    factors : (m, width) float32
        Zeros beyond `n_factors`; the width is a multiple of LANES.
    spectrum : (width,) float32
        ``α₀ Λ``, descending; one beyond `n_factors`.
    n_factors : int
    """

    factors: Float32s
    spectrum: Float32s
    n_factors: int


@dataclass(frozen=True)
class Plan:
    """Rows with their weights and the order in which they are solved; made once per training.

    Attributes
    ----------
    scale, ridge, missing : (n,) float32
        See `recstream.core.objective.row_terms`.
    weight : (n_columns,) float32
        The positives' separable weight of the fixed side.
    short, long, gradient : list of (k,) int64
        Tasks: rows for the dual, the primal and conjugate gradients.
    """

    rows: Rows
    side: Side
    scale: Float32s
    ridge: Float32s
    missing: Float32s
    weight: Float32s
    short: list[Int64s]
    long: list[Int64s]
    gradient: list[Int64s]


@dataclass(frozen=True, slots=True)
class Solved:
    """What the rows of a half-step add to the objective.

    Attributes
    ----------
    loss : float
        All terms they take part in, their regularization among them.
    penalty : float
        Their regularization alone.
    skipped : int
        Rows left as they were, because they were good enough.
    """

    loss: float
    penalty: float
    skipped: int


def width_of(n_factors: int) -> int:
    """Return the length of a padded row of factors.

    >>> width_of(1) == LANES
    True
    """
    return -(-n_factors // LANES) * LANES


def padded(factors: Float32s) -> Float32s:
    """Return factors as rows of whole vectors; the same array where they are already."""
    n, d = factors.shape
    if d % LANES == 0:
        return factors
    out = np.zeros((n, width_of(d)), np.float32)
    out[:, :d] = factors
    return out


def principal_axes(
    factors: Float32s,
    n_factors: int,
    missing: Float32s,
    unobserved_weight: float,
    *,
    pool: Pool = SERIAL,
) -> tuple[Float64s, Float32s]:
    """Return the rotation (d, d) into the principal axes and the spectrum (width,).

    Sums don't depend on the number of threads; LAPACK's eigenvectors may.

    Parameters
    ----------
    factors : (m, width) float32
        Padded.
    missing : (m,) float32
        The missing entries' separable weight m_i.
    """
    m, width = factors.shape
    wide = -(-width // OUTER_COLUMNS) * OUTER_COLUMNS
    step = max(4096, -(-m // 64))
    starts = range(0, m, step)
    parts = np.zeros((len(starts), wide, wide))
    flat = factors.reshape(-1)
    pool.run(
        lambda part: add_gramian(
            flat, width, missing, starts[part], min(starts[part] + step, m), parts[part]
        ),
        range(len(starts)),
    )
    gramian = unobserved_weight * parts.sum(axis=0)[:n_factors, :n_factors]
    values, vectors = np.linalg.eigh(gramian)  # reads the lower triangle only
    spectrum = np.ones(width, np.float32)
    spectrum[:n_factors] = np.maximum(values[::-1], 0.0)
    return vectors[:, ::-1], spectrum


def turn(factors: Float32s, rotation: Float64s, rows: Int64s, *, pool: Pool = SERIAL) -> None:
    """Rotate some rows of padded factors in place."""
    width = factors.shape[1]
    flat = factors.reshape(-1)
    cut = panels(rotation, width)
    pool.run(
        lambda start: rotate(flat, width, cut, rows[start : start + TURNED]),
        range(0, len(rows), TURNED),
    )


def make_plan(
    rows: Rows,
    side: Side,
    objective: Objective,
    *,
    mean: float,
    weight: Float32s,
    missing_total: float,
    n_factors: int,
    solver: Solver = "exact",
    n_tasks: int = 1,
) -> Plan:
    """Weigh the rows and sort them into tasks of about equal cost.

    Parameters
    ----------
    rows : Rows
        Their entries; columns are rows of the fixed side.
    side : {"users", "items"}
        Which side the rows are; it chooses the exponents.
    mean : float
        Mean count of that side in the training matrix.
    weight, missing_total : (n_columns,) float32 and float
        Of the fixed side: the positives' separable weights, and ``α₀ Σ m``.
    """
    n = len(rows)
    scale, ridge, missing = np.empty((3, n), np.float32)
    terms = objective.terms(side, missing_total)
    row_terms(rows.indptr, rows.indices, rows.weights, weight, mean, terms, scale, ridge, missing)
    lengths = np.diff(rows.indptr)
    order = np.argsort(lengths, kind="stable")
    lengths = lengths[order]
    direct = int(np.searchsorted(lengths, _direct(n_factors, solver), side="right"))
    short, rest = order[:direct], order[direct:]
    cost = lengths[:direct] * (lengths[:direct] + 16) + 64
    cut = _tasks(rest, lengths[direct:], n_tasks)
    return Plan(
        rows,
        side,
        scale,
        ridge,
        missing,
        weight,
        _tasks(short, cost, n_tasks),
        cut if solver == "exact" else [],
        cut if solver == "mixed" else [],
    )


def _direct(n_factors: int, solver: Solver) -> int:
    """Return the longest row that is solved by its dual."""
    # A dual costs n² d / 2, three steps of conjugate gradients 8 n d, and d² to turn their start.
    return n_factors if solver == "exact" else min(n_factors, 16 + n_factors // 16)


def _tasks(order: Int64s, cost: Int64s, n_tasks: int) -> list[Int64s]:
    """Cut an order of rows into tasks of about equal cost and whole groups, dearest first."""
    if n_tasks == 1 or len(order) <= LANES:
        return [order] if len(order) else []
    running = np.cumsum(cost)
    goals = running[-1] * np.arange(1, n_tasks) / n_tasks
    cuts = np.unique(np.searchsorted(running, goals) // LANES * LANES)
    return [part for part in np.split(order, cuts) if len(part)][::-1]


def solve(
    plan: Plan,
    fixed: Axes,
    out: Float32s,
    *,
    pool: Pool = SERIAL,
    simd: bool = HAS_AVX2,
    steps: int = 3,
    tolerance: float = 0.0,
) -> Solved:
    """Solve every row of a plan against the fixed side, in place.

    Parameters
    ----------
    out : (n, width) float32
        Overwritten. Rows for conjugate gradients start from what is in it, in the axes of
        `fixed`.
    pool : Pool
        Where the work runs; the result has the same bits for any number of threads.
    simd : bool
        Whether to use the vector kernels; by default where the processor has AVX2.
    steps, tolerance : int, float
        Of conjugate gradients; see `improve`.

    Raises
    ------
    ModelError
        A factor would not be finite: the numbers overflow float32.
    """
    rows = plan.rows
    width = fixed.factors.shape[1]
    z, target = fixed.factors.reshape(-1), out.reshape(-1)
    entries = (rows.indptr, rows.indices, rows.weights, plan.weight, plan.scale, plan.ridge)
    loss = np.empty(len(rows))
    skipped = []

    def dual(part: Int64s) -> None:
        solve_dual(z, width, fixed.spectrum, part, *entries, target, loss)

    def primal(part: Int64s) -> None:
        solve_primal(z, width, fixed.n_factors, fixed.spectrum, part, *entries, target, loss)

    def plain(part: Int64s) -> None:
        solve_plain(fixed.factors, fixed.spectrum, part, *entries, out, loss)

    def gradient(part: Int64s) -> None:
        skipped.append(
            improve(z, width, fixed.spectrum, part, *entries, steps, tolerance, target, loss)
        )

    pool.run_all(
        (gradient if simd else plain, plan.gradient),
        (primal if simd else plain, plan.long),
        (dual if simd else plain, plan.short),
    )
    total = float(loss @ plan.missing)
    if not np.isfinite(total):
        bad = np.flatnonzero(~np.isfinite(loss))
        raise ModelError(
            f"the factors of {len(bad)} rows of the {plan.side}, the first of them row "
            f"{bad[:1]}, are not finite; scale the weights down or raise the regularization"
        )
    squares = np.einsum("ij,ij->i", out, out)
    return Solved(total, float(squares @ (plan.ridge * plan.missing)), sum(skipped))


def is_warm() -> bool:
    """Return whether this process has its kernels ready."""
    kernel: Any = solve_dual
    return bool(kernel.signatures)


def warm_up() -> None:
    """Load every kernel, compiling those that no cache holds: some ten seconds, once.

    A server calls this before it says that it is ready.
    """
    d = LANES
    entries = np.ones((2, 2 * LANES + 1), np.float32)
    entries[1, 2:] = 0.0
    rows = as_rows(sp.csr_matrix(entries), "entries")
    fixed = np.eye(2 * LANES + 1, d, dtype=np.float32)
    objective = Objective()
    rotation, spectrum = principal_axes(fixed, d, np.ones(len(fixed), np.float32), 1.0)
    turn(fixed, rotation, np.arange(len(fixed)))
    weight = np.ones(len(fixed), np.float32)
    for solver in get_args(Solver):
        plan = make_plan(
            rows,
            "users",
            objective,
            mean=1.0,
            weight=weight,
            missing_total=1.0,
            n_factors=d,
            solver=solver,
        )
        solve(plan, Axes(fixed, spectrum, d), np.zeros((2, d), np.float32))
