"""The event log as a port: records, positions, and the protocols `EventLog`, `ReadableLog`, `Tail`.

Two adapters: `recstream.log.embedded` (one SQLite file, several processes) and
`recstream.log.kafka`. One contract suite (`tests/contracts/`) runs against both.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from recstream.errors import InvalidInput
from recstream.log.topics import TopicSpec

MAX_OFFSET_DIGITS = 19
"""Digits of the largest offset, 2⁶³ - 1."""


class TopicPartition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class NewRecord(NamedTuple):
    """A record to append.

    ``partition=None`` means murmur2 of the key, as in Kafka's clients; without a key, partition 0.
    ``timestamp_ms=None`` means the append time. ``value=None`` is a tombstone.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    timestamp_ms: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def require_readable(record: NewRecord, index: int) -> None:
    """Raise `InvalidInput` if readers could not decode a record: its parts are of other types."""
    where = f"record {index} for {record.topic}"
    for part in (record.key, record.value):
        if part is not None and part.__class__ is not bytes:
            raise InvalidInput(
                f"key and value must be bytes or None, got {type(part).__name__}; {where}"
            )
    timestamp_ms = record.timestamp_ms
    if timestamp_ms is not None and (
        timestamp_ms.__class__ is not int or not -(1 << 63) <= timestamp_ms < 1 << 63
    ):
        raise InvalidInput(
            f"timestamp must be milliseconds in 64 bits, got {timestamp_ms!r}; {where}"
        )
    for name, content in record.headers:
        if not (name.__class__ is str and name.isprintable() and content.__class__ is bytes):
            raise InvalidInput(
                f"headers must be pairs of printable text and bytes, got {(name, content)!r}; "
                f"{where}"
            )


class Record(NamedTuple):
    """A record of the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Position(NamedTuple):
    """Where a record was appended."""

    topic: str
    partition: int
    offset: int


class Tail(Protocol):
    """A reader of several partitions that waits for new records."""

    def poll(self, timeout_s: float, max_records: int = 1000) -> list[Record]:
        """Return the next records, waiting up to ``timeout_s`` for the first; ``[]`` if none came.

        Records of one partition come in offset order; offsets may have gaps (compaction,
        retention).
        """

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Continue that partition at ``offset``; a partition not tailed before is added."""

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to be returned, by partition."""

    def wake(self) -> None:
        """Make a `poll` that waits in another thread return now."""

    def close(self) -> None:
        """Release descriptors and connections."""


class ReadableLog(Protocol):
    """The reading half of a log: all that a replay needs."""

    @property
    def epoch(self) -> str:
        """ULID of this log; changes when the log is wiped or recreated."""

    def partitions(self, topic: str) -> int:
        """Return the partition count; raises `NotFound` for an unknown topic."""

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        """Return up to ``max_records`` records from ``offset`` on, without waiting.

        Raises
        ------
        OffsetOutOfRange
            ``offset`` is below the earliest kept one.
        """

    def earliest(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record that is still kept."""

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset that the next appended record will get."""

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Return the first offset with a timestamp at or after a time, else the high watermark."""


class EventLog(ReadableLog, Protocol):
    """A durable, partitioned, append-only log. Safe to share between threads."""

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create missing topics.

        Raises
        ------
        PartitionCountMismatch
            A topic exists with another partition count.
        """

    def topics(self) -> dict[str, int]:
        """Return every topic with its partition count."""

    def append(
        self,
        records: Sequence[NewRecord],
        *,
        group: str | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
    ) -> list[Position]:
        """Append records, and commit a group's offsets with them.

        When this returns, the records are durable. On the embedded log all records and the
        offsets commit in one transaction, over all topics; on Kafka the records are
        acknowledged by all in-sync replicas before the offsets are committed.

        Raises
        ------
        LogUnavailable
            The append was not acknowledged: the caller keeps the records and may try again.
        """

    def delete_before(self, topic: str, partition: int, offset: int) -> int:
        """Delete a partition's records before an offset; return the earliest offset from now on.

        Offsets of other records don't change. Readers that are behind get `OffsetOutOfRange`.
        """

    def n_waiting(self, topic: str, partition: int, offset: int) -> int:
        """Return an upper bound of the records that a reader at an offset has not read yet.

        On Kafka it includes records of open transactions and those after them.
        """

    def tail(self, positions: Mapping[TopicPartition, int]) -> Tail:
        """Return a reader that starts at these offsets."""

    def committed(self, group: str, *topics: str) -> dict[TopicPartition, int]:
        """Return the next offsets that a consumer group will read, of these topics; of all without any."""

    def close(self) -> None:
        """Release files, threads and connections."""
