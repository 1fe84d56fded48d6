"""Preconditioned conjugate gradients: a few warm-started steps for long rows.

The system is that of `recstream.core.numeric.row_solver`. The preconditioner is its diagonal D, which
rows share up to their ridge. In the whitened system all eigenvalues are one, but for those that the
row's own entries add.
"""

# ruff: noqa: C901, PLR0912, PLR0915  (an inner loop is one function: calls with vectors cost registers)

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.simd import (
    LANES,
    LINE,
    add,
    divide,
    fma,
    lane_sum,
    load,
    multiply,
    negate,
    splat,
    store,
    zero,
)
from recstream.core.numeric.tiles import GROUP, axpy_group, dot_group, prefetch_group

AHEAD = 64
"""Entries of the next row to prefetch; each step fetches a part of their columns."""


@compiled
def cg_steps(
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
    steps: int,
    tolerance: float,
    out: Float32s,
    loss: Float64s,
) -> int:
    """Improve the factors in `out` of every row in `order` by `steps` steps.

    A row whose residual r satisfies ``rᵀD⁻¹r ≤ tolerance · Σ w`` is skipped: the left side bounds
    its excess loss over the minimum.

    Parameters
    ----------
    z, width, spectrum, indptr, indices, weights, fixed_weight, scale, ridge
        The systems; see `recstream.core.numeric.row_solver.solve_dual`.
    tolerance : float
        0 skips no row.
    out : flat float32
        Start and result, `width` numbers a row.
    loss : (n,) float64
        Receives each row's loss.

    Returns
    -------
    int
        Number of skipped rows.
    """
    longest = 0
    for row in order:
        longest = max(longest, indptr[row + 1] - indptr[row])
    padded = (longest + GROUP - 1) // GROUP * GROUP + LANES
    # Two halves: while one row is solved, the next one is prefetched.
    offsets = np.empty(2 * padded, np.int64)
    weight = np.empty(2 * padded, np.float32)
    dots = np.empty(padded, np.float32)
    x = np.empty(width, np.float32)
    r = np.empty(width, np.float32)
    p = np.empty(width, np.float32)
    q = np.empty(width, np.float32)
    skipped = fetched = 0
    part = (width + LINE * steps - 1) // (LINE * steps) * LINE
    for number in range(-1, len(order)):
        ahead = (number + 1) % 2 * padded
        if number + 1 < len(order):
            following = order[number + 1]
            start = indptr[following]
            n = indptr[following + 1] - start
            filled = (n + GROUP - 1) // GROUP * GROUP
            for a in range(n):
                item = np.int64(indices[start + a])
                offsets[ahead + a] = item * width
                weight[ahead + a] = scale[following] * weights[start + a] * fixed_weight[item]
            for a in range(n, filled):
                offsets[ahead + a] = 0
                weight[ahead + a] = 0.0
            fetched = min(filled, AHEAD)
        if number < 0:
            continue
        row = order[number]
        base = number % 2 * padded
        n = indptr[row + 1] - indptr[row]
        filled = (n + GROUP - 1) // GROUP * GROUP
        shift = splat(ridge[row])
        # r = Σ w (1 - zᵀx) z - D x, and the loss at x
        energy = zero()
        for k in range(0, width, LANES):
            value = load(out, row * width + k)
            store(x, k, value)
            weighted = multiply(add(load(spectrum, k), shift), value)
            energy = fma(weighted, value, energy)
            store(r, k, negate(weighted))
        for a in range(0, filled, GROUP):
            dot_group(z, offsets, base + a, x, width, dots, a)
        lost = np.float64(lane_sum(energy))
        total = 0.0
        for a in range(filled):
            miss = np.float32(1.0) - dots[a]
            total += weight[base + a]
            dots[a] = weight[base + a] * miss
            lost += dots[a] * miss
        for a in range(0, filled, GROUP):
            axpy_group(z, offsets, base + a, dots, a, r, width)
        strength = zero()
        for k in range(0, width, LANES):
            residual = load(r, k)
            step = divide(residual, add(load(spectrum, k), shift))
            strength = fma(residual, step, strength)
            store(p, k, step)
        rho = lane_sum(strength)
        if rho <= tolerance * total:
            loss[row] = lost
            skipped += 1
            continue
        for step_number in range(steps):
            for k in range(0, width, LANES):
                store(q, k, multiply(add(load(spectrum, k), shift), load(p, k)))
            begin = min(step_number * part, width)
            end = min(begin + part, width)
            for a in range(0, filled, GROUP):
                if a < fetched:
                    prefetch_group(z, offsets, ahead + a, begin, end)
                dot_group(z, offsets, base + a, p, width, dots, a)
            for a in range(filled):
                dots[a] *= weight[base + a]
            for a in range(0, filled, GROUP):
                axpy_group(z, offsets, base + a, dots, a, q, width)
            curvature = zero()
            for k in range(0, width, LANES):
                curvature = fma(load(p, k), load(q, k), curvature)
            steepness = lane_sum(curvature)
            if not steepness > 0.0:
                break
            length = rho / steepness
            lost -= length * rho
            along = splat(length)
            strength = zero()
            for k in range(0, width, LANES):
                store(x, k, fma(along, load(p, k), load(x, k)))
                residual = fma(negate(along), load(q, k), load(r, k))
                store(r, k, residual)
                step = divide(residual, add(load(spectrum, k), shift))
                strength = fma(residual, step, strength)
            before = rho
            rho = lane_sum(strength)
            if step_number + 1 == steps or rho <= tolerance * total:
                break
            keep = splat(rho / before)
            for k in range(0, width, LANES):
                step = divide(load(r, k), add(load(spectrum, k), shift))
                store(p, k, fma(keep, load(p, k), step))
        for k in range(0, width, LANES):
            store(out, row * width + k, load(x, k))
        loss[row] = lost
    return skipped
