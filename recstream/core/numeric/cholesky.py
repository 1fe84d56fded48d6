"""Solve small positive definite systems by Cholesky: one in each SIMD lane, or one alone.

Both ways subtract the same products in the same order, so a system's solution has the same bits.
"""

import numpy as np

from recstream.core.numeric.arrays import Float32s
from recstream.core.numeric.jit import ZERO, compiled, helper
from recstream.core.numeric.simd import (
    LANES,
    divide,
    fma,
    load,
    multiply,
    negate,
    splat,
    square_root,
    store,
    zero,
)

ONE = 1.0


@compiled
def clear_systems(system: Float32s, right: Float32s, n: int) -> None:
    """Set each lane's system to the identity and its right side to zero.

    Systems are packed lower triangles, `LANES` side by side: entry (i, j) of lane l is at
    ``(i (i + 1) / 2 + j) · LANES + l``. A system smaller than n keeps the identity in its last rows,
    which changes no bit of its solution.
    """
    for i in range(n * (n + 1) // 2):
        store(system, i * LANES, zero())
    for i in range(n):
        store(system, (i * (i + 1) // 2 + i) * LANES, splat(ONE))
        store(right, i * LANES, zero())


@compiled
def cholesky_solve(system: Float32s, right: Float32s, n: int) -> None:
    """Solve each lane's positive definite system of size n by Cholesky; overwrites both arguments.

    Left-looking, two columns and four rows at a time; the diagonal holds reciprocals. Each entry
    subtracts its products in the order of columns, so a lane's bits depend neither on `n` nor on
    the other lanes. Cost: n³ / 6 vector multiply-adds.
    """
    j = ZERO
    while j < n:
        two = j + 1 < n
        top = j * (j + 1) // 2 * LANES
        low = (j + 1) * (j + 2) // 2 * LANES
        pivot = load(system, top + j * LANES)
        below = zero()
        corner = zero()
        if two:
            below = load(system, low + j * LANES)
            corner = load(system, low + (j + 1) * LANES)
        for k in range(j):
            a = load(system, top + k * LANES)
            pivot = fma(negate(a), a, pivot)
            if two:
                b = load(system, low + k * LANES)
                below = fma(negate(a), b, below)
                corner = fma(negate(b), b, corner)
        inverse = divide(splat(ONE), square_root(pivot))
        store(system, top + j * LANES, inverse)
        if not two:
            break
        below = multiply(below, inverse)
        store(system, low + j * LANES, below)
        corner = fma(negate(below), below, corner)
        second = divide(splat(ONE), square_root(corner))
        store(system, low + (j + 1) * LANES, second)
        i = j + 2
        while i + 4 <= n:
            _two_columns_of_four(system, i, j, top, low, inverse, second, below)
            i += 4
        while i < n:
            _two_columns_of_one(system, i, j, top, low, inverse, second, below)
            i += 1
        j += 2
    _substitute(system, right, n)


@helper
def _two_columns_of_four(system, i, j, top, low, inverse, second, below):  # type: ignore[no-untyped-def]  # vectors
    """Compute columns j and j + 1 of rows i to i + 3."""
    r0 = i * (i + 1) // 2 * LANES
    r1 = r0 + (i + 1) * LANES
    r2 = r1 + (i + 2) * LANES
    r3 = r2 + (i + 3) * LANES
    here = j * LANES
    a0 = load(system, r0 + here)
    a1 = load(system, r1 + here)
    a2 = load(system, r2 + here)
    a3 = load(system, r3 + here)
    b0 = load(system, r0 + here + LANES)
    b1 = load(system, r1 + here + LANES)
    b2 = load(system, r2 + here + LANES)
    b3 = load(system, r3 + here + LANES)
    for k in range(j):
        at = k * LANES
        p = negate(load(system, top + at))
        q = negate(load(system, low + at))
        v0 = load(system, r0 + at)
        v1 = load(system, r1 + at)
        v2 = load(system, r2 + at)
        v3 = load(system, r3 + at)
        a0 = fma(p, v0, a0)
        a1 = fma(p, v1, a1)
        a2 = fma(p, v2, a2)
        a3 = fma(p, v3, a3)
        b0 = fma(q, v0, b0)
        b1 = fma(q, v1, b1)
        b2 = fma(q, v2, b2)
        b3 = fma(q, v3, b3)
    a0 = multiply(a0, inverse)
    a1 = multiply(a1, inverse)
    a2 = multiply(a2, inverse)
    a3 = multiply(a3, inverse)
    minus = negate(below)
    store(system, r0 + here, a0)
    store(system, r1 + here, a1)
    store(system, r2 + here, a2)
    store(system, r3 + here, a3)
    store(system, r0 + here + LANES, multiply(fma(minus, a0, b0), second))
    store(system, r1 + here + LANES, multiply(fma(minus, a1, b1), second))
    store(system, r2 + here + LANES, multiply(fma(minus, a2, b2), second))
    store(system, r3 + here + LANES, multiply(fma(minus, a3, b3), second))


@helper
def _two_columns_of_one(system, i, j, top, low, inverse, second, below):  # type: ignore[no-untyped-def]  # vectors
    """Compute columns j and j + 1 of row i."""
    row = i * (i + 1) // 2 * LANES
    here = row + j * LANES
    a = load(system, here)
    b = load(system, here + LANES)
    for k in range(j):
        v = load(system, row + k * LANES)
        a = fma(negate(load(system, top + k * LANES)), v, a)
        b = fma(negate(load(system, low + k * LANES)), v, b)
    a = multiply(a, inverse)
    store(system, here, a)
    store(system, here + LANES, multiply(fma(negate(below), a, b), second))


@helper
def _substitute(system: Float32s, right: Float32s, n: int) -> None:
    """Substitute forwards with the factor, then backwards with its transpose."""
    for i in range(n):
        row = i * (i + 1) // 2 * LANES
        rest = load(right, i * LANES)
        for k in range(i):
            rest = fma(negate(load(system, row + k * LANES)), load(right, k * LANES), rest)
        store(right, i * LANES, multiply(rest, load(system, row + i * LANES)))
    for back in range(n):
        i = n - 1 - back
        row = i * (i + 1) // 2 * LANES
        value = multiply(load(right, i * LANES), load(system, row + i * LANES))
        store(right, i * LANES, value)
        minus = negate(value)
        for k in range(i):
            at = k * LANES
            store(right, at, fma(minus, load(system, row + at), load(right, at)))


@helper
def clear_square(square: Float32s, stride: int, n: int) -> None:
    """Set the system of `cholesky_solve_alone` to the identity."""
    square[: n * stride] = 0.0
    for i in range(n):
        square[i * stride + i] = ONE


@compiled
def cholesky_solve_alone(  # noqa: C901, PLR0912 - calls with vectors cost registers
    square: Float32s, stride: int, right: Float32s, n: int
) -> None:
    """Solve one positive definite system of size n by Cholesky; overwrites both arguments.

    For few systems: `cholesky_solve` costs the same for one as for `LANES`.

    Parameters
    ----------
    square : flat float32
        Entry (i, j ≤ i) at ``i · stride + j``. The stride, and the number of rows, are multiples of LANES.
    right : (≥ stride,) float32
        The right side; receives the solution.
    """
    tile = np.empty(LANES, np.float32)
    halfway = np.empty(stride, np.float32)
    for i in range(n):
        for j in range(i):
            square[j * stride + i] = square[i * stride + j]
    for i in range(n, (n + 3) // 4 * 4):
        square[i * stride : (i + 1) * stride] = 0.0
        square[i * stride + i] = ONE
        for j in range(i):
            square[j * stride + i] = 0.0
    for j in range(0, n, 4):
        start = j // LANES * LANES
        for at in range(start, n, LANES):
            _subtract_rows(square, stride, j, at)
        for row in range(j, j + 4):
            inverse = divide(splat(ONE), square_root(splat(square[row * stride + row])))
            for at in range(start, n, LANES):
                values = multiply(load(square, row * stride + at), inverse)
                store(square, row * stride + at, values)
                for below in range(row + 1, j + 4):
                    minus = negate(splat(square[row * stride + below]))
                    rest = fma(minus, values, load(square, below * stride + at))
                    store(square, below * stride + at, rest)
            store(tile, 0, inverse)
            square[row * stride + row] = tile[0]
    for k in range(n):
        value = right[k] * square[k * stride + k]
        halfway[k] = value
        for at in range(k // LANES * LANES, n, LANES):
            minus = negate(load(square, k * stride + at))
            store(right, at, fma(minus, splat(value), load(right, at)))
        for i in range(k + 1, n):
            square[i * stride + k] = square[k * stride + i]
    for back in range(n):
        i = n - 1 - back
        value = halfway[i] * square[i * stride + i]
        right[i] = value
        minus = negate(splat(value))
        for at in range(0, i, LANES):
            store(halfway, at, fma(minus, load(square, i * stride + at), load(halfway, at)))


@helper
def _subtract_rows(square, stride, j, at):  # type: ignore[no-untyped-def]  # vectors
    """Subtract the products of the rows above j from a block of rows j to j + 3."""
    here = j * stride + at
    a0 = load(square, here)
    a1 = load(square, here + stride)
    a2 = load(square, here + 2 * stride)
    a3 = load(square, here + 3 * stride)
    for k in range(j):
        values = load(square, k * stride + at)
        by = k * stride + j
        a0 = fma(negate(splat(square[by])), values, a0)
        a1 = fma(negate(splat(square[by + 1])), values, a1)
        a2 = fma(negate(splat(square[by + 2])), values, a2)
        a3 = fma(negate(splat(square[by + 3])), values, a3)
    store(square, here, a0)
    store(square, here + stride, a1)
    store(square, here + 2 * stride, a2)
    store(square, here + 3 * stride, a3)
