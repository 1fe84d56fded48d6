"""Step 8 of the flow, compiled: the rows that lists of a batch leave out: seen, and resting for now."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.arrays import Int32s
from recstream.core.numeric.jit import compiled
from recstream.core.ranking.batch import RowLists

__all__ = ["has", "left_out", "may_list", "merged_rows", "sorted_rows"]

Bools = NDArray[np.bool_]


@compiled
def left_out(seen: RowLists, found: RowLists) -> tuple[RowLists, RowLists]:
    """Return what base lists leave out, and what rests, of each user.

    ``found`` names what rests in any order, repeated or below 0 where nothing is known.
    """
    resting = sorted_rows(found)
    return merged_rows(seen, resting), resting


@compiled
def sorted_rows(found: RowLists) -> RowLists:
    """Return each user's rows ascending and once each, those below 0 left out."""
    indptr, rows = found
    kept_indptr, kept = np.zeros_like(indptr), np.empty_like(rows)
    n_kept = 0
    for u in range(len(indptr) - 1):
        first = n_kept
        for at in range(indptr[u], indptr[u + 1]):
            place = n_kept
            while place > first and kept[place - 1] > rows[at]:
                place -= 1
            if rows[at] >= 0 and (place == first or kept[place - 1] != rows[at]):
                for after in range(n_kept, place, -1):
                    kept[after] = kept[after - 1]
                kept[place] = rows[at]
                n_kept += 1
        kept_indptr[u + 1] = n_kept
    return RowLists(kept_indptr, kept[:n_kept].copy())


@compiled
def merged_rows(ones: RowLists, others: RowLists) -> RowLists:
    """Return what either of two tables has for each user, ascending as they are."""
    indptr, rows = ones
    more_indptr, more = others
    both_indptr, both = np.zeros_like(indptr), np.empty(len(rows) + len(more), np.int32)
    n_both = 0
    for u in range(len(indptr) - 1):
        at, end = indptr[u], indptr[u + 1]
        other, other_end = more_indptr[u], more_indptr[u + 1]
        while at < end or other < other_end:
            takes = other == other_end or (at < end and rows[at] <= more[other])
            row = rows[at] if takes else more[other]
            at += at < end and rows[at] == row
            other += other < other_end and more[other] == row
            both[n_both] = row
            n_both += 1
        both_indptr[u + 1] = n_both
    return RowLists(both_indptr, both[:n_both].copy())


@compiled
def _find(rows: Int32s, first: int, end: int, row: int) -> int:
    """Return where a row is in ``rows[first:end]``, -1 if it is not."""
    while first < end:
        middle = (first + end) >> 1
        if rows[middle] < row:
            first = middle + 1
        elif rows[middle] > row:
            end = middle
        else:
            return middle
    return -1


@compiled
def may_list(row: int, mask: Bools, seen: Int32s) -> bool:
    """Return whether an item is neither left out nor seen."""
    return (len(mask) == 0 or mask[row]) and _find(seen, 0, len(seen), row) < 0


@compiled
def has(rows: Int32s, n_rows: int, row: int) -> bool:
    """Return whether a row is among the first ones of others."""
    for at in range(n_rows):  # noqa: SIM110 - compiled
        if rows[at] == row:
            return True
    return False
