"""Contributions of a history's entries to the scores of items, with sums in a fixed order.

Published lists carry these numbers, and a replay must give the same bits. A sum of BLAS would depend
on its number of threads. Here each sum runs in the order of its index; inner loops run over many
sums at once, which the compiler vectorises.
"""

from __future__ import annotations

import numpy as np

from recstream.core.als.objective import row_terms
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s
from recstream.core.numeric.jit import ZERO, compiled, helper

__all__ = ["history_contributions", "score_contributions"]


@compiled
def history_contributions(
    columns: Int32s,
    weights: Float32s,
    items: Int32s,
    factors: Float32s,
    item_weight: Float32s,
    spectrum: Float32s,
    mean: float,
    terms: Float64s,
) -> Float64s:
    """Return the contributions (n, h) of a history's entries to the scores of n items.

    Parameters
    ----------
    columns, weights : (h,) int32, float32
        The entries.
    items : (n,) int32
    factors : (m, ≥ d) float32
        Of all items.
    item_weight : (m,) float32
    spectrum : (d,) float32
        Of the missing entries.
    mean, terms : float, (6,) float64
        As in `row_terms`.
    """
    d = len(spectrum)
    scale, ridge, missing = (
        np.empty(1, np.float32),
        np.empty(1, np.float32),
        np.empty(1, np.float32),
    )
    bounds = np.array([0, len(columns)])
    row_terms(bounds, columns, weights, item_weight, mean, terms, scale, ridge, missing)
    entry_weights, history = np.empty(len(columns)), np.empty((len(columns), d))
    for i in range(len(columns)):
        entry_weights[i] = scale[0] * weights[i] * item_weight[columns[i]]
        for k in range(d):
            history[i, k] = factors[columns[i], k]
    target, diagonal = np.empty((len(items), d)), np.empty(d)
    for k in range(d):
        diagonal[k] = spectrum[k] + ridge[0]
        for j in range(len(items)):
            target[j, k] = factors[items[j], k]
    return score_contributions(history, entry_weights, target, diagonal)


@compiled
def score_contributions(
    history: Float64s, weights: Float64s, target: Float64s, diagonal: Float64s
) -> Float64s:
    """Return the contributions ``w_i y_iᵀ A⁻¹ y_j`` of h entries to the scores of n items, (n, h).

    ``A = diag(diagonal) + Σ_i w_i y_i y_iᵀ``, factored once. Cost: ``h d² / 2 + d³ / 6 + n d² + n h d``
    multiply-adds in float64; for h < d the dual is used, with h and d swapped.

    Parameters
    ----------
    history : (h, d) float64
        The history's item factors y_i.
    weights : (h,) float64
        w_i ≥ 0.
    target : (n, d) float64
        The n items' factors y_j.
    diagonal : (d,) float64
        Above 0.
    """
    h, d = history.shape
    n = target.shape[0]
    if h < d:
        return _dual_contributions(history, weights, target, diagonal)
    lower = np.zeros((d, d))
    _build(history, weights, diagonal, lower)
    _factor(lower)
    solved = target.T.copy()
    _solve(lower, solved)
    contributions = np.zeros((n, h))
    _add_products(solved, history.T.copy(), contributions, False)
    for j in range(n):
        for i in range(h):
            contributions[j, i] *= weights[i]
    return contributions


@helper
def _dual_contributions(
    history: Float64s, weights: Float64s, target: Float64s, diagonal: Float64s
) -> Float64s:
    """Return the same contributions as ``√w (I + BBᵀ)⁻¹ B D^-½ y_j`` with ``B = √w Y D^-½``."""
    h, d = history.shape
    n = target.shape[0]
    across = np.empty((d, h))
    for k in range(d):
        for i in range(h):
            across[k, i] = history[i, k] * np.sqrt(weights[i] / diagonal[k])
    lower = np.zeros((h, h))
    _build(across, np.ones(d), np.ones(h), lower)
    _factor(lower)
    parts = np.empty((d, n))
    for k in range(d):
        for j in range(n):
            parts[k, j] = target[j, k] / np.sqrt(diagonal[k])
    contributions = np.zeros((n, h))
    _add_products(parts, across, contributions, False)
    solved = contributions.T.copy()
    _solve(lower, solved)
    contributions = solved.T.copy()
    for j in range(n):
        for i in range(h):
            contributions[j, i] *= np.sqrt(weights[i])
    return contributions


@helper
def _add_products(left: Float64s, right: Float64s, sums: Float64s, is_triangle: bool) -> None:
    """Add ``left[k, a] · right[k, b]`` to ``sums[a, b]``, k in order, four at a time.

    Of a triangle, only b ≤ a.
    """
    k = ZERO
    while k + 4 <= len(left):
        r0, r1, r2, r3 = right[k], right[k + 1], right[k + 2], right[k + 3]
        for a in range(len(sums)):
            l0, l1, l2, l3 = left[k, a], left[k + 1, a], left[k + 2, a], left[k + 3, a]
            out = sums[a, : a + 1 if is_triangle else sums.shape[1]]
            for b in range(len(out)):
                total = out[b] + l0 * r0[b]
                total += l1 * r1[b]
                total += l2 * r2[b]
                out[b] = total + l3 * r3[b]
        k += 4
    while k < len(left):
        for a in range(len(sums)):
            for b in range(a + 1 if is_triangle else sums.shape[1]):
                sums[a, b] += left[k, a] * right[k, b]
        k += 1


@helper
def _build(history: Float64s, weights: Float64s, diagonal: Float64s, lower: Float64s) -> None:
    """Fill the lower triangle of A."""
    scaled = np.empty_like(history)
    for i in range(len(weights)):
        for a in range(len(diagonal)):
            scaled[i, a] = weights[i] * history[i, a]
    for a in range(len(diagonal)):
        lower[a, a] = diagonal[a]
    _add_products(scaled, history, lower, True)


@helper
def _factor(lower: Float64s) -> None:
    """Replace A by its Cholesky factor L, A = L Lᵀ."""
    for c in range(len(lower)):
        root = lower[c, c] = np.sqrt(lower[c, c])
        column = lower[c + 1 :, c].copy()
        for n in range(len(column)):
            column[n] /= root
            part = lower[c + 1 + n, c] = column[n]
            rest = lower[c + 1 + n, c + 1 : c + 2 + n]
            for b in range(len(rest)):
                rest[b] -= part * column[b]


@helper
def _solve(lower: Float64s, columns: Float64s) -> None:
    """Replace each column y by A⁻¹ y."""
    d, n = columns.shape
    for c in range(d):
        for j in range(n):
            columns[c, j] /= lower[c, c]
        for a in range(c + 1, d):
            part = lower[a, c]
            for j in range(n):
                columns[a, j] -= columns[c, j] * part
    for a in range(d - 1, -1, -1):
        for j in range(n):
            columns[a, j] /= lower[a, a]
        for c in range(a):
            part = lower[a, c]
            for j in range(n):
                columns[c, j] -= columns[a, j] * part
