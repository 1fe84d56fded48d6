"""↺ of the flow, on request: lists of the past over REST, from a folder of snapshots of this bridge's own."""

from __future__ import annotations

import threading
from pathlib import Path

from recstream.errors import InvalidInput
from recstream.log import ReadableLog
from recstream.models import ReadableStore
from recstream.time_travel import AsOfList, ListDiff, Snapshots, TimeTravel, moment


class Past:
    """Answers about the past, one at a time; the first question reads the log.

    Parameters
    ----------
    log : ReadableLog
    store : ReadableStore
    folder : Path
        Of the snapshots; made when somebody asks.
    """

    def __init__(self, log: ReadableLog, store: ReadableStore, folder: Path) -> None:
        self._log = log
        self._store = store
        self._folder = folder
        self._mutex = threading.Lock()
        self._snapshots: Snapshots | None = None
        self._travel: TimeTravel | None = None

    def list_at(self, user: str, when: str) -> AsOfList:
        """Return the list a user had at an offset or time, made again from the log.

        Raises
        ------
        InvalidInput
            ``when`` is neither.
        NotFound
            No model had been announced by then, or its artifact was pruned.
        """
        point = moment(when)
        with self._mutex:
            return self._opened().list_at(user, point)

    def diff(self, user: str, a: str, b: str) -> ListDiff:
        """Return how a user's list at ``a`` became the one at ``b``."""
        if not a or not b:
            raise InvalidInput("a and b must each be an offset or a time with a zone")
        before, after = moment(a), moment(b)
        with self._mutex:
            return self._opened().diff(user, before, after)

    def _opened(self) -> TimeTravel:
        if self._travel is None:
            self._snapshots = Snapshots(self._log, self._folder)
            self._travel = TimeTravel(self._log, self._store, self._snapshots)
        return self._travel

    def close(self) -> None:
        """Release the folder."""
        with self._mutex:
            if self._snapshots is not None:
                self._snapshots.close()
            self._snapshots = self._travel = None
