"""The training matrix: histories as CSR rows."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.columns import IdRows
from recstream.core.history.fold import FADE_ENTRIES, Entry, History
from recstream.core.history.pages import Page
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s, Int64s, csr_of
from recstream.core.numeric.jit import compiled, helper, interpretable_below

Row = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Columns, ascending and distinct, and their weights: a `matrix_row`."""


def stack(rows: Sequence[Row], n_columns: int) -> sparse.csr_matrix:
    """Return rows as one CSR matrix (len(rows), n_columns), explicit zeros kept.

    >>> row = (np.array([0, 2], np.int32), np.array([1.0, 0.5], np.float32))
    >>> stack([row, row], 3).toarray().tolist()
    [[1.0, 0.0, 0.5], [1.0, 0.0, 0.5]]
    """
    lengths = np.fromiter((len(columns) for columns, _ in rows), np.int64, len(rows))
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    indices = np.concatenate([columns for columns, _ in rows]) if rows else np.empty(0, np.int32)
    weights = np.concatenate([values for _, values in rows]) if rows else np.empty(0, np.float32)
    return csr_of(indptr, indices, weights, n_columns)


def matrix_row(history: History, index: Mapping[str, int], half_life_ms: float) -> Row:
    """Return a history as a row of the matrix: (columns int32 ascending, weights float32 ≥ 0).

    An entry's weight decays by time, up to the history's own clock, and by the number of newer entries,
    with a half-life of `FADE_ENTRIES`. So raters who come once and shoppers who come weekly need no
    different settings. Items that the index lacks are skipped. A weight of zero (disliked, rated low, or
    decayed) marks an item as seen and adds nothing else. Training and fold-in share `matrix_rows`, so that
    a user's row is the same in both.
    """
    _, columns, weights = history_rows([history], index, half_life_ms)
    return columns, weights


def history_rows(
    histories: Sequence[History], index: Mapping[str, int], half_life_ms: float
) -> tuple[Int64s, Int32s, Float32s]:
    """Return the `matrix_row` of each history: (indptr, columns, weights) of a CSR matrix."""
    pages = [page for history in histories for page in history.pages]
    found = _page_columns(pages, index)
    ends = list(itertools.accumulate([len(each.rows) for each in found], initial=0))
    last = list(itertools.accumulate([len(history.pages) for history in histories], initial=0))
    return matrix_rows(
        np.array([ends[at] for at in last]),
        np.concatenate([_NOTHING.rows, *[each.rows for each in found]]),
        np.concatenate([_NOTHING.weights, *[each.weights for each in found]]),
        np.concatenate([_NOTHING.at_ms, *[each.at_ms for each in found]]),
        np.array([history.clock_ms for history in histories], np.int64),
        half_life_ms,
    )


class PageColumns(NamedTuple):
    """The entries of a page as arrays.

    Attributes
    ----------
    rows : (n,) int32
        Rows of the items, -1 for unknown ones.
    weights, at_ms : (n,) float64, int64
    state : object
        `IdTable.state` of the index that gave the rows.
    """

    rows: Int32s
    weights: Float64s
    at_ms: Int64s
    state: object


_NOTHING = PageColumns(np.empty(0, np.int32), np.empty(0), np.empty(0, np.int64), None)


def _page_columns(
    pages: Sequence[Mapping[str, Entry]], index: Mapping[str, int]
) -> list[PageColumns]:
    """Return the arrays of pages; a `Page` keeps them until the index changes."""
    if not isinstance(index, IdRows):
        return _new_columns(pages, index, None)
    state = index.state
    _follow_changes(pages, index, state)
    kept = [getattr(page, "columns", None) or _NOTHING for page in pages]
    missing = [page for page, each in zip(pages, kept, strict=True) if each.state is not state]
    new = iter(_new_columns(missing, index, state))
    found = [each if each.state is state else next(new) for each in kept]
    for page, columns in zip(pages, found, strict=True):
        if isinstance(page, Page):
            page.columns, page.before = columns, None
    return found


def _follow_changes(pages: Sequence[Mapping[str, Entry]], index: IdRows, state: object) -> None:
    """Give arrays to pages that differ by one entry from a page with arrays."""
    changed = [
        (page, *before)
        for page in pages
        if (before := getattr(page, "before", None)) is not None
        and before[0].state is state
        and before[1] in page
    ]
    new_rows = index.rows_of([item for _, _, item in changed]) if changed else _NOTHING.rows
    for (page, old, item), row in zip(changed, new_rows.tolist(), strict=True):
        n, at, entry = len(old.rows), list(page).index(item), page[item]
        rows, weights, at_ms = (np.empty(len(page), each.dtype) for each in old[:3])
        rows[:n], weights[:n], at_ms[:n] = old[:3]
        rows[at], weights[at], at_ms[at] = row, entry.weight, entry.at_ms
        page.columns = PageColumns(rows, weights, at_ms, state)


