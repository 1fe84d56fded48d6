"""Matrices that break solvers, by name, and the slow way to solve them."""

import numpy as np
import scipy.sparse as sp

from recstream.core.als.half_step import Axes, make_plan, padded, principal_axes, rotate, solve
from recstream.core.als.objective import Objective, count_weights, mean_count
from recstream.core.validation import as_csr_rows


def _random(n_users: int, n_items: int, density: float, seed: int) -> sp.csr_matrix:
    generator = np.random.default_rng(seed)
    matrix = sp.random(n_users, n_items, density, "csr", np.float32, generator)
    matrix.data[:] = generator.integers(1, 5, matrix.nnz)
    return matrix


def _dense(rows: list[list[float]]) -> sp.csr_matrix:
    return sp.csr_matrix(np.array(rows, np.float32))


CASES = {
    "random": _random(57, 41, 0.15, 0),
    "longer rows than factors": _random(9, 300, 0.6, 1),
    "empty rows and columns": sp.csr_matrix(
        (np.ones(3, np.float32), ([1, 4, 4], [2, 2, 7])), shape=(7, 11)
    ),
    "one item for all": _dense([[0, 3, 0]] * 40),
    "equal columns": _dense([[1, 1, 1, 1], [0, 0, 0, 0], [2, 2, 2, 2], [1, 1, 1, 1]] * 6),
    "full": _dense([[1] * 30] * 20),
    "one cell": _dense([[2]]),
    "huge and tiny weights": _dense([[1e6, 1e-6, 0, 1], [0, 1e6, 1e6, 0], [1e-6, 0, 0, 1e-6]] * 5),
    "stored zeros": sp.csr_matrix(
        (np.array([0, 1, 0, 2], np.float32), ([0, 0, 1, 2], [0, 1, 1, 3])), shape=(3, 4)
    ),
}

OBJECTIVES = {
    "plain": Objective(0.1, 2.0, 0.5, 0.0, (0, 0), (0, 0)),
    "frequency-scaled": Objective(0.05, 1.0, 0.3, 1.0, (0, 0), (0, 0)),
    "separable": Objective(0.05, 1.0, 0.3, 1.0, (0.5, 0.4), (0.3, 0.2)),
    "negative exponents": Objective(0.2, 1.0, 1.0, 0.5, (-0.3, 0.2), (0.1, -0.2)),
}


def solve_users(
    matrix: sp.csr_matrix,
    items: np.ndarray,
    objective: Objective,
    *,
    start: np.ndarray | None = None,
    **options: object,
) -> tuple[np.ndarray, float]:
    """Solve users against items with the kernels, in the axes that the items came in."""
    rows = as_csr_rows(matrix, "matrix")
    users, counts = rows.counts_by_side()
    d = items.shape[1]
    mean = mean_count(counts)
    missing = count_weights(counts, mean, objective.missing_exponents[1])
    fixed = padded(items).copy()
    rotation, spectrum = principal_axes(fixed, d, missing, objective.unobserved_weight)
    rotate(fixed, rotation, np.arange(len(fixed)))
    plan = make_plan(
        rows,
        "users",
        objective,
        mean=mean_count(users),
        weight=count_weights(counts, mean, objective.positive_exponents[1]),
        missing_total=objective.unobserved_weight * float(missing.sum(dtype=np.float64)),
        n_factors=d,
        solver=options.pop("solver", "exact"),
    )
    out = np.full((len(rows), fixed.shape[1]), np.nan, np.float32)
    if start is not None:
        out[:] = padded(start.astype(np.float32))
        rotate(out, rotation, np.arange(len(out)))
    solved = solve(plan, Axes(fixed, spectrum, d), out, **options)
    assert not out[:, d:].any()
    rotate(out, rotation.T, np.arange(len(out)))
    return out[:, :d], solved.loss


def checkerboard(n: int = 40) -> sp.csr_matrix:
    """Even users have the even items and odd users the odd ones; the diagonal is withheld."""
    users, items = np.indices((n, n))
    return sp.csr_matrix(((users % 2 == items % 2) & (users != items)).astype(np.float32))
