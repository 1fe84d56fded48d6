"""Excluded items of each user: already seen, or cooling down after repeated impressions.

Impression fatigue: an item that was shown `min_impressions` times without another event of the user cools
down. It is listed only if too few other items are eligible.
"""

from collections.abc import Sequence

import numpy as np

from recstream.core.columns import IdRows
from recstream.core.history import History
from recstream.core.numeric.jit import compiled, helper, interpretable
from recstream.core.ranking.batch import RowLists


def cooling_rows(histories: Sequence[History], rows: IdRows, min_impressions: int) -> RowLists:
    """Return each user's items with so many impressions, in any order, -1 for unknown ones."""
    indptr = np.zeros(len(histories) + 1, np.int64)
    found: list[str] = []
    for at, history in enumerate(histories, start=1):
        found += [item for item, count in history.impressions if count >= min_impressions]
        indptr[at] = len(found)
    return RowLists(indptr, rows.rows_of(found))


@interpretable
@compiled
def excluded_rows(seen: RowLists, found: RowLists) -> tuple[RowLists, RowLists]:
    """Return each user's excluded rows, and those of them that cool down.

    Parameters
    ----------
    found : RowLists
        Rows that cool down in any order, possibly repeated, -1 for unknown items.
    """
    cooling = sorted_rows(found)
    return merged_rows(seen, cooling), cooling


@helper
def sorted_rows(found: RowLists) -> RowLists:
    """Return each user's distinct rows in ascending order, without those below 0."""
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
                for shift in range(n_kept, place, -1):
                    kept[shift] = kept[shift - 1]
                kept[place] = rows[at]
                n_kept += 1
        kept_indptr[u + 1] = n_kept
    return RowLists(kept_indptr, kept[:n_kept].copy())


@helper
def merged_rows(ones: RowLists, others: RowLists) -> RowLists:
    """Return the union of two tables for each user, in ascending order."""
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
