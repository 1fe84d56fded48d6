"""Log maintenance: merge small segments, compact topics, drop expired records, redact.

Appends only add segments and maintenance alone rewrites them, so one lock between maintainers is
enough. Appends wait for one short transaction at most. Offsets never change: a removed record leaves
a gap, and the last record of a partition always stays.
"""

import fcntl
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import NamedTuple

from recstream.errors import InvalidInput, LogUnavailable
from recstream.log.embedded.log import EmbeddedLog
from recstream.log.embedded.reads import find_head
from recstream.log.embedded.segments import MAX_BYTES, MAX_RECORDS, Packed, pack_records, unpack
from recstream.log.embedded.storage import OFFSET_BITS, Head
from recstream.log.port import Record
from recstream.log.topics import DAY_MS

MAX_KEYS = 500_000
"""Most keys in memory while a partition is compacted; the rest waits for the next round."""
MIN_DIRTY_RATIO = 0.5
"""Compact a partition once this share of its bytes is newer than the last compaction."""
_SEGMENTS_PER_TRANSACTION = 32
_OFFSET_MASK = (1 << OFFSET_BITS) - 1


class MaintenanceResult(NamedTuple):
    """Counts of one round of maintenance."""

    merged: int = 0
    """Segments merged into others."""
    compacted: int = 0
    """Records removed because their key has a newer record."""
    expired: int = 0
    """Records removed by retention."""


class _Row(NamedTuple):
    """A segment without its records."""

    id: int
    next: int
    n_records: int
    appended_ms: int
    size: int

    @property
    def base(self) -> int:
        return self.id & _OFFSET_MASK


class _Topic(NamedTuple):
    name: str
    partitions: int
    is_compacted: int
    retention_ms: int | None


def maintain(
    log: EmbeddedLog, *, tombstone_delay_ms: int = DAY_MS, min_dirty_ratio: float = MIN_DIRTY_RATIO
) -> MaintenanceResult:
    """Drop expired records, compact, merge small segments, checkpoint the write-ahead log.

    Returns at once while another process does it.

    Parameters
    ----------
    tombstone_delay_ms : int
        How long a tombstone is kept, so that every reader sees it.
    min_dirty_ratio : float
        Compact a partition only when this share of its bytes is new; 0 compacts always.
    """
    with _maintenance_lock(log, wait=False) as is_held:
        if not is_held:
            return MaintenanceResult()
        with log.storage.read() as connection:
            topics = [
                _Topic(*row)
                for row in connection.execute(
                    "SELECT name, partitions, compacted, retention_ms FROM topics ORDER BY id"
                )
            ]
        merged = compacted = expired = 0
        for topic in topics:
            for partition in range(topic.partitions):
                if topic.retention_ms is not None:
                    before_ms = log.clock_ms() - topic.retention_ms
                    expired += _expire(log, topic.name, partition, before_ms)
                if topic.is_compacted:
                    compacted += _Compaction(log, topic.name, partition).run(
                        log.clock_ms() - tombstone_delay_ms, min_dirty_ratio
                    )
                merged += _merge(log, topic.name, partition)
        log.storage.checkpoint()
    return MaintenanceResult(merged, compacted, expired)


def redact(log: EmbeddedLog, topic: str, partition: int, change: Callable[[Record], Record]) -> int:
    """Rewrite records of a partition in place, at the same offsets; return how many changed.

    Used to erase a user's data. The old bytes are overwritten in the file (``secure_delete``), and
    the write-ahead log is emptied. Readers that have passed the record don't see the change.

    Cost: reads the partition once, rewrites the segments with a changed record.

    Parameters
    ----------
    change : callable
        Returns the redacted record, e.g. ``record._replace(value=None)``, or the record as it is.

    Raises
    ------
    InvalidInput
        ``change`` moved a record to another position.
    """
    n_changed = 0
    with _maintenance_lock(log, wait=True):
        for rows in _chunks(_rows(log, topic, partition), _SEGMENTS_PER_TRANSACTION):
            with log.storage.read() as connection:
                parts = [_load(connection, topic, partition, row) for row in rows]
            for row, records in zip(rows, parts, strict=True):
                changed = [change(record) for record in records]
                if changed == records:
                    continue
                if [r[:3] for r in changed] != [r[:3] for r in records]:
                    raise InvalidInput(
                        f"a redaction must keep topic, partition and offset of each record; "
                        f"at {topic}[{partition}]@{row.base}"
                    )
                n_changed += sum(a != b for a, b in zip(changed, records, strict=True))
                packed = pack_records(row.base, row.next, changed)
                with log.write_mutex, log.storage.write() as connection:
                    _replace(connection, [row], packed)
        log.storage.checkpoint()
    return n_changed


@contextmanager
def _maintenance_lock(log: EmbeddedLog, *, wait: bool) -> Generator[bool, None, None]:
    """Hold the lock between maintainers of all processes; yield False if another one has it."""
    path = log.path.with_name(log.path.name + "-maintain")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogUnavailable(
            f"{path} can't be opened: {error}; make its folder writable"
        ) from error
    try:
        is_held = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_held = False
        yield is_held
    finally:
        os.close(descriptor)


def _rows(log: EmbeddedLog, topic: str, partition: int) -> list[_Row]:
    with log.storage.read() as connection:
        head = find_head(connection, topic, partition)
        return [
            _Row(*row)
            for row in connection.execute(
                "SELECT id, next, count, appended_ms, size FROM segments"
                " WHERE id >= ? AND id < ? ORDER BY id",
                (head.key(0), head.key(head.next)),
            )
        ]


