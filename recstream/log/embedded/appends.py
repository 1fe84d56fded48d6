"""Appends of the embedded log: split records by partition, check owners, assign offsets, write segments.

An append may also commit offsets of a consumer group.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from sqlite3 import Connection

from recstream.errors import InvalidInput, LogFenced, RecstreamError
from recstream.log.embedded.reads import find_head
from recstream.log.embedded.segments import Columns, pack_columns
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Position, TopicPartition, require_readable

_new_position = tuple.__new__


class Batch:
    """Records of one partition, with their indices in the caller's list."""

    __slots__ = ("columns", "indices")

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.columns = Columns()


class AppendRequest:
    """One caller's append, waiting to be committed."""

    __slots__ = ("batches", "count", "error", "group", "is_done", "member", "offsets", "positions")

    def __init__(
        self,
        batches: dict[TopicPartition, Batch],
        count: int,
        group: str | None,
        offsets: Mapping[TopicPartition, int],
        member: str | None,
    ) -> None:
        self.batches = batches
        self.count = count
        self.group = group
        self.offsets = offsets
        self.member = member
        self.is_done = False
        self.error: RecstreamError | None = None
        self.positions: list[Position] = []


def split_by_partition(
    records: Sequence[NewRecord],
    partition_counts: Mapping[str, int],
    find_count: Callable[[str], int],
    now_ms: int,
) -> dict[TopicPartition, Batch]:
    """Split records by partition.

    Parameters
    ----------
    find_count : callable
        Returns the count of a topic that is not cached.
    now_ms : int
        Timestamp of records that have none.

    Raises
    ------
    InvalidInput
        The topic has no such partition, or readers could not decode the record.
    """
    batches: dict[TopicPartition, Batch] = {}
    batch, last_topic, last_partition = Batch(), None, None
    columns = batch.columns
    for index, record in enumerate(records):
        topic, key, value, partition, timestamp_ms, headers = record
        if partition is None or partition != last_partition or topic is not last_topic:
            count = partition_counts.get(topic) or find_count(topic)
            if partition is None:
                at = 0 if key is None else partition_for(key, count)
            elif 0 <= partition < count:
                at = partition
            else:
                raise InvalidInput(
                    f"partition of {topic} must be 0 to {count - 1}, got {partition}"
                )
            last_topic, last_partition = topic, partition
            tp = TopicPartition(topic, at)
            if tp not in batches:
                batches[tp] = Batch()
            batch = batches[tp]
            columns = batch.columns
        if (
            timestamp_ms is not None
            or headers
            or (key.__class__ is not bytes and key is not None)
            or (value.__class__ is not bytes and value is not None)
        ):
            require_readable(record, index)
        batch.indices.append(index)
        columns.timestamps.append(now_ms if timestamp_ms is None else timestamp_ms)
        columns.keys.append(key)
        columns.values.append(value)
        columns.headers.append(headers)
    return batches


def check_owner(connection: Connection, request: AppendRequest) -> bool:
    """Return whether the member owns the partitions of its offsets; else set the request's error."""
    for topic, partition in request.offsets:
        owner = connection.execute(
            "SELECT member FROM owners WHERE grp=? AND topic=? AND partition=?",
            (request.group, topic, partition),
        ).fetchone()
        if (owner and owner[0]) != request.member:
            request.error = LogFenced(
                f"{topic}[{partition}] of group {request.group} belongs to "
                f"{owner[0] if owner else 'no member'}, not to {request.member or 'a non-member'}; "
                "the owner processes its records"
            )
            return False
    return True


def write_offsets(connection: Connection, request: AppendRequest) -> None:
    """Commit a request's offsets; a member's offsets never go back."""
    connection.executemany(
        "INSERT INTO offsets VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE"
        " SET next = iif(?5, max(next, excluded.next), excluded.next)",
        [
            (request.group, *tp, next_, request.member is not None)
            for tp, next_ in request.offsets.items()
        ],
    )


def write_records(connection: Connection, requests: list[AppendRequest], now_ms: int) -> None:
    """Assign offsets and insert segments; requests for one partition share a segment."""
    together: dict[TopicPartition, Columns] = {}
    shares: dict[TopicPartition, list[tuple[AppendRequest, list[int]]]] = {}
    for request in requests:
        request.positions = [Position("", 0, 0)] * request.count
        for tp, batch in request.batches.items():
            shares.setdefault(tp, []).append((request, batch.indices))
            if tp in together:
                together[tp].extend(batch.columns)
            else:
                together[tp] = batch.columns
    for tp, columns in together.items():
        head = find_head(connection, tp.topic, tp.partition)
        at = head.next
        connection.executemany(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (head.key(p.base), *p[1:4], now_ms, len(p.data), p.crc, p.data)
                for p in pack_columns(at, columns)
            ],
        )
        connection.execute("UPDATE heads SET next=? WHERE id=?", (at + len(columns.keys), head.id))
        for request, indices in shares[tp]:
            found = map(
                _new_position,
                repeat(Position),
                zip(
                    repeat(tp.topic),
                    repeat(tp.partition),
                    range(at, at + len(indices)),
                    strict=False,
                ),
            )
            if len(indices) == request.count:
                request.positions = list(found)
            else:
                for index, position in zip(indices, found, strict=True):
                    request.positions[index] = position
            at += len(indices)
