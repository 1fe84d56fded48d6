"""Step 2 of the flow: keeping the log's file small and quick: merging, compaction, retention.

Segments are only ever added by appends and only ever rewritten here, so one lock between
maintainers is enough, and appends wait no longer than one short transaction. Offsets never
change: a record that goes leaves a gap, and the last record of a partition always stays.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import NamedTuple

from recstream.errors import InvalidInput, LogUnavailable
from recstream.log.embedded.log import EmbeddedLog
from recstream.log.embedded.segments import MAX_BYTES, MAX_RECORDS, Packed, pack_records, unpack
from recstream.log.embedded.storage import OFFSET_BITS, Head
from recstream.log.port import Record

DAY_MS = 24 * 3600 * 1000
MAX_KEYS = 500_000
"""Keys held in memory while a partition is compacted; more are left to the next round."""
MIN_DIRTY_RATIO = 0.5
"""Share of a partition's bytes that is new since the last compaction before there is another."""
_SEGMENTS_PER_TRANSACTION = 32
_OFFSET_MASK = (1 << OFFSET_BITS) - 1


class Maintained(NamedTuple):
    """What one round of maintenance did."""

    merged: int = 0
    """Segments that went into others."""
    compacted: int = 0
    """Records that a newer one of their key made superfluous."""
    expired: int = 0
    """Records older than their topic keeps them."""


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
    log: EmbeddedLog,
    *,
    tombstone_delay_ms: int = DAY_MS,
    min_dirty_ratio: float = MIN_DIRTY_RATIO,
) -> Maintained:
    """Do what is due: drop what expired, compact, merge small segments, shorten the WAL.

    A role calls this every so often; while another process does it, this returns at once.

    Parameters
    ----------
    log : EmbeddedLog
    tombstone_delay_ms : int
        How long a tombstone outlives its append, so that every reader can see it.
    min_dirty_ratio : float
        Compact a partition only when this share of its bytes is new; 0 compacts always.
    """
    with _only_maintainer(log, wait=False) as is_mine:
        if not is_mine:
            return Maintained()
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
        log.storage.shorten()
    return Maintained(merged, compacted, expired)


def redact(log: EmbeddedLog, topic: str, partition: int, change: Callable[[Record], Record]) -> int:
    """Rewrite records of a partition in place, keeping their offsets; return how many changed.

    The old bytes are overwritten in the file, not only unlinked, and the write-ahead log is
    emptied. This is what forgetting a user needs: ``change`` gives the record without what must
    go (``record._replace(value=None)``), or the record itself to leave it as it is. Readers that
    have passed the record don't see it again.

    Cost: reads the partition once, rewrites the segments that hold a changed record.

    Raises
    ------
    InvalidInput
        ``change`` moved a record to another position.
    """
    n_changed = 0
    with _only_maintainer(log, wait=True):
        for rows in _chunks(_rows(log, topic, partition), _SEGMENTS_PER_TRANSACTION):
            with log.storage.read() as connection:
                parts = [_load(connection, topic, partition, row) for row in rows]
            for row, records in zip(rows, parts, strict=True):
                changed = [change(record) for record in records]
                if changed == records:
                    continue
                if [r[:3] for r in changed] != [r[:3] for r in records]:
                    raise InvalidInput(
                        f"a redaction must keep positions; at {topic}[{partition}]@{row.base}"
                    )
                n_changed += sum(a != b for a, b in zip(changed, records, strict=True))
                packed = pack_records(row.base, row.next, changed)
                with log.write_mutex, log.storage.write() as connection:
                    _replace(connection, [row], packed)
        log.storage.shorten()
    return n_changed


@contextmanager
def _only_maintainer(log: EmbeddedLog, *, wait: bool) -> Generator[bool, None, None]:
    """Hold the lock between maintainers of all processes; give False if another one has it."""
    path = log.path.with_name(log.path.name + "-maintain")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise LogUnavailable(
            f"{path} can't be opened: {error}; make its folder writable"
        ) from error
    try:
        is_mine = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_mine = False
        yield is_mine
    finally:
        os.close(descriptor)


def _rows(log: EmbeddedLog, topic: str, partition: int) -> list[_Row]:
    with log.storage.read() as connection:
        head = log.head(connection, topic, partition)
        return [
            _Row(*row)
            for row in connection.execute(
                "SELECT id, next, count, appended_ms, size FROM segments"
                " WHERE id >= ? AND id < ? ORDER BY id",
                (head.key(0), head.key(head.next)),
            )
        ]


def _load(connection: Connection, topic: str, partition: int, row: _Row) -> list[Record]:
    crc, data = connection.execute(
        "SELECT crc, data FROM segments WHERE id=?", (row.id,)
    ).fetchone()
    return unpack(topic, partition, row.base, crc, data)


def _replace(connection: Connection, rows: Sequence[_Row], packed: Packed | None) -> None:
    """Put one segment, or nothing, where several were.

    The old bytes are overwritten: a copy that a merge left in a free page could not be redacted.
    """
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
    """Drop whole segments from the front whose newest append is older; return the records gone."""
    old: list[_Row] = []
    for row in _rows(log, topic, partition):
        if row.appended_ms >= before_ms:
            break
        old.append(row)
    for rows in _chunks(old, _SEGMENTS_PER_TRANSACTION):
        with log.write_mutex, log.storage.write() as connection:
            head = log.head(connection, topic, partition)
            _replace(connection, rows, None)
            connection.execute("UPDATE heads SET low=? WHERE id=?", (rows[-1].next, head.id))
    return sum(row.n_records for row in old)


def _merge(log: EmbeddedLog, topic: str, partition: int) -> int:
    """Put small neighbours into one segment; return how many rows that saved.

    What was compacted and what was not yet stay apart, so that compaction knows what is new.
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
        if len(group) < 2:  # noqa: PLR2004 - one alone is as merged as can be
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
        head = log.head(connection, topic, partition)
        row = connection.execute("SELECT cleaned FROM heads WHERE id=?", (head.id,)).fetchone()
        return int(row[0])


class _Compaction:
    """One pass over a partition of a compacted topic."""

    def __init__(self, log: EmbeddedLog, topic: str, partition: int) -> None:
        self.log = log
        self.topic = topic
        self.partition = partition

    def run(self, drop_tombstones_before_ms: int, min_dirty_ratio: float) -> int:
        """Keep the newest record of each key; return how many records went."""
        rows = _rows(self.log, self.topic, self.partition)
        with self.log.storage.read() as connection:
            head = self.log.head(connection, self.topic, self.partition)
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
        """Return the newest offset of each key that changed, and the offset they are known up to."""
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
