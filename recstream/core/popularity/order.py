"""Order of entries in which popularity counts them: by time."""

import numpy as np

from recstream.core.numeric.arrays import Int64s

POPULARITY_VERSION = 2
"""Version of `in_order`; 1 for generations that record none."""
_GOLDEN = 0.6180339887498949
"""Fractions of its multiples spread evenly: no two rows begin at the same place."""


def in_order(rows: Int64s, times: np.ndarray, version: int = POPULARITY_VERSION) -> Int64s:
    """Return item rows by time.

    Entries of one time have no order. In version 1 they are ordered by row: then all entries of an item
    follow each other, and a memory of one event seems to predict the next one. From version 2 on, the
    n entries of an item at one time are spread over the entries of that time, the k-th at ``(k + f) / n``.
    f is a fraction of its own for each row. Without an item that occurs twice they are ordered by row.

    Parameters
    ----------
    rows : (n,) int
    times : (n,) int or float

    >>> in_order(np.array([2, 1, 1, 1, 1, 2]), np.array([7, 7, 7, 7, 7, 7]))
    array([2, 1, 1, 2, 1, 1])
    """
    ordered, when = _by_time_then_row(rows, times)
    is_later = when[1:] != when[:-1]
    is_again = (ordered[1:] == ordered[:-1]) & ~is_later
    if version < 2 or not is_again.any():  # noqa: PLR2004
        return ordered
    group = np.concatenate([[0], np.cumsum(is_later)])
    at = np.flatnonzero((np.bincount(group[1:], is_again, group[-1] + 1) > 0.0)[group])
    tied, group = ordered[at], group[at]
    is_first = np.concatenate([[True], (tied[1:] != tied[:-1]) | (group[1:] != group[:-1])])
    starts = np.flatnonzero(is_first)
    run, n_each = np.cumsum(is_first) - 1, np.diff(starts, append=len(at))
    place = (np.arange(len(at)) - starts[run] + np.mod(tied * _GOLDEN, 1.0)) / n_each[run]
    ordered[at] = tied[np.lexsort((place, group))]
    return ordered


def _by_time_then_row(rows: Int64s, times: np.ndarray) -> tuple[Int64s, np.ndarray]:
    """Return rows and times by time, then row; in one sort of numbers where both fit in 63 bits."""
    n_bits = int(rows.max(initial=0)).bit_length()
    are_ints = rows.dtype.kind + times.dtype.kind == "ii"
    first = int(times.min()) if are_ints and len(rows) else 0
    is_small = are_ints and len(rows) and rows.min() >= 0
    if not is_small or (int(times.max()) - first).bit_length() + n_bits > 63:  # noqa: PLR2004 - without the sign
        order = np.lexsort((rows, times))
        return rows[order], times[order]
    keys = times.astype(np.int64)
    keys -= first
    keys <<= n_bits
    keys |= rows
    keys.sort()
    return keys & ((1 << n_bits) - 1), keys >> n_bits
