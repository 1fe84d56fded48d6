"""Contributions of a history's entries to the scores of items, with sums in a fixed order.

Published lists carry these numbers, and a replay must give the same bits. A sum of BLAS would depend
on its number of threads. Here each sum runs in the order of its index; inner loops run over many
sums at once, which the compiler vectorises.
"""

import numpy as np

from recstream.core.als.objective import row_terms
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s
from recstream.core.numeric.jit import ZERO, compiled, helper


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
    items : (n,) int32
    factors : (m, ≥ d) float32
        Factors of all items.
    item_weight : (m,) float32
    spectrum : (d,) float32
        Spectrum of the missing entries.
    terms : (6,) float64
        Constants of the objective, see `row_terms`.
    """
    scale, ridge, missing = np.empty((3, 1), np.float32)
    bounds = np.array([0, len(columns)])
    row_terms(bounds, columns, weights, item_weight, mean, terms, scale, ridge, missing)
    entry_weights = (scale * weights * item_weight[columns]).astype(np.float64)
    diagonal = (spectrum + ridge).astype(np.float64)
    return score_contributions(factors, columns, entry_weights, items, diagonal)


@compiled
def score_contributions(  # noqa: C901, PLR0912 - as two kernels, the same steps would compile twice
    factors: Float32s, columns: Int32s, weights: Float64s, items: Int32s, diagonal: Float64s
) -> Float64s:
    """Return the contributions ``w_i y_iᵀ A⁻¹ y_j`` of h entries to the scores of n items, (n, h).

    ``A = diag(diagonal) + Σ_i w_i y_i y_iᵀ``, factored once. Cost: ``h d² / 2 + d³ / 6 + n d² + n h d``
    multiply-adds in float64. For h < d it is the dual, ``√w (I + BBᵀ)⁻¹ B D^-½ y_j`` with
    ``B = √w Y D^-½``: h and d are swapped.

    Parameters
    ----------
    factors : (m, ≥ d) float32
        Factors of all items.
    columns, weights : (h,) int32, float64
        The history's items i, and their weights w_i ≥ 0.
    items : (n,) int32
        The items j.
    diagonal : (d,) float64
        Above 0.
    """
    h, n, d = len(columns), len(items), len(diagonal)
    is_dual = h < d
    history, across, target = np.empty((h, d)), np.empty((d, h)), np.empty((d, n))
    for i in range(h):
        for k in range(d):
            history[i, k] = factors[columns[i], k]
            root = np.sqrt(weights[i] / diagonal[k]) if is_dual else 1.0
            across[k, i] = history[i, k] * root
    for k in range(d):
        root = np.sqrt(diagonal[k]) if is_dual else 1.0
        for j in range(n):
            target[k, j] = factors[items[j], k] / root
    lower = np.zeros((h, h) if is_dual else (d, d))
    for c in range(len(lower)):
        lower[c, c] = 1.0 if is_dual else diagonal[c]
    left, right = across, across
    if not is_dual:
        left, right = np.empty((h, d)), history
        for i in range(h):
            for k in range(d):
                left[i, k] = weights[i] * history[i, k]
    _add_products(left, right, lower, True)
    _factor(lower)
    if not is_dual:
        _solve(lower, target)
    contributions = np.zeros((n, h))
    _add_products(target, across, contributions, False)
    if is_dual:
        solved = np.empty((h, n))
        for i in range(h):
            for j in range(n):
                solved[i, j] = contributions[j, i]
        _solve(lower, solved)
        for j in range(n):
            for i in range(h):
                contributions[j, i] = solved[i, j]
    for j in range(n):
        for i in range(h):
            contributions[j, i] *= np.sqrt(weights[i]) if is_dual else weights[i]
    return contributions


@helper
def _add_products(left: Float64s, right: Float64s, sums: Float64s, is_triangle: bool) -> None:
    """Add ``left[k, a] · right[k, b]`` to ``sums[a, b]``, k in order, four at a time.

    Triangle: only b ≤ a.
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
