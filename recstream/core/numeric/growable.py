"""Steps 5 to 8 of the flow: arrays that rows are added to at the end, without copying each time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 64


class Growing:
    """Rows of an array with room for more: adding costs what is added, amortised.

    Parameters
    ----------
    rows : (m, …) array
        Copied.

    Examples
    --------
    >>> growing = Growing(np.array([1, 2]))
    >>> growing.grow(4, fill=-1)
    >>> growing.rows
    array([ 1,  2, -1, -1])
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        self._size = len(rows)
        self._buffer = _room(rows, self._size)
        self.rows: NDArray[Any] = self._buffer[: self._size]

    def grow(self, n_rows: int, fill: Any = 0) -> None:
        """Make it ``n_rows`` long; new rows hold ``fill``. Never shrinks.

        `rows` is another view afterwards; earlier ones keep what they show only until the next
        change.
        """
        if n_rows <= self._size:
            return
        if n_rows > len(self._buffer):
            self._buffer = _room(self.rows, n_rows)
        self._buffer[self._size : n_rows] = fill
        self._size = n_rows
        self.rows = self._buffer[:n_rows]


def _room(rows: NDArray[Any], n_rows: int) -> NDArray[Any]:
    """Return a copy with room for half as many rows again; what is not written takes no memory."""
    shape = (max(n_rows + n_rows // 2, _LEAST), *rows.shape[1:])
    buffer = np.empty(shape, rows.dtype)
    buffer[: len(rows)] = rows
    return buffer
