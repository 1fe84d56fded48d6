"""Exact solutions of rows by Cholesky, `LANES` rows at a time.

A row's system is ``(D + Σ w z zᵀ) x = Σ w t z``. D is the diagonal ``spectrum + ridge``,
``w = scale · weight · fixed_weight``, and the targets t are one unless the row has a prior.
With ``B = √w z D^-½`` (n × d) it is solved as

* the dual, ``x = D^-½ Bᵀ (I + BBᵀ)⁻¹ √w t``, an n × n system, by `solve_dual`, or
* the primal, ``x = D^-½ (I + BᵀB)⁻¹ Bᵀ √w t``, a d × d system, by `solve_primal`.

A row's loss is ``Σ w t² - (Σ w t z)ᵀ x``. One small system can't fill the SIMD units, so one system
lies in each lane. Where most lanes would be empty, rows are solved one by one (`ALONE`), with the same
bits.
"""

# ruff: noqa: C901, PLR0912, PLR0915  (an inner loop is one function: calls with vectors cost registers)

import math

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.cholesky import (
    cholesky_solve,
    cholesky_solve_alone,
    clear_square,
    clear_systems,
)
from recstream.core.numeric.jit import ZERO, compiled, helper
from recstream.core.numeric.simd import (
    LANES,
    LINE,
    add,
    divide,
    load,
    multiply,
    prefetch,
    splat,
    square_root,
    store,
    zero,
)
from recstream.core.numeric.tiles import (
    DOT_ROWS,
    GROUP,
    OUTER_COLUMNS,
    OUTER_ROWS,
    axpy_group,
    dot_tile,
    outer_tile,
)

ONE = 1.0
ONE32 = np.float32(1.0)
ALONE = 16
"""The rows of a group are solved one by one if their number times this is at most the systems' size."""
CHUNK = 64
"""Entries of a row that the primal multiplies at a time; they stay in the L1 cache."""


