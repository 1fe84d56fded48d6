"""Contributions of a history's entries to the scores of items, with sums in a fixed order.

Published lists carry these numbers, and a replay must give the same bits. A sum of BLAS would depend
on its number of threads. Here each sum runs in the order of its index; inner loops run over many
sums at once, which the compiler vectorises.
"""

import numpy as np

from recstream.core.als.objective import row_terms
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s
from recstream.core.numeric.jit import compiled, helper
from recstream.core.numeric.tiles import (
    PRODUCT_COLUMNS,
    PRODUCT_ROWS,
    add_products,
    subtract_products,
)

CHUNK = 64
"""Entries of a history whose products are added at a time; they stay in the nearest caches."""


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
    items : (n,) int32
    item_weight : (m,) float32
    terms : (6,) float64
        Constants of the objective, see `row_terms`.
    """
    scale, ridge, missing = (
        np.empty(1, np.float32),
        np.empty(1, np.float32),
        np.empty(1, np.float32),
    )
    bounds = np.array([0, len(columns)])
    row_terms(bounds, columns, weights, item_weight, mean, terms, scale, ridge, missing)
    entry_weights = np.empty(len(columns))
    for i in range(len(columns)):
        entry_weights[i] = scale[0] * weights[i] * item_weight[columns[i]]
    diagonal = np.empty(len(spectrum))
    for k in range(len(spectrum)):
        diagonal[k] = spectrum[k] + ridge[0]
    return score_contributions(factors, columns, entry_weights, items, diagonal)


@helper
def score_contributions(  # noqa: C901, PLR0912 - as two kernels, the same steps would compile twice
    factors: Float32s, columns: Int32s, weights: Float64s, items: Int32s, diagonal: Float64s
) -> Float64s:
    """Return the contributions ``w_i y_iᵀ A⁻¹ y_j`` of h entries to the scores of n items, (n, h).

    ``A = diag(diagonal) + Σ_i w_i y_i y_iᵀ``, factored once. Cost: ``h d² / 2 + d³ / 6 + n d² + n h d``
    multiply-adds in float64. For h < d it is the dual, ``√w (I + BBᵀ)⁻¹ B D^-½ y_j`` with
    ``B = √w Y D^-½``: h and d are swapped.

    Parameters
    ----------
    columns, weights : (h,) int32, float64
        The history's items i, and their weights w_i ≥ 0.
    diagonal : (d,) float64
        Above 0.
    """
    h, n, d = len(columns), len(items), len(diagonal)
    is_dual = h < d
    size = h if is_dual else d
    wide, tall, many, square = _padded(d), _padded(h), _padded(n), _padded(size)
    upper, target = np.zeros(square * square), np.zeros(wide * many)
    for c in range(size):
        upper[c * square + c] = 1.0 if is_dual else diagonal[c]
    row = np.empty(d)
    for j in range(n):
        source = factors[items[j]]
        for k in range(d):
            row[k] = source[k] / np.sqrt(diagonal[k]) if is_dual else source[k]
        for k in range(d):
            target[k * many + j] = row[k]
    if is_dual:
        history = np.zeros(wide * tall)
        for i in range(h):
            source, weight = factors[columns[i]], weights[i]
            for k in range(d):
                row[k] = source[k] * np.sqrt(weight / diagonal[k])
            for k in range(d):
                history[k * tall + i] = row[k]
        _add_gramian(history, history, d, upper, square)
    else:
        history, weighted = np.zeros(tall * wide), np.zeros(CHUNK * wide)
        for first in range(0, h, CHUNK):
            chunk = history[first * wide : min(first + CHUNK, h) * wide]
            for i in range(len(chunk) // wide):
                source, weight = factors[columns[first + i]], weights[first + i]
                to = i * wide
                for k in range(d):
                    chunk[to + k] = source[k]
                    weighted[to + k] = weight * chunk[to + k]
            _add_gramian(chunk, weighted, len(chunk) // wide, upper, square)
    _factor(upper, size, square)
    if not is_dual:
        _solve(upper, size, square, target, many)
    products = np.zeros(tall * many)
    a_row, a_step = (1, tall) if is_dual else (wide, 1)
    for i in range(0, h, PRODUCT_ROWS):
        for j in range(0, many, PRODUCT_COLUMNS):
            add_products(
                history, i * a_row, a_row, a_step, target, j, many, d, products, i * many + j, many
            )
    if is_dual:
        _solve(upper, size, square, products, many)
    contributions = np.empty((n, h))
    for i in range(h):
        weight = np.sqrt(weights[i]) if is_dual else weights[i]
        for j in range(n):
            contributions[j, i] = products[i * many + j] * weight
    return contributions


@helper
def _padded(length: int) -> int:
    """Return the next multiple of a tile's size."""
    return (length + PRODUCT_ROWS - 1) // PRODUCT_ROWS * PRODUCT_ROWS


