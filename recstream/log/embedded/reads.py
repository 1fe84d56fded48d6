"""Read queries of the embedded log: a partition's offsets, and its records segment by segment."""

from collections.abc import Iterator, Mapping
from sqlite3 import Connection

from recstream.errors import NotFound
from recstream.log.embedded.segments import unpack
from recstream.log.embedded.storage import Head
from recstream.log.port import Record, TopicPartition

MAX_READ_BYTES = 8 << 20
"""A read stops after this many bytes, even if fewer records than asked for were found."""


def find_head(connection: Connection, topic: str, partition: int) -> Head:
    """Return a partition's row; raises `NotFound`."""
    row = connection.execute(
        "SELECT id, low, next FROM heads WHERE topic=? AND partition=?", (topic, partition)
    ).fetchone()
    if row is None:
        raise NotFound(f"{topic}[{partition}] is not in the log; create the topic first")
    return Head(*row)


def find_unread(
    connection: Connection, positions: Mapping[TopicPartition, int]
) -> dict[TopicPartition, Head]:
    """Return the rows of the partitions that have records from their position on."""
    return {
        TopicPartition(topic, partition): Head(key, low, next_)
        for topic, partition, key, low, next_ in connection.execute(
            "SELECT topic, partition, id, low, next FROM heads"
        )
        if positions.get((topic, partition), next_) < next_  # type: ignore[call-overload]  # equal keys
    }


def scan(
    connection: Connection,
    topic: str,
    partition: int,
    head: Head,
    offset: int,
    *,
    max_bytes: int = MAX_READ_BYTES,
) -> Iterator[list[Record]]:
    """Yield the records from an offset on, one segment at a time.

    Parameters
    ----------
    connection : sqlite3.Connection
        Inside a read transaction (`Storage.read`).
    head : Head
        The partition's row, read in the same transaction.
    max_bytes : int
        Stop after the segment that reaches this size.
    """
    if offset >= head.next:
        return
    size = 0
    for key, next_, count, crc, data in connection.execute(
        "SELECT id, next, count, crc, data FROM segments WHERE id >= coalesce("
        "(SELECT max(id) FROM segments WHERE id BETWEEN ?1 AND ?2), ?2) AND id < ?3"
        " ORDER BY id",
        (head.key(0), head.key(offset), head.key(head.next)),
    ):
        if next_ <= offset or count == 0:
            continue
        base = key - head.key(0)
        records = unpack(topic, partition, base, crc, data)
        if base < offset:
            records = [r for r in records if r.offset >= offset]
        yield records
        size += len(data)
        if size >= max_bytes:
            return
