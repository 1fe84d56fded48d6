"""Recent event ids of users: a repeated request is recognised and not appended again.

The window belongs to one process and only saves space in the log. The fold decides what counts
once: it sees the events of every bridge.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable

MAX_IDS = 200_000

EventKey = tuple[str, str]
"""User and event id: as in the fold, ids of different users are independent."""


class DedupWindow:
    """A bounded map from user and event id to the digest of the body. Safe to share between threads."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        self._digests: OrderedDict[EventKey, bytes] = OrderedDict()
        self._mutex = threading.Lock()

    def find(self, key: EventKey) -> bytes | None:
        """Return the digest of the recent event of this user with this id, or None."""
        with self._mutex:
            return self._digests.get(key)

    def add(self, events: Iterable[tuple[EventKey, bytes]]) -> None:
        """Add key and digest of events that were appended to the log."""
        with self._mutex:
            self._digests.update(events)
            while len(self._digests) > self._max_ids:
                self._digests.popitem(last=False)