@helper
def _add_gramian(left: Float64s, right: Float64s, length: int, upper: Float64s, width: int) -> None:
    """Add ``left[k, a] · right[k, b]`` to ``upper[a, b]``, k < `length` in order, for b ≥ a.

    Tiles on the diagonal also write below it, where nothing is read.
    """
    for a in range(0, width, PRODUCT_ROWS):
        for b in range(a // PRODUCT_COLUMNS * PRODUCT_COLUMNS, width, PRODUCT_COLUMNS):
            add_products(left, a, 1, width, right, b, width, length, upper, a * width + b, width)


@helper
def _factor(upper: Float64s, size: int, width: int) -> None:
    """Replace the upper triangle of A by its Cholesky factor U, A = Uᵀ U.

    Each element loses the products of the rows above in their order, those of other blocks by tiles.
    """
    for first in range(0, size, PRODUCT_ROWS):
        for b in range(first // PRODUCT_COLUMNS * PRODUCT_COLUMNS, width, PRODUCT_COLUMNS):
            subtract_products(
                upper, first, 1, width, upper, b, width, first, upper, first * width + b, width
            )
        end = min(first + PRODUCT_ROWS, size)
        for c in range(first, end):
            row = upper[c * width : (c + 1) * width]
            root = row[c] = np.sqrt(row[c])
            rest = row[c + 1 :]
            for b in range(len(rest)):
                rest[b] /= root
            for a in range(c + 1, end):
                part, right, below = row[a], row[a:], upper[a * width + a : (a + 1) * width]
                for b in range(len(below)):
                    below[b] -= part * right[b]


@helper
def _solve(upper: Float64s, size: int, width: int, columns: Float64s, n: int) -> None:
    """Replace each of n columns y, of which row k begins at ``k n``, by A⁻¹ y = U⁻¹ U⁻ᵀ y."""
    for first in range(0, size, PRODUCT_ROWS):
        for j in range(0, n, PRODUCT_COLUMNS):
            subtract_products(
                upper, first, 1, width, columns, j, n, first, columns, first * n + j, n
            )
        end = min(first + PRODUCT_ROWS, size)
        for c in range(first, end):
            _divide(columns, c * n, upper[c * width + c], n)
            for a in range(c + 1, end):
                _subtract(columns, a * n, upper[c * width + a], c * n, n)
    last = (size - 1) // PRODUCT_ROWS * PRODUCT_ROWS
    for first in range(last, -1, -PRODUCT_ROWS):
        end = min(first + PRODUCT_ROWS, size)
        for j in range(0, n, PRODUCT_COLUMNS):
            subtract_products(
                upper, first * width + size - 1, width, -1, columns, (size - 1) * n + j, -n, size - end,
                columns, first * n + j, n,
            )  # fmt: skip
        for c in range(end - 1, first - 1, -1):
            _divide(columns, c * n, upper[c * width + c], n)
            for a in range(first, c):
                _subtract(columns, a * n, upper[a * width + c], c * n, n)


@helper
def _divide(values: Float64s, at: int, by: float, n: int) -> None:
    row = values[at : at + n]
    for j in range(n):
        row[j] /= by


@helper
def _subtract(values: Float64s, at: int, part: float, other: int, n: int) -> None:
    row, product = values[at : at + n], values[other : other + n]
    for j in range(n):
        row[j] -= product[j] * part
