"""Database of snapshots: rows of histories by block, and where each list was published.

The folder is derived from the log; `recstream.time_travel.snapshots` fills it.

==================================  ================================================================
key                                 value
==================================  ================================================================
``h``, partition, row key, end      a row of a history as of a block's end
``b``, partition, end               empty: a block ends here
``l``, partition, user, as_of, end  offset and time of a list published as of that event
``i``, rec_id                       partition, event offset, offset and time of the list
``n``, partition                    next offsets of interactions and of recommendations
``s``, partition                    first offsets of interactions and of recommendations
``c``, partition                    next offset of the control topic whose settings were followed
``e``                               epoch of the log, and a digest of finished requests to forget
==================================  ================================================================
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec
import rocksdict

from recstream.core.records import list_header
from recstream.log import Record, partition_for
from recstream.process import open_derived, rocksdb_errors

SCHEMA = 3
"""Of the table above; a folder of another one is rebuilt."""
_END = struct.Struct(">Q")
_PAIR = struct.Struct(">QQ")
_LIST = struct.Struct(">Qq")
_BY_ID = struct.Struct(">IQQq")
_AFTER = b"\xff"
"""Separates a name from a number; not in UTF-8, so that no name is a prefix of another."""
_MOST = 2**63


class ListPosition(msgspec.Struct, frozen=True):
    """Offset of a published list, and the event offset that it is as of."""

    as_of: int
    offset: int
    timestamp_ms: int


class SnapshotTable:
    """The database of a folder.

    Parameters
    ----------
    folder : Path
        Opened by one process at a time.
    mark : bytes
        What the rows are derived from; a folder with another mark, or a damaged one, is emptied.

    Raises
    ------
    StartupError
        Another process has the folder open, or it can't be written.
    """

    def __init__(self, folder: Path, mark: bytes) -> None:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(create_if_missing=True)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        self.mark = b"%d %b" % (SCHEMA, mark)
        with rocksdb_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            database, known = open_derived(
                folder, lambda: rocksdict.Rdict(str(folder), options), b"e"
            )
            if known is not None and known != self.mark:
                database.close()
                rocksdict.Rdict.destroy(str(folder), options)
                database = rocksdict.Rdict(str(folder), options)
            database[b"e"] = self.mark
        self._folder = folder
        self._db = database

    def close(self) -> None:
        """Release the folder; again, it changes nothing."""
        with contextlib.suppress(Exception):  # after a failed write; what is missing is read again
            self._db.close()

    def starts(self, partition: int) -> tuple[int, int]:
        """Return the first offsets of interactions and recommendations that the folder covers."""
        raw = self._db.get(_key(b"s", partition))
        return (0, 0) if raw is None else _PAIR.unpack(raw)

    def next_offsets(self, partition: int) -> tuple[int, int] | None:
        """Return the next offsets of interactions and recommendations; None before the first."""
        raw = self._db.get(_key(b"n", partition))
        return None if raw is None else _PAIR.unpack(raw)

    def control(self, partition: int) -> int:
        """Return the next offset of the control topic that the blocks' settings were read to."""
        raw = self._db.get(_key(b"c", partition))
        return 0 if raw is None else int(_END.unpack(raw)[0])

    def block_end(self, partition: int, most: int) -> int:
        """Return the end of the newest block at or before an offset; 0 if there is none."""
        prefix = _key(b"b", partition)
        iterator = self._db.iter()
        iterator.seek_for_prev(prefix + _END.pack(most))
        if iterator.valid() and (key := iterator.key()).startswith(prefix):
            end: int = _END.unpack(key[len(prefix) :])[0]
            return end
        iterator.status()  # raises if it ended at a damaged block
        return 0

    def row(self, partition: int, row_key: bytes, end: int) -> bytes | None:
        """Return a row of a history as of a block's end."""
        prefix = _key(b"h", partition, row_key)
        iterator = self._db.iter()
        iterator.seek_for_prev(prefix + _END.pack(end))
        if iterator.valid() and iterator.key().startswith(prefix):
            value: bytes = iterator.value()
            return value
        iterator.status()
        return None

    def newest_list(
        self, partition: int, user: str, offset: int | None, timestamp_ms: int | None
    ) -> ListPosition | None:
        """Return the newest list of a user as of an event or published by a time, or None."""
        prefix = _key(b"l", partition, user.encode())
        iterator = self._db.iter()
        iterator.seek_for_prev(prefix + _END.pack(_MOST if offset is None else offset) + _AFTER * 9)
        while iterator.valid() and (key := iterator.key()).startswith(prefix):
            as_of = _END.unpack(key[len(prefix) : len(prefix) + 8])[0]
            position, at_ms = _LIST.unpack(iterator.value())
            if timestamp_ms is None or at_ms <= timestamp_ms:
                return ListPosition(as_of, position, at_ms)
            iterator.prev()
        iterator.status()
        return None

    def lists(self, partition: int, user: str, start: int, stop: int) -> list[ListPosition]:
        """Return the lists of a user as of events from ``start`` to before ``stop``, in order."""
        prefix = _key(b"l", partition, user.encode())
        found = []
        iterator = self._db.iter()
        iterator.seek(prefix + _END.pack(start))
        while iterator.valid() and (key := iterator.key()).startswith(prefix):
            as_of = _END.unpack(key[len(prefix) : len(prefix) + 8])[0]
            if as_of >= stop:
                break
            found.append(ListPosition(as_of, *_LIST.unpack(iterator.value())))
            iterator.next()
        iterator.status()
        return found

    def list_by_id(self, rec_id: str) -> tuple[int, ListPosition] | None:
        """Return partition and position of a list."""
        found = self._db.get(b"i" + rec_id.encode())
        if found is None:
            return None
        partition, *place = _BY_ID.unpack(found)
        return partition, ListPosition(*place)

    def write(self, partition: int) -> SnapshotBatch:
        """Return a batch of changes to a partition."""
        return SnapshotBatch(self._folder, self._db, partition)


