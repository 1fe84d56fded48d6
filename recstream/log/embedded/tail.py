"""`EmbeddedTail`: follows several partitions of the embedded log as they grow."""

import threading
import time
from collections.abc import Mapping

from recstream.log.embedded.notify import Waiter
from recstream.log.embedded.reads import find_head, find_unread, scan
from recstream.log.embedded.storage import Storage
from recstream.log.port import Record, TopicPartition

_RECHECK_S = 0.5
"""A notification is lost only when a writer dies between its commit and the notification."""


class EmbeddedTail:
    """A `Tail` of the embedded log. `wake` may be called from any thread, the rest from one.

    Parameters
    ----------
    waiter : Waiter
        Closed with the tail.
    positions : mapping of TopicPartition to int
        Next offset to return; an offset that is no longer kept means the earliest one.
    """

    def __init__(
        self, storage: Storage, waiter: Waiter, positions: Mapping[TopicPartition, int]
    ) -> None:
        self._storage = storage
        self._positions = dict(positions)
        self._first = 0
        self._is_at_end = False
        self._woken = threading.Event()
        self.waiter = waiter
        self._listen()

    def poll(self, timeout_s: float, max_records: int = 1000) -> list[Record]:
        """Return the next records, waiting up to ``timeout_s`` for the first; ``[]`` if none came."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._is_at_end and not self._woken.is_set():
                left = max(0.0, deadline - time.monotonic())
                self.waiter.wait(min(left, _RECHECK_S))
            self.waiter.clear()
            records = self.take(max_records)
            if records or self._woken.is_set() or time.monotonic() >= deadline:
                self._woken.clear()
                return records

    def take(self, max_records: int) -> list[Record]:
        """Return the next records without waiting; each call starts at another partition."""
        records: list[Record] = []
        is_at_end = True
        with self._storage.read() as connection:
            unread = find_unread(connection, self._positions)
            tps = list(self._positions) if unread else []
            for at in range(len(tps)):
                tp = tps[(self._first + at) % len(tps)]
                head = unread.get(tp)
                if head is None:
                    continue
                position = max(self._positions[tp], head.low)
                left = max_records - len(records)
                for found in scan(connection, *tp, head, position):
                    records += found[:left]
                    left = max_records - len(records)
                    if left == 0:
                        break
                if records and records[-1][:2] == tp:
                    position = records[-1].offset + 1
                elif left:
                    position = head.next
                self._positions[tp] = position
                is_at_end = is_at_end and position >= head.next
                if left == 0:
                    is_at_end = False
                    break
            self._first += 1
        self._is_at_end = is_at_end
        return records

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Continue that partition at ``offset``; a partition not tailed before is added."""
        with self._storage.read() as connection:
            find_head(connection, *tp)
        self._positions[tp] = offset
        self._is_at_end = False
        self._listen()

    def _listen(self) -> None:
        self.waiter.listen({tp.topic for tp in self._positions})

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to be returned, by partition."""
        return dict(self._positions)

    def wake(self) -> None:
        """Make a `poll` that waits in another thread return now."""
        self._woken.set()
        self.waiter.wake()

    def close(self) -> None:
        """Release the descriptors."""
        self.waiter.close()
