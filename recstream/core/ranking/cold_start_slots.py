"""Step 8 of the flow, compiled: the places of a list that are kept for items nobody has touched yet."""

from __future__ import annotations

import numpy as np

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled
from recstream.core.ranking.exclusion import has
from recstream.core.search import row_of, score_of

__all__ = ["make_way"]


@compiled
def make_way(
    rows: Int32s,
    scores: Float32s,
    n_rows: int,
    room: int,
    pinned: Int32s,
    newcomers: Int64s,
    worth: Float32s,
    newest: float,
    bias: Float32s,
    least: float,
    places: Int32s,
) -> int:
    """Put newcomers at the end, where others were if there is no room; return how many rows there are.

    Parameters
    ----------
    rows, scores
        What the list has chosen, in order, its first ``n_rows``; changed. There is room for ``room``.
    pinned
        Rows of the list beside them.
    newcomers : (f,) int64
        Keys of those that may be listed, the worst first, some of them listed already.
    worth, newest
        Whose worth is not below ``newest`` is a newcomer. Those listed anyway need no place.
    bias, least
        A newcomer whose score without bias is below ``least`` gets none.
    places : (p,) int32
        Written: who got a place. The list then has p newcomers in all, if there are so many.
    """
    n_missing = len(places)
    for at in range(n_rows):
        n_missing -= worth[rows[at]] >= newest
    for at in range(len(pinned)):
        n_missing -= worth[pinned[at]] >= newest
    n_placed = 0
    for at in range(len(newcomers) - 1, -1, -1):
        row, score = row_of(newcomers[at]), score_of(newcomers[at])
        if n_placed >= n_missing or row < 0:
            break
        is_poor = np.float64(score) - np.float64(bias[row]) < least
        if is_poor or has(rows, n_rows, row) or has(pinned, len(pinned), row):
            continue
        if n_rows == room:
            gone = n_rows - 1
            while gone >= 0 and worth[rows[gone]] >= newest:
                gone -= 1
            if gone < 0:
                break
            for after in range(gone, n_rows - 1):
                rows[after], scores[after] = rows[after + 1], scores[after + 1]
            n_rows -= 1
        rows[n_rows], scores[n_rows] = row, score
        n_rows += 1
        places[n_placed] = row
        n_placed += 1
    return n_rows
