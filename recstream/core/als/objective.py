"""Loss function of training and fold-in, and its weights.

::

    L(X, Y) = Σ_(u,i) observed  w_ui (1 - x_uᵀy_i)²
            + α₀ Σ_(all u, i)   m_u m_i (x_uᵀy_i)²
            + Σ_u ρ_u |x_u|² + Σ_i ρ_i |y_i|²

    w_ui = α r_ui p_u p_i          r_ui ≥ 0: weight of the entry in the matrix
    p_u  = (n_u / n̄_users)^-e      n_u: entries of u with r > 0; e: positive exponent of users
    m_u  = (n_u / n̄_users)^-f      f: missing exponent of users; likewise p_i, m_i for items
    ρ_u  = λ α n̄_users (s_u / s̄_users)^ν   the row's regularization
    s_u  = Σ_i w_ui + α₀ m_u Σ_i m_i       its total weight; s̄_users = α n̄_users + α₀ Σ_i m_i

With all exponents zero, ν = 0 and ``α₀ = 1`` this is Hu, Koren & Volinsky (ICDM 2008), eq. 3, except
for the confidence of an observed pair. Theirs is ``1 + αr`` on the target 1. Here the pair pays
``αr (1 - s)² + α₀ s²``, which has the same curvature ``αr + α₀`` and the target ``αr / (αr + α₀)``.

That is the form of Rendle et al. (RecSys 2022). Their frequency-scaled regularization
``λ (n_u + α₀ |I|)^ν`` equals ``ρ_u`` up to a constant, with the separable weights put in. Dividing
counts and totals by their means makes α₀, λ and ν independent of each other and of the size of the
catalogue: λ is the penalty of an average row, in units of its observed weight. So one default serves
data sets of 1,000 and of 40,000 items.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.validation import as_finite, as_positive
from recstream.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Objective:
    """Hyper-parameters of the loss; see the module for the formula.

    Attributes
    ----------
    regularization : float
        λ > 0, relative to the observed weight of an average row.
    alpha : float
        α > 0, factor of the weights of observed entries.
    unobserved_weight : float
        α₀ > 0, weight of every cell of the matrix with target zero.
    regularization_exponent : float
        ν; 0 regularizes all rows equally, 1 in proportion to their total weight.
    positive_exponents, missing_exponents : (float, float)
        Exponents (users, items) of the separable weights; 0 disables one.
    """

    regularization: float = 0.1
    alpha: float = 1.0
    unobserved_weight: float = 0.5
    regularization_exponent: float = 1.0
    positive_exponents: tuple[float, float] = (0.5, 0.5)
    missing_exponents: tuple[float, float] = (0.3, 0.3)

    def __post_init__(self) -> None:
        for name in ("regularization", "alpha", "unobserved_weight"):
            as_positive(getattr(self, name), name)
        as_finite(self.regularization_exponent, "regularization_exponent")
        for name in ("positive_exponents", "missing_exponents"):
            object.__setattr__(self, name, _as_pair(getattr(self, name), name))

    def terms(self, side: Literal["users", "items"], missing_total: float) -> Float64s:
        """Return the argument `terms` of `row_terms` for rows of `side`; `missing_total` is α₀ Σ m."""
        which = 0 if side == "users" else 1
        return np.array(
            [
                self.alpha,
                self.positive_exponents[which],
                self.missing_exponents[which],
                self.regularization,
                self.regularization_exponent,
                missing_total,
            ],
            dtype=np.float64,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Objective:
        """Return the objective of `as_dict`; raises `InvalidInput` for unknown names."""
        known = {field.name for field in fields(cls)}
        if extra := sorted(set(values) - known):
            raise InvalidInput(f"objective has unknown fields {extra}, expected {sorted(known)}")
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**options)


def _as_pair(value: Any, name: str) -> tuple[float, float]:
    """Return two checked exponents."""
    try:
        users, items = value
        return as_finite(users, name), as_finite(items, name)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{name} must be two finite numbers (users, items), got {value!r}"
        ) from error


def mean_count(counts: Int64s) -> float:
    """Return the mean of the counts above zero; 1 if there are none.

    >>> mean_count(np.array([0, 2, 4]))
    3.0
    """
    present = int(np.count_nonzero(counts))
    return float(counts.sum() / present) if present else 1.0


def count_weights(counts: Int64s, mean: float, exponent: float) -> Float32s:
    """Return ``(max(count, 1) / mean)^-exponent`` per row.

    >>> count_weights(np.array([0, 1, 4]), 4.0, 0.5)
    array([2., 2., 1.], dtype=float32)
    """
    out = np.empty(len(counts), np.float32)
    _count_weights(np.ascontiguousarray(counts, np.int64), mean, exponent, out)
    return out


@compiled
def _count_weights(counts: Int64s, mean: float, exponent: float, out: Float32s) -> None:
    """Fill `out`, one scalar power at a time, so that a row's bits don't depend on its position."""
    for i in range(len(counts)):
        out[i] = (max(counts[i], 1) / mean) ** -exponent


@compiled
def row_terms(
    indptr: Int64s,
    indices: Int32s,
    weights: Float32s,
    fixed_weight: Float32s,
    mean: float,
    terms: Float64s,
    scale: Float32s,
    ridge: Float32s,
    missing: Float32s,
) -> None:
    """Fill each row's `scale`, `ridge` and `missing`: the factors of its normal equation.

    The normal equation, divided by the row's missing weight m_u, is
    ``(α₀ Σ m_i y yᵀ + ridge I + Σ (scale r p_i) y yᵀ) x = Σ (scale r p_i) y`` with
    ``scale = α p_u / m_u`` and ``ridge = ρ_u / m_u``.

    Parameters
    ----------
    indptr, indices, weights : (n + 1,) int64, (nnz,) int32, (nnz,) float32
        CSR matrix of the entries r.
    fixed_weight : (n_columns,) float32
        p_i.
    mean : float
        n̄ of the rows' side.
    terms : (6,) float64
        α, the positive exponent, the missing exponent, λ, ν and α₀ Σ m_i.
    scale, ridge, missing : (n,) float32
        Filled; `missing` is m_u.
    """
    alpha, positive, absent, regularization, nu, missing_total = terms
    average = alpha * mean
    ordinary = average + missing_total
    for row in range(len(indptr) - 1):
        n = 0
        observed = 0.0
        for a in range(indptr[row], indptr[row + 1]):
            if weights[a] > 0.0:
                n += 1
                observed += weights[a] * fixed_weight[indices[a]]
        relative = max(n, 1) / mean
        m = relative**-absent
        p = alpha * relative**-positive
        scale[row] = p / m
        total = p * observed + m * missing_total
        ridge[row] = regularization * average * (total / ordinary) ** nu / m
        missing[row] = m
