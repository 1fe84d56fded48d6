"""Recent event ids: a repeated request is recognised and not appended again.

The window belongs to one process and only saves space in the log. The fold decides what counts
once: it sees the events of every bridge.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

MAX_IDS = 200_000


class DedupWindow:
    """A bounded map from event id to the digest of its body. Safe to share between threads."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        self._digests: OrderedDict[str, bytes] = OrderedDict()
        self._mutex = threading.Lock()

    def find(self, event_id: str) -> bytes | None:
        """Return the digest of the recent event with this id, or None."""
        with self._mutex:
            return self._digests.get(event_id)

    def add(self, events: Iterable[tuple[str, bytes]]) -> None:
        """Add (id, digest) of events that were appended to the log."""
        with self._mutex:
            self._digests.update(events)
            while len(self._digests) > self._max_ids:
                self._digests.popitem(last=False)
