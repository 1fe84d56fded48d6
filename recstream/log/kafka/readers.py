"""Consumers that are kept between one-off reads: making one costs a connection, moving one does not."""

from __future__ import annotations

import threading
from typing import Any

from recstream.log.kafka.tail import KafkaTail
from recstream.log.port import TopicPartition

KEPT_READERS = 4
READ_WAIT_MS = 5
"""How long a broker holds the fetch of a reader that is moved on before it is answered."""


class Readers:
    """Readers of one partition each, lent for a read. Safe to share between threads."""

    def __init__(self, shared: dict[str, Any]) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._readers: list[KafkaTail] = []

    def borrow(self, tp: TopicPartition, offset: int) -> KafkaTail:
        """Return a reader at an offset: one that stands there already, or another one moved there."""
        wanted = {tp: offset}
        with self._lock:
            standing = [r for r in self._readers if r.positions() == wanted]
            resting = [r for r in self._readers if not r.positions()]
            reader = next(iter(standing + resting + self._readers), None)
            if reader is not None:
                self._readers.remove(reader)
        if reader is None:
            return KafkaTail(self._shared, wanted, READ_WAIT_MS)
        if reader.positions() != wanted:
            reader.restart(wanted)
        return reader

    def give_back(self, reader: KafkaTail) -> None:
        """Keep a reader: where it stands, so that the next read goes on, or at rest at the end."""
        if reader.is_at_end:
            reader.restart({})
        with self._lock:
            self._readers.append(reader)
            extra = self._readers.pop(0) if len(self._readers) > KEPT_READERS else None
        if extra is not None:
            extra.close()

    def close(self) -> None:
        """Close those that are not lent."""
        with self._lock:
            readers, self._readers = self._readers, []
        for reader in readers:
            reader.close()
