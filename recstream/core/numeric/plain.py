"""Step 5–7 of the flow without SIMD: the row solver in plain numba, for any processor.

The same equations as the fast kernels, one row at a time, one number at a time. It is what runs
where the processor lacks AVX2, and a second opinion for the tests.
"""

# ruff: noqa: C901, PLR0912  (an inner loop is one function: calls with vectors cost registers)

from __future__ import annotations

import math

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled


@compiled
def solve_plain(
    fixed: Float32s,
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
    """Solve the rows named in `order` exactly, writing their factors and their loss.

    A row's system is ``(D + Σ w z zᵀ) x = Σ w t z`` with the diagonal ``D = spectrum + ridge``,
    ``w = scale · weight · fixed_weight`` and targets t (no `targets`: ones). With
    ``B = √w z D^-½`` (n × d) it is either the primal ``(I + BᵀB) D^½ x = Bᵀ√w t`` (d × d) or, for
    n ≤ d, the dual ``x = D^-½ Bᵀ (I + BBᵀ)⁻¹ √w t`` (n × n).

    Cost: ``min(n, d)² max(n, d) + min(n, d)³ / 3`` flops a row.
    """
    d = fixed.shape[1]
    longest = 0
    for row in order:
        longest = max(longest, indptr[row + 1] - indptr[row])
    size = min(longest, d)
    system = np.empty((size, size), np.float64)
    right = np.empty(size, np.float64)
    scaled = np.empty((longest, d), np.float32)
    root = np.empty(longest, np.float32)
    aim = np.empty(longest, np.float32)
    aimed = len(targets) > 0
    for row in order:
        start = indptr[row]
        n = indptr[row + 1] - start
        total = np.float64(0.0)
        for a in range(n):
            item = indices[start + a]
            w = scale[row] * weights[start + a] * fixed_weight[item]
            root[a] = math.sqrt(w)
            aim[a] = root[a] * targets[start + a] if aimed else root[a]
            total += w * targets[start + a] ** 2 if aimed else w
            for k in range(d):
                scaled[a, k] = root[a] * fixed[item, k] / math.sqrt(spectrum[k] + ridge[row])
        if n <= d:
            m = n
            for a in range(m):
                right[a] = aim[a]
                for b in range(a + 1):
                    dot = np.float32(0.0)
                    for k in range(d):
                        dot += scaled[a, k] * scaled[b, k]
                    system[a, b] = dot
                system[a, a] += 1.0
        else:
            m = d
            system[:m, :m] = 0.0
            right[:m] = 0.0
            for a in range(n):
                for k in range(d):
                    right[k] += aim[a] * scaled[a, k]
                    for j in range(k + 1):
                        system[k, j] += scaled[a, k] * scaled[a, j]
            for k in range(d):
                system[k, k] += 1.0
        _solve_in_place(system, right, m)
        gain = np.float64(0.0)
        if n <= d:
            out[row, :] = 0.0
            for a in range(n):
                gain += aim[a] * (aim[a] - right[a])
                for k in range(d):
                    out[row, k] += np.float32(right[a]) * scaled[a, k]
        else:
            for k in range(d):
                out[row, k] = right[k]
            for a in range(n):
                for k in range(d):
                    gain += aim[a] * scaled[a, k] * right[k]
        for k in range(d):
            out[row, k] /= math.sqrt(spectrum[k] + ridge[row])
        loss[row] = total - gain


@compiled
def _solve_in_place(system: Float64s, right: Float64s, m: int) -> None:
    """Solve a positive definite system by Cholesky; both arguments are overwritten."""
    for i in range(m):
        for j in range(i + 1):
            rest = system[i, j]
            for k in range(j):
                rest -= system[i, k] * system[j, k]
            system[i, j] = math.sqrt(rest) if i == j else rest / system[j, j]
        rest = right[i]
        for k in range(i):
            rest -= system[i, k] * right[k]
        right[i] = rest / system[i, i]
    for back in range(m):
        i = m - 1 - back
        rest = right[i]
        for k in range(i + 1, m):
            rest -= system[k, i] * right[k]
        right[i] = rest / system[i, i]