def _new_columns(
    pages: Sequence[Mapping[str, Entry]], index: Mapping[str, int], state: object
) -> list[PageColumns]:
    """Return the arrays of pages, read from their entries."""
    if not pages:
        return []
    names = [name for page in pages for name in page]
    if isinstance(index, IdRows):
        rows = index.rows_of(names)
    else:
        rows = np.array([index.get(name, -1) for name in names], np.int32)
    entries = [entry for page in pages for entry in page.values()]
    weights = np.array([entry.weight for entry in entries], np.float64)
    at_ms = np.array([entry.at_ms for entry in entries], np.int64)
    ends = itertools.accumulate([len(page) for page in pages], initial=0)
    # Copies: views would keep the arrays of all these pages.
    return [
        PageColumns(rows[at:end].copy(), weights[at:end].copy(), at_ms[at:end].copy(), state)
        for at, end in itertools.pairwise(ends)
    ]


def matrix_rows(
    indptr: Int64s,
    columns: Int32s,
    weights: Float64s,
    at_ms: Int64s,
    clock_ms: Int64s,
    half_life_ms: float,
) -> tuple[Int64s, Int32s, Float32s]:
    """Return `history_rows` of histories in columns.

    Parameters
    ----------
    indptr : (n + 1,) int64
        The first entry of each history.
    columns : (m,) int32
        Column of each entry, in any order; -1 for items without a column, which are skipped.
    weights, at_ms : (m,) float64, int64
    clock_ms : (n,) int64
        Time of each history's newest event.
    """
    if columns.min(initial=0) < 0:
        known = columns >= 0
        kept = np.concatenate(([0], np.cumsum(known)))
        indptr = kept[indptr]
        columns, weights, at_ms = columns[known], weights[known], at_ms[known]
    elapsed_ms, ages, order = np.empty((3, len(columns)), np.int64)
    oldest = _arrange(
        indptr,
        np.ascontiguousarray(columns),
        np.ascontiguousarray(at_ms),
        clock_ms,
        elapsed_ms,
        ages,
        order,
    )
    values = weights * np.exp2(elapsed_ms / half_life_ms)
    values *= _fading_by_age(1 << int(oldest).bit_length())[ages]
    return indptr, columns[order], values.astype(np.float32)[order]


@functools.cache
def _fading_by_age(n: int) -> Float32s:
    """Return the fading weights of ages below n, (n,)."""
    return np.exp2(-np.arange(n) / FADE_ENTRIES).astype(np.float32)


@interpretable_below(lambda indptr, columns, *_: 8 * len(indptr) + 64 * len(columns))
@compiled
def _arrange(
    indptr: Int64s,
    columns: Int32s,
    at_ms: Int64s,
    clock_ms: Int64s,
    elapsed_ms: Int64s,
    ages: Int64s,
    order: Int64s,
) -> int:
    """Write the ages of entries and the order of each row's columns; return the largest age.

    Parameters
    ----------
    indptr, columns, at_ms, clock_ms
        As in `matrix_rows`, columns at least 0.
    elapsed_ms : (m,) int64
        Gets the time of each entry, minus its history's clock.
    ages : (m,) int64
        Gets the number of newer entries in the same row.
    order : (m,) int64
        Gets the entries of each row by ascending column.
    """
    oldest = longest = 0
    for row in range(len(indptr) - 1):
        longest = max(longest, indptr[row + 1] - indptr[row])
    room = np.empty(longest, np.int64)
    for row in range(len(indptr) - 1):
        first, end = indptr[row], indptr[row + 1]
        keys = room[: end - first]
        for at in range(len(keys)):
            keys[at] = at_ms[first + at]
            elapsed_ms[first + at] = keys[at] - clock_ms[row]
        _sort(keys)
        for entry in range(first, end):
            # Newer entries are those after the last of this time.
            age, older = len(keys), 0
            while older < age:
                middle = (older + age) >> 1
                if keys[middle] > at_ms[entry]:
                    age = middle
                else:
                    older = middle + 1
            ages[entry] = len(keys) - age
            oldest = max(oldest, len(keys) - age)
        for at in range(len(keys)):
            keys[at] = (np.int64(columns[first + at]) << 32) | at
        _sort(keys)
        for at in range(len(keys)):
            order[first + at] = first + (keys[at] & 0xFFFFFFFF)
    return oldest


@helper
def _sort(keys: Int64s) -> None:
    """Sort in place by Shell's method: numba would compile its own for ten times as long."""
    gap = 1
    while gap < len(keys) // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for place in range(gap, len(keys)):
            key, at = keys[place], place
            while at >= gap and keys[at - gap] > key:
                keys[at] = keys[at - gap]
                at -= gap
            keys[at] = key
        gap //= 3