class SnapshotBatch:
    """Changes to a partition, written at once."""

    def __init__(self, folder: Path, database: rocksdict.Rdict, partition: int) -> None:
        self._folder = folder
        self._db = database
        self._partition = partition
        self._batch = rocksdict.WriteBatch(raw_mode=True)

    def __len__(self) -> int:
        return int(self._batch.len())

    def commit(self) -> None:
        """Write the changes; the batch is empty then."""
        with rocksdb_errors(self._folder):
            self._db.write(self._batch)
        self._batch = rocksdict.WriteBatch(raw_mode=True)

    def clear_partition(self) -> None:
        """Remove all rows of the partition; lists stay known by their id."""
        for kind in (b"h", b"b", b"l"):
            self._batch.delete_range(_key(kind, self._partition), _key(kind, self._partition + 1))
        self._batch.delete(_key(b"n", self._partition))
        self._batch.delete(_key(b"s", self._partition))

    def put_rows(self, rows: Iterable[tuple[bytes, bytes]], end: int) -> None:
        """Store rows of histories as of a block's end."""
        for key, value in rows:
            self._batch.put(_key(b"h", self._partition, key) + _END.pack(end), value)

    def end_block(self, end: int) -> None:
        """Store that a block ends here."""
        self._batch.put(_key(b"b", self._partition) + _END.pack(end), b"")

    def set_starts(self, offset: int, first_list: int) -> None:
        """Store from which offsets on the folder covers the partition."""
        self._batch.put(_key(b"s", self._partition), _PAIR.pack(offset, first_list))

    def set_next(self, offset: int, next_list: int) -> None:
        """Store how far the partition was read."""
        self._batch.put(_key(b"n", self._partition), _PAIR.pack(offset, next_list))

    def set_control(self, next_offset: int) -> None:
        """Store how far the settings of the blocks were read."""
        self._batch.put(_key(b"c", self._partition), _END.pack(next_offset))

    def put_all(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Store rows under their whole keys."""
        for key, value in rows:
            self._batch.put(key, value)


def list_rows(record: Record, n_partitions: int, raw: bytes) -> list[tuple[bytes, bytes]]:
    """Return the rows that index a list: by its user and event, and by its id.

    A list in a partition that is not its user's is none of recstream's.
    """
    body = list_header(raw)
    if body.as_of is None or record.partition != partition_for(body.user.encode(), n_partitions):
        return []
    key = _key(b"l", record.partition, body.user.encode()) + _END.pack(body.as_of.offset)
    # Several lists may be as of one event: they are ordered by their own offset.
    place = record.offset, record.timestamp_ms
    return [
        (key + _END.pack(record.offset), _LIST.pack(*place)),
        (b"i" + body.rec_id.encode(), _BY_ID.pack(record.partition, body.as_of.offset, *place)),
    ]


def _key(kind: bytes, partition: int, name: bytes | None = None) -> bytes:
    head = b"%b%b" % (kind, partition.to_bytes(4, "big"))
    return head if name is None else head + name + _AFTER
