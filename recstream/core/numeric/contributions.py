"""Step 8 of the flow: what each entry of a history adds to the scores of a list, in a fixed order.

Lists carry these shares, and a list derived again must have the same bits: so the sums are ordered
here, and not left to a BLAS whose order depends on its threads. A sum runs in the order of its
index; inner loops run over many sums at once where they can, for the processor's vectors.
"""

from __future__ import annotations

import numpy as np

from recstream.core.numeric.arrays import Float64s, Int64s
from recstream.core.numeric.jit import compiled

__all__ = ["largest_places", "list_shares"]


@compiled
def list_shares(
    near: Float64s, weights: Float64s, target: Float64s, diagonal: Float64s
) -> Float64s:
    """Return the (n, h) shares ``w_i y_iᵀ A⁻¹ y_j`` of h entries in the scores of n items.

    ``A = diag(diagonal) + Σ_i w_i y_i y_iᵀ``, factored once: ``h d² / 2 + d³ / 6 + n d² + n h d``
    multiply-adds in float64; 0.12 ms for 150 entries, 20 items and 64 factors. A history shorter
    than d is split by its dual, as it is solved, with h and d changing places in that count.

    Parameters
    ----------
    near : (h, d) float64
        The history's item factors y_i.
    weights : (h,) float64
        w_i ≥ 0.
    target : (n, d) float64
        The listed items' factors y_j.
    diagonal : (d,) float64
        Above 0.
    """
    h, d = near.shape
    n = target.shape[0]
    if h < d:
        return _dual_shares(near, weights, target, diagonal)
    lower = np.zeros((d, d))
    _build(near, weights, diagonal, lower)
    _factor(lower)
    solved = target.T.copy()
    _solve(lower, solved)
    across = near.T.copy()
    shares = np.zeros((n, h))
    for j in range(n):
        for a in range(d):
            for i in range(h):
                shares[j, i] += across[a, i] * solved[a, j]
        for i in range(h):
            shares[j, i] *= weights[i]
    return shares


@compiled
def _dual_shares(
    near: Float64s, weights: Float64s, target: Float64s, diagonal: Float64s
) -> Float64s:
    """Return the same shares as ``√w (I + BBᵀ)⁻¹ B D^-½ y_j`` with ``B = √w Y D^-½``."""
    h, d = near.shape
    across = np.empty((d, h))
    for k in range(d):
        for i in range(h):
            across[k, i] = near[i, k] * np.sqrt(weights[i] / diagonal[k])
    lower = np.zeros((h, h))
    _build(across, np.ones(d), np.ones(h), lower)
    _factor(lower)
    shares = np.zeros((target.shape[0], h))
    for j in range(len(shares)):
        for k in range(d):
            part = target[j, k] / np.sqrt(diagonal[k])
            for i in range(h):
                shares[j, i] += across[k, i] * part
    solved = shares.T.copy()
    _solve(lower, solved)
    shares = solved.T.copy()
    for j in range(len(shares)):
        for i in range(h):
            shares[j, i] *= np.sqrt(weights[i])
    return shares


@compiled
def _build(near: Float64s, weights: Float64s, diagonal: Float64s, lower: Float64s) -> None:
    """Fill the lower triangle of A."""
    for a in range(len(diagonal)):
        lower[a, a] = diagonal[a]
    for i in range(len(weights)):
        for a in range(len(diagonal)):
            part = weights[i] * near[i, a]
            for b in range(a + 1):
                lower[a, b] += part * near[i, b]


@compiled
def _factor(lower: Float64s) -> None:
    """Replace A by its Cholesky factor L, A = L Lᵀ."""
    for a in range(len(lower)):
        for b in range(a):
            total = lower[a, b]
            for c in range(b):
                total -= lower[a, c] * lower[b, c]
            lower[a, b] = total / lower[b, b]
        total = lower[a, a]
        for c in range(a):
            total -= lower[a, c] * lower[a, c]
        lower[a, a] = np.sqrt(total)


@compiled
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


@compiled
def largest_places(values: Float64s, n: int) -> Int64s:
    """Return the places of each row's n largest values, the largest first, equal ones in order."""
    places = np.empty((len(values), n), np.int64)
    if n == 0:
        return places
    for row in range(len(values)):
        n_found = 0
        for place in range(values.shape[1]):
            value = values[row, place]
            if n_found == n and not value > values[row, places[row, n - 1]]:
                continue
            at = min(n_found, n - 1)
            while at > 0 and value > values[row, places[row, at - 1]]:
                places[row, at] = places[row, at - 1]
                at -= 1
            places[row, at] = place
            n_found = min(n_found + 1, n)
    return places
