"""The training matrix: histories as CSR rows, and the index of item rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

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
