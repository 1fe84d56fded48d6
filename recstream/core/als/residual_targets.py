"""Step 5 of the flow: what is left for a row's entries to say when the row has a prior."""

from __future__ import annotations

import numpy as np

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled

__all__ = ["aim"]


@compiled
def aim(
    fixed: Float32s, indptr: Int64s, indices: Int32s, centre: Float32s, targets: Float32s
) -> None:
    """Fill each entry's target: one, less what the row's centre already gives.

    Summed in float64 in the order of the factors, so an entry's bits depend on nothing else.
    """
    for row in range(len(indptr) - 1):
        for a in range(indptr[row], indptr[row + 1]):
            given = np.float64(0.0)
            for k in range(fixed.shape[1]):
                given += np.float64(fixed[indices[a], k]) * np.float64(centre[row, k])
            targets[a] = np.float32(1.0 - given)
