"""Reference implementation of the loss and its minimisers in float64, for tests of the kernels.

Each row's normal equation is written down and solved, without rotation or duals.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recstream.core.als.objective import Objective
from recstream.core.numeric.arrays import Float64s

__all__ = ["Weights", "loss", "solve_items", "solve_users", "weigh"]


@dataclass(frozen=True)
class Weights:
    """All weights of the objective, as dense float64 matrices.

    Attributes
    ----------
    observed : (n_users, n_items)
        w_ui.
    missing : (n_users, n_items)
        α₀ m_u m_i.
    users, items : (n_users,), (n_items,)
        The regularization of each row.
    """

    observed: Float64s
    missing: Float64s
    users: Float64s
    items: Float64s


def weigh(matrix: sp.csr_matrix, objective: Objective) -> Weights:
    """Return the weights of a small matrix under an objective."""
    r = np.asarray(matrix.todense(), np.float64)
    users, items = (r > 0).sum(axis=1), (r > 0).sum(axis=0)

    def mean(counts: Float64s) -> float:
        return float(counts[counts > 0].mean()) if counts.any() else 1.0

    def relative(counts: Float64s, exponent: float) -> Float64s:
        return np.asarray((np.maximum(counts, 1) / mean(counts)) ** -exponent)

    positive, missing = objective.positive_exponents, objective.missing_exponents
    observed = (
        objective.alpha * r * np.outer(relative(users, positive[0]), relative(items, positive[1]))
    )
    unobserved = objective.unobserved_weight * np.outer(
        relative(users, missing[0]), relative(items, missing[1])
    )

    def ridge(counts: Float64s, axis: int) -> Float64s:
        average = objective.alpha * mean(counts)
        # What a row with the mean count would have as missing weight: its own factor m is one.
        absent = (
            objective.unobserved_weight
            * relative(items if axis == 1 else users, missing[axis]).sum()
        )
        total = (observed + unobserved).sum(axis=axis)
        return np.asarray(
            objective.regularization
            * average
            * (total / (average + absent)) ** objective.regularization_exponent
        )

    return Weights(observed, unobserved, ridge(users, 1), ridge(items, 0))


def loss(weights: Weights, X: Float64s, Y: Float64s) -> float:
    """Return the objective, cell by cell."""
    scores = X @ Y.T
    return float(
        (weights.observed * (1 - scores) ** 2).sum()
        + (weights.missing * scores**2).sum()
        + (weights.users * (X**2).sum(axis=1)).sum()
        + (weights.items * (Y**2).sum(axis=1)).sum()
    )


def solve_users(weights: Weights, Y: Float64s) -> Float64s:
    """Return the users that minimise the loss against fixed items."""
    return _solve(weights.observed, weights.missing, weights.users, Y)


def solve_items(weights: Weights, X: Float64s, centre: Float64s | None = None) -> Float64s:
    """Return the items that minimise the loss against fixed users.

    With a centre c, missing entries and regularization pull an item towards c instead of zero:
    ``Σ w (1 - x·y)² + α₀ Σ m m (x·(y - c))² + λ s^ν |y - c|²``.
    """
    return _solve(weights.observed.T, weights.missing.T, weights.items, X, centre)


def _solve(
    observed: Float64s,
    missing: Float64s,
    ridge: Float64s,
    fixed: Float64s,
    centre: Float64s | None = None,
) -> Float64s:
    """Solve ``(Σ (w + α₀ m m) y yᵀ + λ s^ν I) x = Σ w y + (Σ α₀ m m y yᵀ + λ s^ν I) c``."""
    out = np.zeros((len(observed), fixed.shape[1]))
    nowhere = np.zeros(fixed.shape[1])
    for row in range(len(observed)):
        both = observed[row] + missing[row]
        identity = ridge[row] * np.eye(fixed.shape[1])
        system = (fixed * both[:, None]).T @ fixed + identity
        pull = (fixed * missing[row][:, None]).T @ fixed + identity
        towards = nowhere if centre is None else centre[row]
        out[row] = np.linalg.solve(system, fixed.T @ observed[row] + pull @ towards)
    return out
