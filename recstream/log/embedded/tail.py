"""Step 2 of the flow: reading several partitions of the embedded log as they grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from recstream.errors import NotFound
from recstream.log.port import Record, TopicPartition

if TYPE_CHECKING:
    from recstream.log.embedded.log import EmbeddedLog

_LOOK_AGAIN_S = 0.5
"""A ring can be missed only when a writer died between its commit and its ring."""


class EmbeddedTail:
    """A `Tail` of the embedded log. `wake` may be called from any thread, the rest from one.

    Parameters
    ----------
    log : EmbeddedLog
    positions : mapping of TopicPartition to int
        Next offset to return; below the earliest kept one means from that one.
    """

    def __init__(self, log: EmbeddedLog, positions: Mapping[TopicPartition, int]) -> None:
        self._log = log
        self._positions = dict(positions)
        self._turn = 0
        self._woken = threading.Event()
        self.wakeup = log.wakeup()
        self._listen()

    def poll(self, timeout_s: float, max_records: int = 1000) -> list[Record]:
        """Return the next records, waiting up to ``timeout_s`` for the first; ``[]`` if none came."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.wakeup.clear()
            records = self.take(max_records)
            left = deadline - time.monotonic()
            if records or left <= 0 or self._woken.is_set():
                self._woken.clear()
                return records
            self.wakeup.wait(min(left, _LOOK_AGAIN_S))

    def take(self, max_records: int) -> list[Record]:
        """Return the next records that are there now, the partitions taking turns to be first."""
        records: list[Record] = []
        log = self._log
        with log.storage.read() as connection:
            tps = list(self._positions)
            for at in range(len(tps)):
                tp = tps[(self._turn + at) % len(tps)]
                head = log.head(connection, *tp)
                position = max(self._positions[tp], head.low)
                if position >= head.next:
                    continue
                left = max_records - len(records)
                for found in log.scan(connection, *tp, head, position):
                    records += found[:left]
                    left = max_records - len(records)
                    if left == 0:
                        break
                if records and records[-1][:2] == tp:
                    position = records[-1].offset + 1
                elif left:
                    position = head.next
                self._positions[tp] = position
                if left == 0:
                    break
            self._turn += 1
        return records

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Continue that partition at ``offset``; a partition not tailed before is added."""
        if not 0 <= tp.partition < self._log.partitions(tp.topic):
            raise NotFound(f"{tp.topic}[{tp.partition}] is not in the log {self._log.path}")
        self._positions[tp] = offset
        self._listen()

    def _listen(self) -> None:
        self.wakeup.listen({tp.topic for tp in self._positions})

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to be returned, by partition."""
        return dict(self._positions)

    def wake(self) -> None:
        """Make a `poll` that waits in another thread return now."""
        self._woken.set()
        self.wakeup.wake()

    def close(self) -> None:
        """Release the descriptors."""
        self.wakeup.close()
