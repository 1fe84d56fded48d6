"""Readers–writer lock with one writer."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 2.0


class SharedLock:
    """Readers do not wait for each other; a writer is alone.

    A slow reader delays the writer, but no other reader: new readers enter while the writer waits,
    for ``patience_s`` at most. Not reentrant: a reader inside a reader may wait for ever.

    Parameters
    ----------
    patience_s : float
        Time after which new readers wait until the writer has finished.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._changed = threading.Condition()
        self._patience_s = patience_s
        self._n_readers = 0
        self._is_closed = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """Enter as one of several readers."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_closed)
            self._n_readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._n_readers -= 1
                if not self._n_readers:
                    self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Enter alone; for one thread at a time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._n_readers, self._patience_s)
            self._is_closed = True
            self._changed.wait_for(lambda: not self._n_readers)
        try:
            yield
        finally:
            with self._changed:
                self._is_closed = False
                self._changed.notify_all()
