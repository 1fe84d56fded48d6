"""Array types of the core, and arrays that grow by rows."""

from __future__ import annotations

import math
import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
UInt8s = NDArray[np.uint8]
UInt32s = NDArray[np.uint32]

_MIN_ROWS = 64
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
"""``MAP_NORESERVE``: address space without a promise of memory; `mmap` names it from Python 3.13 on."""


def csr_of(indptr: Int64s, indices: Int32s, values: Float32s, n_columns: int) -> sparse.csr_matrix:
    """Return rows of ascending, distinct columns as a matrix that shares the arrays."""
    matrix = sparse.csr_matrix((values, indices, indptr), shape=(len(indptr) - 1, n_columns))
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    return matrix


class GrowableArray:
    """Array with spare rows at the end: appending costs amortised time per row added.

    Parameters
    ----------
    rows : (m, …) array
        Copied.
    reserve_bytes : int, optional
        Address space to reserve: up to it, growth copies nothing. Rows that are not used take no
        memory.

    Examples
    --------
    >>> array = GrowableArray(np.array([1, 2]))
    >>> array.grow(4, fill=-1)
    >>> array.rows
    array([ 1,  2, -1, -1])
    """

    def __init__(self, rows: NDArray[Any], reserve_bytes: int = 0) -> None:
        self._size = len(rows)
        self._buffer = _with_spare_rows(rows, self._size, reserve_bytes)
        self.rows: NDArray[Any] = self._buffer[: self._size]

    @classmethod
    def over(cls, buffer: NDArray[Any], n_rows: int) -> GrowableArray:
        """Return an array of the first rows of a buffer, which it takes over without a copy."""
        array = cls.__new__(cls)
        array._size, array._buffer = n_rows, buffer  # noqa: SLF001 - its own class
        array.rows = buffer[:n_rows]
        return array

    def grow(self, n_rows: int, fill: Any = 0) -> None:
        """Extend to ``n_rows`` rows, the new ones filled with ``fill``. Never shrinks.

        `rows` becomes another view. Earlier views are valid until the next change only.
        """
        if n_rows <= self._size:
            return
        if n_rows > len(self._buffer):
            self._buffer = _with_spare_rows(self.rows, n_rows)
        self._buffer[self._size : n_rows] = fill
        self._size = n_rows
        self.rows = self._buffer[:n_rows]

    def truncate(self, n_rows: int) -> None:
        """Drop the rows from ``n_rows`` on; their memory is kept for later rows."""
        self._size = min(self._size, n_rows)
        self.rows = self._buffer[: self._size]


def _with_spare_rows(rows: NDArray[Any], n_rows: int, reserve_bytes: int = 0) -> NDArray[Any]:
    """Return a copy with room for half as many rows again; untouched pages take no memory."""
    row_shape = rows.shape[1:]
    room = max(n_rows + n_rows // 2, _MIN_ROWS)
    row_bytes = rows.dtype.itemsize * math.prod(row_shape)
    buffer = _reserved(rows.dtype, row_bytes, row_shape, room, reserve_bytes)
    if buffer is None:
        buffer = np.empty((room, *row_shape), rows.dtype)
    buffer[: len(rows)] = rows
    return buffer


def _reserved(
    dtype: np.dtype[Any], row_bytes: int, row_shape: tuple[int, ...], room: int, n_bytes: int
) -> NDArray[Any] | None:
    """Return an array over reserved address space; None if none is wanted or granted.

    Parameters
    ----------
    dtype : dtype
    room : int
        Rows that must fit.
    n_bytes : int
        Address space to ask for; 0 for none.
    """
    n_rows = n_bytes // max(1, row_bytes)
    if n_rows < room or not row_bytes:
        return None
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        space = mmap.mmap(-1, n_rows * row_bytes, flags=flags)
    except (OSError, ValueError, AttributeError):
        return None
    return np.frombuffer(space, dtype).reshape(n_rows, *row_shape)