def _load(connection: Connection, topic: str, partition: int, row: _Row) -> list[Record]:
    """Return a segment's records; none if `EmbeddedLog.delete_before` has deleted it since."""
    found = connection.execute("SELECT crc, data FROM segments WHERE id=?", (row.id,)).fetchone()
    return [] if found is None else unpack(topic, partition, row.base, *found)


def _replace(connection: Connection, rows: Sequence[_Row], packed: Packed | None) -> None:
    """Replace segments by one segment or none.

    Nothing is done if `EmbeddedLog.delete_before` has deleted one of them since: a later round does it.
    The old bytes are overwritten: a later redaction could not reach copies in free pages.
    """
    ids = (rows[0].id, rows[-1].id)
    query = "SELECT count(*) FROM segments WHERE id BETWEEN ? AND ?"
    if packed is not None and connection.execute(query, ids).fetchone()[0] < len(rows):
        return
    connection.execute("PRAGMA secure_delete=ON")
    connection.executemany("DELETE FROM segments WHERE id=?", [(row.id,) for row in rows])
    if packed is not None:
        connection.execute(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                rows[0].id,
                *packed[1:4],
                max(row.appended_ms for row in rows),
                len(packed.data),
                packed.crc,
                packed.data,
            ),
        )


def _expire(log: EmbeddedLog, topic: str, partition: int, before_ms: int) -> int:
    """Drop leading segments whose newest append is older; return the number of records dropped."""
    old: list[_Row] = []
    for row in _rows(log, topic, partition):
        if row.appended_ms >= before_ms:
            break
        old.append(row)
    for rows in _chunks(old, _SEGMENTS_PER_TRANSACTION):
        with log.write_mutex, log.storage.write() as connection:
            head = find_head(connection, topic, partition)
            _replace(connection, rows, None)
            connection.execute(
                "UPDATE heads SET low=max(low, ?) WHERE id=?", (rows[-1].next, head.id)
            )
    return sum(row.n_records for row in old)


def _merge(log: EmbeddedLog, topic: str, partition: int) -> int:
    """Merge small neighbouring segments; return how many rows that saved.

    Compacted and uncompacted segments are not merged: compaction must know what is new.
    """
    cleaned = _cleaned(log, topic, partition)
    groups: list[list[_Row]] = []
    n_records = size = 0
    for row in _rows(log, topic, partition):
        n_records += row.n_records
        size += row.size
        if not groups or n_records > MAX_RECORDS or size > MAX_BYTES or row.base == cleaned:
            groups.append([])
            n_records, size = row.n_records, row.size
        groups[-1].append(row)
    saved = 0
    for group in groups:
        if len(group) < 2:  # noqa: PLR2004 - a single segment has nothing to merge with
            continue
        with log.storage.read() as connection:
            records = [r for row in group for r in _load(connection, topic, partition, row)]
        packed = pack_records(group[0].base, group[-1].next, records)
        with log.write_mutex, log.storage.write() as connection:
            _replace(connection, group, packed)
        saved += len(group) - 1
    return saved


def _cleaned(log: EmbeddedLog, topic: str, partition: int) -> int:
    """Return the offset up to which a partition was compacted."""
    with log.storage.read() as connection:
        head = find_head(connection, topic, partition)
        row = connection.execute("SELECT cleaned FROM heads WHERE id=?", (head.id,)).fetchone()
        return int(row[0])


class _Compaction:
    """One pass over a partition of a compacted topic."""

    def __init__(self, log: EmbeddedLog, topic: str, partition: int) -> None:
        self.log = log
        self.topic = topic
        self.partition = partition

    def run(self, drop_tombstones_before_ms: int, min_dirty_ratio: float) -> int:
        """Keep the newest record of each key; return how many records were removed."""
        rows = _rows(self.log, self.topic, self.partition)
        with self.log.storage.read() as connection:
            head = find_head(connection, self.topic, self.partition)
        cleaned = _cleaned(self.log, self.topic, self.partition)
        dirty = [row for row in rows if row.base >= cleaned]
        size = sum(row.size for row in rows)
        if not dirty or sum(row.size for row in dirty) < min_dirty_ratio * size:
            return 0
        newest, after = self._newest(dirty)
        dropped = 0
        for row in rows:
            if row.base >= after:
                break
            dropped += self._rewrite(row, head, newest, drop_tombstones_before_ms)
        with self.log.write_mutex, self.log.storage.write() as connection:
            connection.execute("UPDATE heads SET cleaned=? WHERE id=?", (after, head.id))
        return dropped

    def _newest(self, dirty: Sequence[_Row]) -> tuple[dict[bytes, int], int]:
        """Return the newest offset of each changed key, and the offset up to which that holds."""
        newest: dict[bytes, int] = {}
        after = dirty[0].base
        for row in dirty:
            if len(newest) >= MAX_KEYS:
                break
            with self.log.storage.read() as connection:
                for record in _load(connection, self.topic, self.partition, row):
                    if record.key is not None:
                        newest[record.key] = record.offset
            after = row.next
        return newest, after

    def _rewrite(self, row: _Row, head: Head, newest: dict[bytes, int], before_ms: int) -> int:
        with self.log.storage.read() as connection:
            records = _load(connection, self.topic, self.partition, row)
        is_old = row.appended_ms < before_ms
        kept = [
            r
            for r in records
            if r.offset == head.next - 1
            or r.key is None
            or (newest.get(r.key, -1) <= r.offset and not (is_old and r.value is None))
        ]
        if len(kept) == len(records):
            return 0
        packed = pack_records(row.base, row.next, kept)
        with self.log.write_mutex, self.log.storage.write() as connection:
            _replace(connection, [row], packed)
        return len(records) - len(kept)


def _chunks(rows: Sequence[_Row], size: int) -> Iterable[Sequence[_Row]]:
    return (rows[at : at + size] for at in range(0, len(rows), size))
