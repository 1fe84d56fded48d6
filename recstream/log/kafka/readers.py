"""Pool of consumers for one-off reads: a new consumer needs a connection, moving one does not."""

import threading
from typing import Any

from recstream.log.kafka.tail import KafkaTail
from recstream.log.port import TopicPartition

POOL_SIZE = 4
FETCH_WAIT_MS = 5
"""How long the broker holds a fetch: a reader that was moved waits that long for its first record."""


class ReaderPool:
    """Readers of one partition each, borrowed for one read. Safe to share between threads."""

    def __init__(self, shared: dict[str, Any]) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._readers: list[KafkaTail] = []

    def borrow(self, tp: TopicPartition, offset: int) -> KafkaTail:
        """Return a reader at an offset: preferably one that is there already, else an idle one."""
        positions = {tp: offset}
        with self._lock:
            matching = [r for r in self._readers if r.positions() == positions]
            idle = [r for r in self._readers if not r.positions()]
            reader = next(iter(matching + idle + self._readers), None)
            if reader is not None:
                self._readers.remove(reader)
        if reader is None:
            return KafkaTail(self._shared, positions, FETCH_WAIT_MS)
        if reader.positions() != positions:
            reader.restart(positions)
        return reader

    def give_back(self, reader: KafkaTail) -> None:
        """Return a reader to the pool; at the end of its partition it becomes idle."""
        if reader.is_at_end:
            reader.restart({})
        with self._lock:
            self._readers.append(reader)
            extra = self._readers.pop(0) if len(self._readers) > POOL_SIZE else None
        if extra is not None:
            extra.close()

    def close(self) -> None:
        """Close the readers in the pool."""
        with self._lock:
            readers, self._readers = self._readers, []
        for reader in readers:
            reader.close()