@compiled
def solve_dual(
    z: Float32s,
    width: int,
    spectrum: Float32s,
    order: Int64s,
    indptr: Int64s,
    indices: Int32s,
    weights: Float32s,
    fixed_weight: Float32s,
    scale: Float32s,
    ridge: Float32s,
    targets: Float32s,
    out: Float32s,
    loss: Float64s,
) -> None:
    """Solve the rows in `order` by their duals; fastest when sorted by length.

    Parameters
    ----------
    z, out : flat float32
        Factors of the fixed side and of the rows, `width` numbers each, a multiple of LANES.
    spectrum : (width,) float32
        Positive where `z` is padding.
    order : (k,) int64
        Rows to solve.
    indptr, indices, weights : (n + 1,) int64, (nnz,) int32, (nnz,) float32
        CSR matrix of the rows' entries.
    fixed_weight : (m,) float32
        Separable weight of the fixed side.
    scale, ridge : (n,) float32
        See `recstream.core.als.objective.row_terms`.
    targets : (nnz,) float32
        Target t of each entry; empty for ones.
    loss : (n,) float64
        Receives each row's loss.

    Cost: ``n² width / 2 + n³ / 6`` multiply-adds a row.
    """
    has_targets = len(targets) > 0
    longest = 0
    for row in order:
        longest = max(longest, indptr[row + 1] - indptr[row])
    padded = (longest + GROUP - 1) // GROUP * GROUP
    stride = (longest + LANES - 1) // LANES * LANES
    square, alone = np.empty(stride * stride, np.float32), np.empty(stride, np.float32)
    system = np.empty(longest * (longest + 1) // 2 * LANES, np.float32)
    right = np.empty(longest * LANES, np.float32)
    roots = np.empty(padded * LANES, np.float32)
    scaled = np.empty(padded * width, np.float32)
    inverse = np.empty(width, np.float32)
    factors = np.empty(padded, np.float32)
    offsets = np.empty(padded, np.int64)
    tile = np.empty(LANES, np.float32)
    total = np.empty(width, np.float32)
    for first in range(0, len(order), LANES):
        group = order[first : first + LANES]
        size = ZERO
        for row in group:
            size = max(size, indptr[row + 1] - indptr[row])
        is_alone = len(group) * ALONE <= size
        if not is_alone:
            clear_systems(system, right, size)
        for lane in range(len(group)):
            row = group[lane]
            start = indptr[row]
            n = indptr[row + 1] - start
            _whitening(spectrum, ridge[row], inverse)
            for a in range(n):
                item = np.int64(indices[start + a])
                root = math.sqrt(scale[row] * weights[start + a] * fixed_weight[item])
                roots[lane * padded + a] = root
                target = targets[start + a] if has_targets else ONE32
                right[a * LANES + lane] = root * target
                _scale_row(z, item * width, root, inverse, scaled, a * width)
            if is_alone:
                clear_square(square, stride, n)
            for at in range(n * width, (n + GROUP - 1) // GROUP * GROUP * width, LANES):
                store(scaled, at, zero())
            # The next row's factors are fetched while this row's products are computed.
            following = order[min(first + lane + 1, len(order) - 1)]
            ahead = indptr[following]
            end = indptr[following + 1]
            for i in range(0, n, DOT_ROWS):
                for a in range(ahead + i, min(ahead + i + DOT_ROWS, end)):
                    begin = np.int64(indices[a]) * width
                    for k in range(begin, begin + width, LINE):
                        prefetch(z, k)
                for j in range(0, min(i + DOT_ROWS, n), 4):
                    dot_tile(scaled, i * width, j * width, width, width, tile)
                    for k in range(i, min(i + DOT_ROWS, n)):
                        at = (k * (k + 1) // 2 + j) * LANES + lane
                        for m in range(min(4, k - j + 1)):
                            if is_alone:
                                square[k * stride + j + m] += tile[(k - i) * 4 + m]
                            else:
                                system[at + m * LANES] += tile[(k - i) * 4 + m]
            if is_alone:
                _solve_alone(square, stride, alone, n, right, lane)
        if not is_alone:
            cholesky_solve(system, right, size)
        for lane in range(len(group)):
            row = group[lane]
            start = indptr[row]
            n = indptr[row + 1] - start
            lost = 0.0
            filled = (n + GROUP - 1) // GROUP * GROUP
            for a in range(n):
                root = roots[lane * padded + a]
                value = right[a * LANES + lane]
                lost += root * (targets[start + a] if has_targets else ONE32) * value
                factors[a] = root * value
                offsets[a] = np.int64(indices[start + a]) * width
            for a in range(n, filled):
                factors[a] = 0.0
                offsets[a] = 0
            loss[row] = lost
            for k in range(0, width, LANES):
                store(total, k, zero())
            for a in range(0, filled, GROUP):
                axpy_group(z, offsets, a, factors, a, total, width)
            added = splat(ridge[row])
            for k in range(0, width, LANES):
                store(out, row * width + k, divide(load(total, k), add(load(spectrum, k), added)))


@compiled
def solve_primal(
    z: Float32s,
    width: int,
    n_factors: int,
    spectrum: Float32s,
    order: Int64s,
    indptr: Int64s,
    indices: Int32s,
    weights: Float32s,
    fixed_weight: Float32s,
    scale: Float32s,
    ridge: Float32s,
    targets: Float32s,
    out: Float32s,
    loss: Float64s,
) -> None:
    """Solve the rows in `order` by their primals.

    Parameters
    ----------
    n_factors : int
        Number of factors d; the others up to `width` are padding.
    z, width, spectrum, order, indptr, indices, weights : as in `solve_dual`
    fixed_weight, scale, ridge, targets, out, loss : as in `solve_dual`

    Cost: ``n d² / 2 + d³ / 6`` multiply-adds a row.
    """
    has_targets = len(targets) > 0
    d = n_factors
    wide = (width + OUTER_COLUMNS - 1) // OUTER_COLUMNS * OUTER_COLUMNS
    system = np.empty(d * (d + 1) // 2 * LANES, np.float32)
    right = np.empty(d * LANES, np.float32)
    inverse = np.empty(width, np.float32)
    # Rows a power of two apart would compete for a few cache sets.
    stride = wide + LANES
    scaled = np.zeros(CHUNK * stride, np.float32)
    roots = np.empty(CHUNK, np.float32)
    offsets = np.empty(CHUNK, np.int64)
    for a in range(CHUNK):
        offsets[a] = a * stride
    gramian = np.empty((wide + OUTER_ROWS) * wide, np.float32)
    total, alone = np.empty(wide, np.float32), np.empty(wide, np.float32)
    for first in range(0, len(order), LANES):
        group = order[first : first + LANES]
        is_alone = len(group) * ALONE <= d
        if not is_alone:
            clear_systems(system, right, d)
        for lane in range(len(group)):
            row = group[lane]
            _whitening(spectrum, ridge[row], inverse)
            gramian[:] = 0.0
            total[:] = 0.0
            observed = 0.0
            for start in range(indptr[row], indptr[row + 1], CHUNK):
                n = min(CHUNK, indptr[row + 1] - start)
                for a in range(n):
                    item = np.int64(indices[start + a])
                    weight = scale[row] * weights[start + a] * fixed_weight[item]
                    target = targets[start + a] if has_targets else ONE32
                    observed += weight * target * target
                    root = math.sqrt(weight)
                    roots[a] = root * target
                    _scale_row(z, item * width, root, inverse, scaled, a * stride)
                filled = (n + GROUP - 1) // GROUP * GROUP
                roots[n:filled] = 0.0
                for a in range(0, filled, GROUP):
                    axpy_group(scaled, offsets, a, roots, a, total, width)
                for i in range(0, width, OUTER_ROWS):
                    for j in range(0, min(i + OUTER_ROWS, width), OUTER_COLUMNS):
                        at = i * wide + j
                        outer_tile(scaled, i, 1, stride, scaled, j, stride, n, gramian, at, wide)
            loss[row] = observed
            for i in range(d):
                # The loss needs the right side again: keep it in the output row.
                right[i * LANES + lane] = out[row * width + i] = total[i]
                if is_alone:
                    gramian[i * wide + i] += ONE32
                    continue
                at = i * (i + 1) // 2 * LANES + lane
                for j in range(i + 1):
                    system[at + j * LANES] += gramian[i * wide + j]
            if is_alone:
                _solve_alone(gramian, wide, alone, d, right, lane)
        if not is_alone:
            cholesky_solve(system, right, d)
        for lane in range(len(group)):
            row = group[lane]
            _whitening(spectrum, ridge[row], inverse)
            explained = 0.0
            for k in range(d):
                value = right[k * LANES + lane]
                explained += out[row * width + k] * value
                out[row * width + k] = value * inverse[k]
            for k in range(d, width):
                out[row * width + k] = 0.0
            loss[row] -= explained


@helper
def _solve_alone(
    square: Float32s, stride: int, alone: Float32s, n: int, right: Float32s, lane: int
) -> None:
    """Solve one system whose right side is in a lane, and write the solution there."""
    for i in range(n):
        alone[i] = right[i * LANES + lane]
    cholesky_solve_alone(square, stride, alone, n)
    for i in range(n):
        right[i * LANES + lane] = alone[i]


@helper
def _whitening(spectrum: Float32s, ridge: float, inverse: Float32s) -> None:
    """Fill `inverse` with ``(spectrum + ridge)^-½``."""
    for k in range(0, len(inverse), LANES):
        diagonal = add(load(spectrum, k), splat(ridge))
        store(inverse, k, divide(splat(ONE), square_root(diagonal)))


@helper
def _scale_row(
    z: Float32s, at: np.int64, root: float, inverse: Float32s, scaled: Float32s, to: int
) -> None:
    """Copy one row of factors times ``root · inverse``."""
    times = splat(root)
    for k in range(0, len(inverse), LANES):
        store(scaled, to + k, multiply(multiply(load(z, at + k), load(inverse, k)), times))
