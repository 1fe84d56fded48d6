"""Half-step of ALS: solve rows (users or items) against the fixed other side.

Training and fold-in share this solver, with the same equations and regularization. A half-step of
training solves all rows; fold-in solves some.

The fixed side is first rotated to its *principal axes*. With ``α₀ Σ m_i y_i y_iᵀ = QΛQᵀ`` and
``Z = YQ``, the part of a row's system that all rows share is the diagonal Λ. So per-row
regularization and separable weights cost nothing. Products ``x·y`` don't change, so factors stay in
these axes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from recstream.core.als.gramian import add_gramian, panels, rotate_rows
from recstream.core.als.objective import Objective, row_terms
from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.numeric.conjugate_gradients import cg_steps
from recstream.core.numeric.pool import SERIAL, Pool
from recstream.core.numeric.row_solver import solve_dual, solve_primal
from recstream.core.numeric.simd import LANES
from recstream.core.numeric.tiles import OUTER_COLUMNS
from recstream.core.validation import CSRRows
from recstream.errors import ModelError

Solver = Literal["mixed", "exact"]
Side = Literal["users", "items"]

ROWS_PER_TASK = 2048
"""Rows that one task rotates."""
_MAX_GRAMIAN_TASKS = 64


@dataclass(frozen=True)
class Axes:
    """Factors of the fixed side in their principal axes.

    Attributes
    ----------
    factors : (m, width) float32
        Zeros beyond `n_factors`; the width is a multiple of LANES.
    spectrum : (width,) float32
        Λ, descending; one beyond `n_factors`.
    """

    factors: Float32s
    spectrum: Float32s
    n_factors: int


@dataclass(frozen=True)
class Plan:
    """Rows with their weights and tasks; made once per training.

    Attributes
    ----------
    scale, ridge, missing : (n,) float32
        See `recstream.core.als.objective.row_terms`.
    weight : (n_columns,) float32
        Separable weight of observed entries, of the fixed side.
    short, long, gradient : list of (k,) int64
        Tasks: rows to solve by the dual, the primal and conjugate gradients.
    """

    rows: CSRRows
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
    """Result of a half-step.

    Attributes
    ----------
    loss : float
        Sum of all terms of the objective with these rows, their regularization included.
    penalty : float
        Their regularization alone.
    skipped : int
        Rows left unchanged, because they were within the tolerance.
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
    """Return factors padded with zeros to `width_of`; the same array if they already are."""
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
        Separable weight m_i of missing entries.
    unobserved_weight : float
        α₀.
    """
    m, width = factors.shape
    ranges = gramian_ranges(m)
    parts = np.zeros((len(ranges), *gramian_shape(width)))
    flat = factors.reshape(-1)
    pool.run(
        lambda part: add_gramian(flat, width, missing, *ranges[part], parts[part]),
        range(len(ranges)),
    )
    return axes_of(parts, width, n_factors, unobserved_weight)


def gramian_shape(width: int) -> tuple[int, int]:
    """Return the shape of a gramian that `add_gramian` fills."""
    wide = -(-width // OUTER_COLUMNS) * OUTER_COLUMNS
    return wide, wide


def gramian_ranges(n_rows: int) -> list[tuple[int, int]]:
    """Return the ranges of rows whose gramians are summed one after another.

    They depend on the number of rows alone, so that the sum has the same bits wherever it is made.
    """
    step = max(4096, -(-n_rows // _MAX_GRAMIAN_TASKS))
    return [(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def axes_of(
    parts: Float64s, width: int, n_factors: int, unobserved_weight: float
) -> tuple[Float64s, Float32s]:
    """Return rotation and spectrum from the gramians (k, wide, wide) of `gramian_ranges`."""
    gramian = unobserved_weight * parts.sum(axis=0)[:n_factors, :n_factors]
    try:
        values, vectors = np.linalg.eigh(gramian)  # reads the lower triangle only
    except np.linalg.LinAlgError as error:
        raise ModelError(
            "the products of the factors are not finite; scale the weights down or bring the "
            "exponents nearer to 0"
        ) from error
    spectrum = np.ones(width, np.float32)
    spectrum[:n_factors] = np.maximum(values[::-1], 0.0)
    return vectors[:, ::-1], spectrum


def rotate(factors: Float32s, rotation: Float64s, rows: Int64s, *, pool: Pool = SERIAL) -> None:
    """Rotate the listed rows of padded factors, in place."""
    width = factors.shape[1]
    flat = factors.reshape(-1)
    cut = panels(rotation, width)
    pool.run(
        lambda start: rotate_rows(flat, width, cut, rows[start : start + ROWS_PER_TASK]),
        range(0, len(rows), ROWS_PER_TASK),
    )


def make_plan(
    rows: CSRRows,
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
    """Compute the rows' weights and cut them into tasks of about equal cost.

    Parameters
    ----------
    rows : CSRRows
        Columns are rows of the fixed side.
    side : {"users", "items"}
        Side of the rows; it selects the exponents.
    mean : float
        Mean count of that side in the training matrix.
    weight, missing_total : (n_columns,) float32 and float
        Of the fixed side: separable weights of observed entries, and ``α₀ Σ m``.
    solver : {"exact", "mixed"}
        Solver of rows that are too long for the dual: the primal, or conjugate gradients.
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
    """Return the length of the longest row to solve by the dual."""
    # A dual costs n² d / 2, three steps of conjugate gradients 8 n d plus d² to rotate their start.
    return n_factors if solver == "exact" else min(n_factors, 16 + n_factors // 16)


def _tasks(order: Int64s, cost: Int64s, n_tasks: int) -> list[Int64s]:
    """Cut sorted rows into tasks of about equal cost, in whole groups, most expensive first."""
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
    steps: int = 3,
    tolerance: float = 0.0,
    targets: Float32s | None = None,
) -> Solved:
    """Solve every row of a plan against the fixed side, in place.

    The result has the same bits for any number of threads.

    Parameters
    ----------
    out : (n, width) float32
        Overwritten. Conjugate gradients start from its rows, in the axes of `fixed`.
    steps, tolerance : int, float
        Limits of conjugate gradients; see `cg_steps`.
    targets : (nnz,) float32, optional
        Target of each entry, for exact plans; one by default. See
        `recstream.core.als.fold_in_items.residual_targets`.

    Raises
    ------
    ModelError
        A factor is not finite: the numbers overflow float32.
    """
    rows = plan.rows
    width = fixed.factors.shape[1]
    z, target = fixed.factors.reshape(-1), out.reshape(-1)
    entries = (rows.indptr, rows.indices, rows.weights, plan.weight, plan.scale, plan.ridge)
    given = np.empty(0, np.float32) if targets is None else targets
    loss = np.empty(len(rows))
    skipped = []

    def dual(part: Int64s) -> None:
        solve_dual(z, width, fixed.spectrum, part, *entries, given, target, loss)

    def primal(part: Int64s) -> None:
        solve_primal(z, width, fixed.n_factors, fixed.spectrum, part, *entries, given, target, loss)

    def gradient(part: Int64s) -> None:
        skipped.append(
            cg_steps(z, width, fixed.spectrum, part, *entries, steps, tolerance, target, loss)
        )

    pool.run_all((gradient, plan.gradient), (primal, plan.long), (dual, plan.short))
    total = float(loss @ plan.missing)
    if not np.isfinite(total):
        bad = np.flatnonzero(~np.isfinite(loss))
        raise ModelError(
            f"the factors of {len(bad)} rows of the {plan.side}, the first of them row "
            f"{bad[:1]}, are not finite; scale the weights down or raise the regularization"
        )
    squares = np.einsum("ij,ij->i", out, out)
    return Solved(total, float(squares @ (plan.ridge * plan.missing)), sum(skipped))


def rotated(factors: Float32s, rotation: Float64s) -> Float32s:
    """Return a rotated copy of factors."""
    out = padded(factors)
    out = out.copy() if out is factors else out
    rotate(out, rotation, np.arange(len(out)))
    return np.ascontiguousarray(out[:, : factors.shape[1]])
