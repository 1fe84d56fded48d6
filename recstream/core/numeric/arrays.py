"""Array types of the core, and arrays that grow by rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]
Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
UInt8s = NDArray[np.uint8]
UInt32s = NDArray[np.uint32]

_MIN_ROWS = 64


class GrowableArray:
    """Array with spare rows at the end: appending costs amortised time per row added.

    Parameters
    ----------
    rows : (m, …) array
        Copied.

    Examples
    --------
    >>> array = GrowableArray(np.array([1, 2]))
    >>> array.grow(4, fill=-1)
    >>> array.rows
    array([ 1,  2, -1, -1])
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        self._size = len(rows)
        self._buffer = _with_spare_rows(rows, self._size)
        self.rows: NDArray[Any] = self._buffer[: self._size]

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


def _with_spare_rows(rows: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Return a copy with room for half as many rows again; untouched pages take no memory."""
    shape = (max(n_rows + n_rows // 2, _MIN_ROWS), *rows.shape[1:])
    buffer = np.empty(shape, rows.dtype)
    buffer[: len(rows)] = rows
    return buffer
