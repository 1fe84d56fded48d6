"""Lists of the past, recomputed from the log with snapshots in a folder of this bridge."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from recstream.checkpoints import Checkpoints
from recstream.errors import Overloaded, StartupError
from recstream.log import ReadableLog
from recstream.models import ReadableStore
from recstream.time_travel import Snapshots, TimeTravel

T = TypeVar("T")
MAX_WAITING = 4
"""Queries that run or wait at the same time: each holds a thread of the HTTP server."""


class PastQueries:
    """Answers queries about the past, one at a time; the first query reads the log.

    Parameters
    ----------
    folder : Path
        Folder of the snapshots; created by the first query.
    """

    def __init__(
        self,
        log: ReadableLog,
        store: ReadableStore,
        folder: Path,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._log = log
        self._checkpoints = checkpoints
        self._store = store
        self._folder = folder
        self._mutex = threading.Lock()
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._travel: TimeTravel | None = None

    def ask(self, question: Callable[[TimeTravel], T]) -> T:
        """Return the answer of a function that gets the `TimeTravel`, in its turn.

        Raises
        ------
        Overloaded
            `MAX_WAITING` queries wait already.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{MAX_WAITING} queries about the past wait; try again later")
        try:
            with self._mutex:
                if self._travel is None:
                    snapshots = Snapshots(self._log, self._folder, checkpoints=self._checkpoints)
                    self._travel = TimeTravel(self._log, self._store, snapshots)
                try:
                    return question(self._travel)
                except StartupError:  # the snapshots can't be written: the next query opens them
                    self._close()
                    raise
        finally:
            self._places.release()

    def close(self) -> None:
        """Release the folder."""
        with self._mutex:
            self._close()

    def _close(self) -> None:
        if self._travel is not None:
            self._travel.snapshots.close()
        self._travel = None
