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
from typing import Any, Literal, get_args

import numpy as np
import scipy.sparse as sp

from recstream.core.als.objective import Objective, row_terms
from recstream.core.als.residual_targets import aim
from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.numeric.conjugate_gradients import improve
from recstream.core.numeric.gramian import add_gramian, panels, rotate
from recstream.core.numeric.plain import solve_plain
from recstream.core.numeric.pool import SERIAL, Pool
from recstream.core.numeric.row_solver import solve_dual, solve_primal
from recstream.core.numeric.simd import HAS_AVX2, LANES
from recstream.core.numeric.tiles import OUTER_COLUMNS
from recstream.core.validation import Rows, as_rows
from recstream.errors import ModelError

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
    "principal_axes",
    "solve",
    "turn",
    "warm_up",
    "width_of",
]

TURNED = 2048
"""Rows that one task rotates."""


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
        See `recstream.core.als.objective.row_terms`.
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
    centre: Float32s | None = None,
) -> Solved:
    """Solve every row of a plan against the fixed side, in place.

    With a centre c the row's prior is ``(x - c)ᵀ D (x - c)`` instead of ``xᵀDx``: with
    ``x = c + z`` that is the same problem for z, whose entries have the targets ``1 - c·y_i``.

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
    centre : (n, width) float32, optional
        Where a row without entries is, in the axes of `fixed`; for exact plans. The loss is then
        that of z.

    Raises
    ------
    ModelError
        A factor would not be finite: the numbers overflow float32.
    """
    rows = plan.rows
    width = fixed.factors.shape[1]
    z, target = fixed.factors.reshape(-1), out.reshape(-1)
    entries = (rows.indptr, rows.indices, rows.weights, plan.weight, plan.scale, plan.ridge)
    targets = np.empty(0 if centre is None else len(rows.indices), np.float32)
    if centre is not None:
        aim(fixed.factors, rows.indptr, rows.indices, centre, targets)
    loss = np.empty(len(rows))
    skipped = []

    def dual(part: Int64s) -> None:
        solve_dual(z, width, fixed.spectrum, part, *entries, targets, target, loss)

    def primal(part: Int64s) -> None:
        solve_primal(
            z, width, fixed.n_factors, fixed.spectrum, part, *entries, targets, target, loss
        )

    def plain(part: Int64s) -> None:
        solve_plain(fixed.factors, fixed.spectrum, part, *entries, targets, out, loss)

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
    if centre is not None:
        out += centre
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
        out = np.zeros((2, d), np.float32)
        solve(plan, Axes(fixed, spectrum, d), out)
        if solver == "exact":
            solve(plan, Axes(fixed, spectrum, d), out, centre=out.copy())
