"""Weighted gramian of factors, and rotation of factors.

Both sum in a fixed order. With BLAS the order would depend on the number of threads and on a row's
position.
"""

import math

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.numeric.simd import LANES, load, multiply, splat, store, zero
from recstream.core.numeric.tiles import OUTER_COLUMNS, OUTER_ROWS, outer_tile

CHUNK = 256
"""Rows whose products are summed in float32 before they join the float64 sum."""
BLOCK = 72
"""Rows that one panel of a rotation is applied to while it is in the L1 cache."""


@compiled
def add_gramian(
    z: Float32s, width: int, missing: Float32s, start: int, stop: int, gramian: Float64s
) -> None:
    """Add ``Σ m zᵀz`` over rows start to stop to the lower triangle of `gramian`.

    Parameters
    ----------
    z : flat float32
        Factors, `width` numbers a row.
    missing : (n,) float32
        Weight m of each row.
    gramian : (≥ width, wide) float64
        ``wide`` is a multiple of OUTER_COLUMNS. Entries above the diagonal are not meaningful.
    """
    wide = gramian.shape[1]
    # Rows a power of two apart would compete for a few cache sets.
    stride = wide + LANES
    scaled = np.zeros(CHUNK * stride, np.float32)
    panel = np.empty(CHUNK * OUTER_COLUMNS, np.float32)
    part = np.empty((wide + OUTER_ROWS) * wide, np.float32)
    for first in range(start, stop, CHUNK):
        n = min(CHUNK, stop - first)
        for a in range(n):
            times = splat(math.sqrt(missing[first + a]))
            for k in range(0, width, LANES):
                store(scaled, a * stride + k, multiply(load(z, (first + a) * width + k), times))
        part[:] = 0.0
        for j in range(0, width, OUTER_COLUMNS):
            for a in range(n):
                for k in range(0, OUTER_COLUMNS, LANES):
                    store(panel, a * OUTER_COLUMNS + k, load(scaled, a * stride + j + k))
            for i in range(j // OUTER_ROWS * OUTER_ROWS, width, OUTER_ROWS):
                at = i * wide + j
                outer_tile(scaled, i, 1, stride, panel, 0, OUTER_COLUMNS, n, part, at, wide)
        for i in range(width):
            for j in range(i + 1):
                gramian[i, j] += part[i * wide + j]


def panels(rotation: Float64s, width: int) -> Float32s:
    """Return a d × d rotation as flat float32 column panels, for `rotate_rows`."""
    d = len(rotation)
    wide = -(-width // OUTER_COLUMNS) * OUTER_COLUMNS
    padded = np.zeros((width, wide), np.float32)
    padded[:d, :d] = rotation
    cut = padded.reshape(width, wide // OUTER_COLUMNS, OUTER_COLUMNS).transpose(1, 0, 2)
    return np.ascontiguousarray(cut).reshape(-1)


@compiled
def rotate_rows(z: Float32s, width: int, rotation: Float32s, rows: Int64s) -> None:
    """Multiply the listed rows by a rotation (from `panels`), in place."""
    wide = (width + OUTER_COLUMNS - 1) // OUTER_COLUMNS * OUTER_COLUMNS
    before = np.zeros(BLOCK * width, np.float32)
    after = np.empty(BLOCK * wide, np.float32)
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        for i in range(len(block)):
            for k in range(0, width, LANES):
                store(before, i * width + k, load(z, block[i] * width + k))
        for k in range(0, BLOCK * wide, LANES):
            store(after, k, zero())
        for j in range(0, wide, OUTER_COLUMNS):
            for i in range(0, len(block), OUTER_ROWS):
                at = i * wide + j
                outer_tile(
                    before, i * width, width, 1,
                    rotation, j * width, OUTER_COLUMNS, width,
                    after, at, wide,
                )  # fmt: skip
        for i in range(len(block)):
            for k in range(0, width, LANES):
                store(z, block[i] * width + k, load(after, i * wide + k))
