"""Lists of the past, recomputed from the log with snapshots in a folder of this bridge."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from recstream.checkpoints import Checkpoints
from recstream.errors import InvalidInput, Overloaded
from recstream.log import ReadableLog
from recstream.models import ReadableStore
from recstream.time_travel import AsOfList, ListDiff, Snapshots, TimeTravel, diff_lists, moment

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
        self._snapshots: Snapshots | None = None
        self._travel: TimeTravel | None = None

    def list_at(self, user: str, when: str) -> AsOfList:
        """Return the list a user had at an offset or time, recomputed from the log.

        Raises
        ------
        InvalidInput
            ``when`` is neither an offset nor a time.
        NotFound
            No model had been announced by then, or its artifact was pruned.
        """
        point = moment(when)
        return self.ask(lambda travel: travel.list_at(user, point))

    def diff(self, user: str, a: str, b: str) -> ListDiff:
        """Return the difference of a user's lists at ``a`` and ``b``."""
        if not a or not b:
            raise InvalidInput("a and b must each be an offset or a time with a zone")
        before, after = moment(a), moment(b)
        return self.ask(lambda travel: diff_lists(travel, user, before, after))

    def ask(self, question: Callable[[TimeTravel], T]) -> T:
        """Return the answer of a function that gets the `TimeTravel`, in its turn.

        Raises
        ------
        Overloaded
            Too many wait already.
        """
        with self._turn():
            return question(self._opened())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the queries before; at most `MAX_WAITING` wait."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{MAX_WAITING} queries about the past wait; try again later")
        try:
            with self._mutex:
                yield
        finally:
            self._places.release()

    def _opened(self) -> TimeTravel:
        if self._travel is None:
            self._snapshots = Snapshots(self._log, self._folder, checkpoints=self._checkpoints)
            self._travel = TimeTravel(self._log, self._store, self._snapshots)
        return self._travel

    def close(self) -> None:
        """Release the folder."""
        with self._mutex:
            if self._snapshots is not None:
                self._snapshots.close()
            self._snapshots = self._travel = None
