"""The training matrix: histories as CSR rows, and the index of item rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.history.fading import fading_weights
from recstream.core.history.fold import FADE_ENTRIES
from recstream.core.numeric.arrays import Float64s, Int32s, Int64s
from recstream.core.numeric.jit import compiled, interpretable_below

Row = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Columns, ascending and distinct, and their weights: a `recstream.core.history.fold.matrix_row`."""


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
    matrix = sparse.csr_matrix((weights, indices, indptr), shape=(len(rows), n_columns))
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix


def extend_index(known: Sequence[str], ids: Iterable[str]) -> list[str]:
    """Return item ids in the order of their rows: known ids keep theirs, new ones follow, sorted.

    So the rows of a generation depend on its parent and the set of ids alone.

    >>> extend_index(["b", "a"], {"d", "a", "c"})
    ['b', 'a', 'c', 'd']
    """
    return [*known, *sorted(set(ids).difference(known))]


def matrix_rows(
    indptr: Int64s,
    columns: Int32s,
    weights: Float64s,
    at_ms: Int64s,
    clock_ms: Int64s,
    half_life_ms: float,
) -> tuple[Int64s, Int32s, NDArray[np.float32]]:
    """Return `matrix_row` of many histories at once: (indptr, columns, weights) of a CSR matrix.

    Parameters
    ----------
    indptr : (n + 1,) int64
        The first entry of each history.
    columns : (m,) int32
        Of each entry, in any order; -1 for items without a column, which are skipped.
    weights, at_ms : (m,) float64, int64
    clock_ms : (n,) int64
        Time of each history's newest event.
    half_life_ms : float
    """
    known = columns >= 0
    if not known.all():
        kept = np.concatenate(([0], np.cumsum(known)))
        indptr = kept[indptr]
        columns, weights, at_ms = columns[known], weights[known], at_ms[known]
    values = weights * np.exp2((at_ms - np.repeat(clock_ms, np.diff(indptr))) / half_life_ms)
    ages, order = np.empty(len(columns), np.int64), np.empty(len(columns), np.int64)
    _count_newer(indptr, np.ascontiguousarray(at_ms), ages)
    most = int(ages.max(initial=0))
    # `fading_weights` of most + 1 different times: the weight of each age, oldest first.
    values *= fading_weights(np.arange(most + 1), FADE_ENTRIES)[most - ages]
    _order_rows(indptr, np.ascontiguousarray(columns), order)
    return indptr, columns[order], values.astype(np.float32)[order]


@interpretable_below(lambda indptr, at_ms, _ages: 8 * len(indptr) + 4 * len(at_ms))
@compiled
def _count_newer(indptr: Int64s, at_ms: Int64s, ages: Int64s) -> None:
    """Write the number of newer entries in the same row, of each entry."""
    for row in range(len(indptr) - 1):
        first, end = indptr[row], indptr[row + 1]
        times = np.sort(at_ms[first:end])
        for at in range(first, end):
            ages[at] = len(times) - np.searchsorted(times, at_ms[at], side="right")


@interpretable_below(lambda indptr, *_: 8 * len(indptr))
@compiled
def _order_rows(indptr: Int64s, columns: Int32s, order: Int64s) -> None:
    """Write the order of entries in which each row's columns ascend."""
    for row in range(len(indptr) - 1):
        first, end = indptr[row], indptr[row + 1]
        order[first:end] = first + np.argsort(columns[first:end])
