"""Counts of the events of the last weeks, kept current with the interactions topic by a thread."""

import threading
from collections.abc import Callable

import msgspec

from recstream.core.serving import EventCounts
from recstream.log import INTERACTIONS, EventLog, Tail, TopicPartition, decode
from recstream.process import Background

WINDOW_MS = 30 * 86_400_000
BATCH_RECORDS = 5_000
COUNT_EVERY_S = 0.1
"""Time between two reads: the records of that time share one."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """The events that were counted: of each partition, from the first offset to before the next."""

    first: dict[str, int]
    next: dict[str, int]


class CountsFeed(Background):
    """Counts events that were appended since `WINDOW_MS` before the start.

    Attributes
    ----------
    counts : EventCounts
        Read it while ``mutex`` is held.
    """

    def __init__(self, event_log: EventLog, *, now_ms: Callable[[], int]) -> None:
        super().__init__("counts")
        self._log = event_log
        self._now_ms = now_ms
        self.counts = EventCounts()
        self.mutex = threading.Lock()
        self._first: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._tail: Tail | None = None

    def _wake(self) -> None:
        if (tail := self._tail) is not None:
            tail.wake()

    def counted(self) -> Counted:
        """Return which events are in the counts."""
        with self.mutex:
            return Counted(first=dict(self._first), next=dict(self._next))

    def _run(self) -> None:
        """Count from the start of the window, or anew after an error."""
        since_ms = self._now_ms() - WINDOW_MS
        positions = {
            TopicPartition(INTERACTIONS, each): max(
                self._log.earliest(INTERACTIONS, each),
                self._log.offset_at(INTERACTIONS, each, since_ms),
            )
            for each in range(self._log.partitions(INTERACTIONS))
        }
        with self.mutex:
            self.counts = EventCounts()
            self._first = {str(tp.partition): offset for tp, offset in positions.items()}
            self._next = dict(self._first)
        tail = self._tail = self._log.tail(positions)
        try:
            while not self._stopping.is_set():
                records = tail.poll(1.0, BATCH_RECORDS)
                for record in records:
                    events = decode(record).events
                    with self.mutex:  # of one record: a request must not wait for the others
                        for _, event in events:
                            self.counts.observe(event)
                        self._next[str(record.partition)] = record.offset + 1
                if len(records) < BATCH_RECORDS:
                    self._stopping.wait(COUNT_EVERY_S)
        finally:
            self._tail = None
            tail.close()
