"""Step 2 of the flow: the event log in one SQLite file, for one machine and any number of processes.

What an acknowledgement promises is the URL's ``sync``: see docs/decisions/log-durability.md.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sqlite3 import Connection

from recstream.errors import (
    InvalidInput,
    LogFenced,
    LogUnavailable,
    NotFound,
    OffsetOutOfRange,
    PartitionCountMismatch,
    RecstreamError,
)
from recstream.log.embedded.appends import Request, admit, split, write_offsets, write_records
from recstream.log.embedded.segments import unpack
from recstream.log.embedded.storage import Head, Storage, Sync
from recstream.log.embedded.tail import EmbeddedTail
from recstream.log.embedded.wakeup import GROUPS, Bells, Wakeup
from recstream.log.port import NewRecord, Position, Record, TopicPartition
from recstream.log.topics import TopicSpec

MAX_READ_BYTES = 8 << 20
"""A read stops after this many bytes even if fewer records were asked for than found."""


def system_clock_ms() -> int:
    """Return the time of day in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class EmbeddedLog:
    """The `EventLog` in one SQLite file. Safe to share between threads and processes.

    Appends of several threads that wait at the same time share one transaction and one wait for
    the disk.

    Parameters
    ----------
    path : path-like
        The file; made, with its folder, if it is not there.
    sync : {"full", "normal"}
        ``"full"``: an acknowledged append survives a power cut. ``"normal"``: it survives the
        death of any process, but the last moments before a power cut may be missing.
    clock_ms : callable
        Gives append times.

    Raises
    ------
    LogUnavailable
        The file or its folder can't be opened or written.
    LogCorrupt
        The file is something else, or damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        sync: Sync = "full",
        busy_timeout_s: float = 15.0,
        clock_ms: Callable[[], int] = system_clock_ms,
    ) -> None:
        self.path = Path(path).absolute()
        self.storage = Storage(self.path, sync=sync, busy_timeout_s=busy_timeout_s)
        self.clock_ms = clock_ms
        self._bells = Bells(self.path)
        self._partitions: dict[str, int] = {}
        self._pending: deque[Request] = deque()
        self.write_mutex = threading.Lock()
        self._closed = False

    @property
    def epoch(self) -> str:
        """ULID of this log; another one after the log was wiped or recreated."""
        return self.storage.epoch

    # Topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create what is missing; raises `PartitionCountMismatch` before creating anything."""
        wanted = list(specs)
        known = self.topics()
        for spec in wanted:
            self._check_count(spec, known.get(spec.name, spec.partitions))
        if all(spec.name in known for spec in wanted):
            return
        with self.write_mutex, self.storage.write() as connection:
            for spec in wanted:
                row = connection.execute(
                    "SELECT partitions FROM topics WHERE name=?", (spec.name,)
                ).fetchone()
                if row is not None:
                    self._check_count(spec, row[0])
                    continue
                connection.execute(
                    "INSERT INTO topics(name, partitions, compacted, retention_ms)"
                    " VALUES (?, ?, ?, ?)",
                    (spec.name, spec.partitions, spec.compacted, spec.retention_ms),
                )
                connection.executemany(
                    "INSERT INTO heads(topic, partition, low, next, cleaned) VALUES (?, ?, 0, 0, 0)",
                    [(spec.name, partition) for partition in range(spec.partitions)],
                )
        self.ring_groups()

    def _check_count(self, spec: TopicSpec, partitions: int) -> None:
        if spec.partitions < 1:
            raise InvalidInput(f"topic {spec.name} needs at least 1 partition, got 0 or fewer")
        if spec.partitions != partitions:
            raise PartitionCountMismatch(
                f"topic {spec.name} must have {spec.partitions} partitions, has {partitions} in "
                f"{self.path}; set the partition count back, or begin a new log elsewhere "
                "and import again"
            )

    def partitions(self, topic: str) -> int:
        """Return the partition count; raises `NotFound` for an unknown topic."""
        count = self._partitions.get(topic)
        if count is None:
            count = self.topics().get(topic)
            if count is None:
                raise NotFound(f"topic {topic!r} is not in the log {self.path}; create it first")
            self._partitions[topic] = count
        return count

    def topics(self) -> dict[str, int]:
        """Return every topic with its partition count."""
        with self.storage.read() as connection:
            return dict(connection.execute("SELECT name, partitions FROM topics ORDER BY name"))

    # Appending

    def append(
        self,
        records: Sequence[NewRecord],
        *,
        group: str | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
        member: str | None = None,
    ) -> list[Position]:
        """Append records over any topics and commit a group's offsets, in one transaction.

        Parameters
        ----------
        records : sequence of NewRecord
        group : str, optional
            The consumer group whose ``offsets`` (next to be read) are committed.
        offsets : mapping, optional
        member : str, optional
            Who commits, in a group that has members (`recstream.log.embedded.groups`).

        Raises
        ------
        LogFenced
            A partition of ``offsets`` belongs to another member of the group; nothing was written.
        LogUnavailable
            Nothing was written, or the disk can't tell: the caller keeps the records.
        """
        request = self._request(records, group, offsets, member)
        self._carry_out([request])
        if request.error is not None:
            raise request.error
        return request.positions

    def append_each(
        self,
        works: Sequence[tuple[Sequence[NewRecord], Mapping[TopicPartition, int]]],
        *,
        group: str | None = None,
        member: str | None = None,
    ) -> list[list[Position] | LogFenced]:
        """Do several appends, each (records, offsets), in one transaction.

        One whose offsets are refused is left out, as its result tells; the others are written.

        Raises
        ------
        LogUnavailable
            Nothing was written, or the disk can't tell: the caller keeps the records.
        """
        requests = [self._request(records, group, offsets, member) for records, offsets in works]
        self._carry_out(requests)
        done: list[list[Position] | LogFenced] = []
        for request in requests:
            if request.error is None:
                done.append(request.positions)
            elif isinstance(request.error, LogFenced):
                done.append(request.error)
            else:
                raise request.error
        return done

    def _request(
        self,
        records: Sequence[NewRecord],
        group: str | None,
        offsets: Mapping[TopicPartition, int] | None,
        member: str | None,
    ) -> Request:
        batches = split(records, self._partitions, self.partitions, self.clock_ms())
        request = Request(batches, len(records), group, offsets or {}, member)
        if request.offsets and group is None:
            raise InvalidInput("offsets need a group to be committed for")
        return request

    def _carry_out(self, requests: Sequence[Request]) -> None:
        """Commit requests together, with what else waits."""
        self._pending.extend(requests)
        with self.write_mutex:
            if not all(request.is_done for request in requests):
                self._commit_pending()

    def _commit_pending(self) -> None:
        """Carry out all waiting requests in one transaction."""
        requests: list[Request] = []
        while self._pending:
            requests.append(self._pending.popleft())
        topics: set[str] = set()
        try:
            self._bells.prepare({tp.topic for request in requests for tp in request.batches})
            with self.storage.write() as connection:
                accepted = [r for r in requests if admit(connection, r)]
                write_records(connection, accepted, self.head, self.clock_ms())
                for request in accepted:
                    write_offsets(connection, request)
            topics = {tp.topic for request in accepted for tp in request.batches}
        except BaseException as error:
            for request in requests:
                request.error = request.error or (
                    error
                    if isinstance(error, RecstreamError)
                    else LogUnavailable(f"the log {self.path}: {error!r}")
                )
            if not isinstance(error, RecstreamError):
                raise
        finally:
            for request in requests:
                request.is_done = True
        self._bells.ring(topics)

    def ring_groups(self) -> None:
        """Wake every member of a group, in every process."""
        with self.write_mutex:
            if not self._closed:
                self._bells.ring([GROUPS])

    # Reading

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        """Return up to ``max_records`` records from ``offset`` on, without waiting.

        Raises
        ------
        OffsetOutOfRange
            ``offset`` is below the earliest kept one, or above the next one to be written.
        """
        with self.storage.read() as connection:
            head = self.head(connection, topic, partition)
            if not head.low <= offset <= head.next:
                raise OffsetOutOfRange(
                    f"offset of {topic}[{partition}] must be {head.low} to {head.next}, "
                    f"got {offset}; begin at the earliest one"
                )
            records: list[Record] = []
            for found in self.scan(connection, topic, partition, head, offset):
                records += found
                if len(records) >= max_records:
                    break
        return records[:max_records]

    def scan(
        self,
        connection: Connection,
        topic: str,
        partition: int,
        head: Head,
        offset: int,
        *,
        max_bytes: int = MAX_READ_BYTES,
    ) -> Iterator[list[Record]]:
        """Give the records from ``offset`` on, a segment at a time, up to about ``max_bytes``."""
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

    def head(self, connection: Connection, topic: str, partition: int) -> Head:
        """Return a partition's row; raises `NotFound`."""
        row = connection.execute(
            "SELECT id, low, next FROM heads WHERE topic=? AND partition=?", (topic, partition)
        ).fetchone()
        if row is None:
            raise NotFound(f"{topic}[{partition}] is not in the log {self.path}; create it first")
        return Head(*row)

    def earliest(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record that may still be read."""
        with self.storage.read() as connection:
            return self.head(connection, topic, partition).low

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset that the next appended record will get."""
        with self.storage.read() as connection:
            return self.head(connection, topic, partition).next

    def heads(self) -> dict[TopicPartition, Head]:
        """Return every partition with its earliest and next offset, as of one moment."""
        with self.storage.read() as connection:
            return {
                TopicPartition(topic, partition): Head(*rest)
                for topic, partition, *rest in connection.execute(
                    "SELECT topic, partition, id, low, next FROM heads"
                )
            }

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Return the first offset whose record's time is at or after a time, else the next one."""
        with self.storage.read() as connection:
            head = self.head(connection, topic, partition)
            row = connection.execute(
                "SELECT id FROM segments WHERE id >= ? AND id < ? AND max_ts >= ?"
                " ORDER BY id LIMIT 1",
                (head.key(0), head.key(head.next), timestamp_ms),
            ).fetchone()
            if row is None:
                return head.next
            base = row[0] - head.key(0)
            for records in self.scan(connection, topic, partition, head, base):
                for record in records:
                    if record.timestamp_ms >= timestamp_ms:
                        return record.offset
            return head.next

    def tail(self, positions: Mapping[TopicPartition, int]) -> EmbeddedTail:
        """Return a reader that starts at these offsets."""
        return EmbeddedTail(self, positions)

    def wakeup(self) -> Wakeup:
        """Return an ear for the appends of all processes; it listens to nothing yet."""
        return Wakeup(self.path, self._appended)

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the next offsets a consumer group will read."""
        with self.storage.read() as connection:
            return {
                TopicPartition(topic, partition): next_
                for topic, partition, next_ in connection.execute(
                    "SELECT topic, partition, next FROM offsets WHERE grp=?", (group,)
                )
            }

    def _appended(self, topics: Collection[str]) -> int:
        """Return a number that changes with every append to these topics."""
        with self.storage.read() as connection:
            return sum(
                next_
                for topic in topics
                for (next_,) in connection.execute("SELECT next FROM heads WHERE topic=?", (topic,))
            )

    def close(self) -> None:
        """Release files and connections."""
        with self.write_mutex:
            if not self._closed:
                self._closed = True
                self.storage.close()
                self._bells.close()
