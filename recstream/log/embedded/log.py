"""`EmbeddedLog`: the event log in one SQLite file, for any number of processes on one machine.

The URL's ``sync`` option sets the durability of an acknowledgement:
docs/decisions/log-durability.md.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from recstream.errors import (
    InvalidInput,
    LogFenced,
    LogUnavailable,
    NotFound,
    OffsetOutOfRange,
    PartitionCountMismatch,
    RecstreamError,
)
from recstream.log.embedded.appends import (
    AppendRequest,
    check_owner,
    split_by_partition,
    write_offsets,
    write_records,
)
from recstream.log.embedded.notify import GROUPS, Notifier, Waiter
from recstream.log.embedded.reads import find_head, scan
from recstream.log.embedded.storage import Head, Storage, Sync
from recstream.log.embedded.tail import EmbeddedTail
from recstream.log.port import NewRecord, Position, Record, TopicPartition
from recstream.log.topics import TopicSpec
from recstream.process import system_clock_ms

SEGMENTS_PER_TRANSACTION = 32


class EmbeddedLog:
    """The `EventLog` in one SQLite file. Safe to share between threads and processes.

    Group commit: appends that wait at the same time share one transaction and one fsync.

    Parameters
    ----------
    path : path-like
        The file. It is created, with its folder, if missing.
    sync : {"full", "normal"}
        ``"full"``: an acknowledged append survives a power cut. ``"normal"``: it survives a
        killed process; a power cut may lose the last few appends.
    busy_timeout_s : float
        How long a write waits for writers of other processes.
    clock_ms : callable
        Source of append times.

    Raises
    ------
    LogUnavailable
        The file or its folder can't be opened or written.
    LogCorrupt
        The file is not a recstream log, is empty, or is damaged.
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
        self._notifier = Notifier(self.path)
        self._partitions: dict[str, int] = {}
        self._pending: deque[AppendRequest] = deque()
        self.write_mutex = threading.Lock()
        self._closed = False

    @property
    def epoch(self) -> str:
        """ULID of this log; changes when the log is wiped or recreated."""
        return self.storage.epoch

    # Topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create missing topics; raises `PartitionCountMismatch` before creating anything."""
        specs = list(specs)
        existing = self.topics()
        for spec in specs:
            self._check_count(spec, existing.get(spec.name, spec.partitions))
        if all(spec.name in existing for spec in specs):
            return
        with self.write_mutex, self.storage.write() as connection:
            for spec in specs:
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
                    "INSERT INTO heads(topic, partition, low, next, cleaned) "
                    "VALUES (?, ?, 0, 0, 0)",
                    [(spec.name, partition) for partition in range(spec.partitions)],
                )
        self.notify_groups()

    def _check_count(self, spec: TopicSpec, partitions: int) -> None:
        if spec.partitions < 1:
            raise InvalidInput(
                f"topic {spec.name} needs at least 1 partition, got {spec.partitions}"
            )
        if spec.partitions != partitions:
            raise PartitionCountMismatch(
                f"topic {spec.name} must have {spec.partitions} partitions, has {partitions} in "
                f"{self.path}; set partitions={partitions}, or import into a new log"
            )

    def partitions(self, topic: str) -> int:
        """Return the partition count; raises `NotFound` for an unknown topic."""
        count = self._partitions.get(topic)
        if count is None:
            known = self.topics()
            count = known.get(topic)
            if count is None:
                raise NotFound(f"topic {topic!r} is not in the log; it has: {', '.join(known)}")
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
        """Append records to any topics and commit a group's offsets, in one transaction.

        Parameters
        ----------
        group : str, optional
            The consumer group whose ``offsets`` (next to be read) are committed.
        member : str, optional
            The committing member of a group with members (`recstream.log.embedded.groups`).

        Raises
        ------
        LogFenced
            A partition of ``offsets`` belongs to another member of the group; nothing was written.
        LogUnavailable
            The append was not acknowledged: the caller keeps the records.
        """
        request = self._request(records, group, offsets, member)
        self._commit([request])
        if request.error is not None:
            raise request.error
        return request.positions

    def append_each(
        self,
        appends: Sequence[tuple[Sequence[NewRecord], Mapping[TopicPartition, int]]],
        *,
        group: str | None = None,
        member: str | None = None,
    ) -> list[list[Position] | LogFenced]:
        """Write several appends, each ``(records, offsets)``, in one transaction.

        An append whose offsets are refused is skipped: its result is the `LogFenced` error.

        Raises
        ------
        LogUnavailable
            The appends were not acknowledged: the caller keeps the records.
        """
        requests = [self._request(records, group, offsets, member) for records, offsets in appends]
        self._commit(requests)
        results: list[list[Position] | LogFenced] = []
        for request in requests:
            if request.error is None:
                results.append(request.positions)
            elif isinstance(request.error, LogFenced):
                results.append(request.error)
            else:
                raise request.error
        return results

    def _request(
        self,
        records: Sequence[NewRecord],
        group: str | None,
        offsets: Mapping[TopicPartition, int] | None,
        member: str | None,
    ) -> AppendRequest:
        batches = split_by_partition(records, self._partitions, self.partitions, self.clock_ms())
        request = AppendRequest(batches, len(records), group, offsets or {}, member)
        if request.offsets and group is None:
            raise InvalidInput("offsets need a group to be committed for")
        return request

    def _commit(self, requests: Sequence[AppendRequest]) -> None:
        """Commit these requests together with all other waiting ones."""
        self._pending.extend(requests)
        with self.write_mutex:
            if not all(request.is_done for request in requests):
                self._commit_pending()

    def _commit_pending(self) -> None:
        """Commit all waiting requests in one transaction."""
        requests: list[AppendRequest] = []
        while self._pending:
            requests.append(self._pending.popleft())
        topics: set[str] = set()
        try:
            self._notifier.prepare({tp.topic for request in requests for tp in request.batches})
            with self.storage.write() as connection:
                accepted = [r for r in requests if check_owner(connection, r)]
                write_records(connection, accepted, self.clock_ms())
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
        self._notifier.notify(topics)

    def notify_groups(self) -> None:
        """Wake the members of all groups, in every process."""
        with self.write_mutex:
            if not self._closed:
                self._notifier.notify([GROUPS])

    # Reading

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        """Return up to ``max_records`` records from ``offset`` on, without waiting.

        Raises
        ------
        OffsetOutOfRange
            ``offset`` is below the earliest kept one, or above the high watermark.
        """
        with self.storage.read() as connection:
            head = find_head(connection, topic, partition)
            if not head.low <= offset <= head.next:
                raise OffsetOutOfRange(
                    f"offset of {topic}[{partition}] must be {head.low} to {head.next}, "
                    f"got {offset}; start at the earliest offset"
                )
            records: list[Record] = []
            for found in scan(connection, topic, partition, head, offset):
                records += found
                if len(records) >= max_records:
                    break
        return records[:max_records]

    def earliest(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record that is still kept."""
        with self.storage.read() as connection:
            return find_head(connection, topic, partition).low

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset that the next appended record will get."""
        with self.storage.read() as connection:
            return find_head(connection, topic, partition).next

    def n_waiting(self, topic: str, partition: int, offset: int) -> int:
        """Return how many records a reader at an offset has still to get, at most."""
        return max(0, self.high_watermark(topic, partition) - offset)

    def heads(self) -> dict[TopicPartition, Head]:
        """Return every partition's earliest and next offset, from one snapshot."""
        with self.storage.read() as connection:
            return {
                TopicPartition(topic, partition): Head(*rest)
                for topic, partition, *rest in connection.execute(
                    "SELECT topic, partition, id, low, next FROM heads"
                )
            }

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Return the first offset with a timestamp at or after a time, else the high watermark."""
        with self.storage.read() as connection:
            head = find_head(connection, topic, partition)
            row = connection.execute(
                "SELECT id FROM segments WHERE id >= ? AND id < ? AND max_ts >= ?"
                " ORDER BY id LIMIT 1",
                (head.key(0), head.key(head.next), timestamp_ms),
            ).fetchone()
            if row is None:
                return head.next
            base = max(row[0] - head.key(0), head.low)
            for records in scan(connection, topic, partition, head, base):
                for record in records:
                    if record.timestamp_ms >= timestamp_ms:
                        return record.offset
            return head.next

    def delete_before(self, topic: str, partition: int, offset: int) -> int:
        """Delete a partition's records before an offset; return the earliest offset from now on.

        The bytes are overwritten, and their pages used again; the file does not become smaller.
        Appends wait for one short transaction at most.
        """
        while True:
            with self.write_mutex, self.storage.write() as connection:
                head = find_head(connection, topic, partition)
                low = max(head.low, min(offset, head.next))
                ids = connection.execute(
                    "SELECT id FROM segments WHERE id >= ? AND id < ? AND next <= ?"
                    " ORDER BY id LIMIT ?",
                    (head.key(0), head.key(low), low, SEGMENTS_PER_TRANSACTION),
                ).fetchall()
                connection.execute("UPDATE heads SET low=? WHERE id=?", (low, head.id))
                connection.execute("PRAGMA secure_delete=ON")
                connection.executemany("DELETE FROM segments WHERE id=?", ids)
            if len(ids) < SEGMENTS_PER_TRANSACTION:
                return low

    def tail(self, positions: Mapping[TopicPartition, int]) -> EmbeddedTail:
        """Return a reader that starts at these offsets."""
        return EmbeddedTail(self.storage, self.waiter(), positions)

    def waiter(self) -> Waiter:
        """Return a waiter for appends of all processes; it watches no topic yet."""
        return Waiter(self.path, self._version)

    def committed(self, group: str, *topics: str) -> dict[TopicPartition, int]:
        """Return the next offsets that a consumer group will read, of these topics; of all without any."""
        with self.storage.read() as connection:
            return {
                TopicPartition(topic, partition): next_
                for topic, partition, next_ in connection.execute(
                    "SELECT topic, partition, next FROM offsets WHERE grp=?", (group,)
                )
                if not topics or topic in topics
            }

    def _version(self, topics: Collection[str]) -> int:
        """Return a number that grows with every append to these topics."""
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
                self._notifier.close()
