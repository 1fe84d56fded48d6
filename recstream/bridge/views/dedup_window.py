"""Step 2 of the flow: event ids seen lately, so that a repeated request is answered as one.

A window of this process alone: it saves the log from repeats. What counts once is decided by the
fold, which sees the events of every bridge.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

MAX_IDS = 200_000


class RecentIds:
    """A bounded map from event id to the digest of its body. Safe to share between threads."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        self._digests: OrderedDict[str, bytes] = OrderedDict()
        self._mutex = threading.Lock()

    def find(self, event_id: str) -> bytes | None:
        """Return the digest of the event that had this id, None if there was none lately."""
        with self._mutex:
            return self._digests.get(event_id)

    def add(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Remember (id, digest) of events that are in the log now."""
        with self._mutex:
            self._digests.update(events)
            while len(self._digests) > self._max_ids:
                self._digests.popitem(last=False)
