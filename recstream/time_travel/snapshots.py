"""Snapshots of histories: rows stored at intervals, so that any offset is reached quickly.

The folder is derived from the log. It is rebuilt for another log, and after a user was forgotten.
Every `BLOCK_EVENTS` events of a partition, the rows of `recstream.core.history.table_rows` that
changed are stored under their key and the block's end. A history at an offset is the newest rows at
or before it plus the user's own events since that block: at most one block is read.

The first block is the newest checkpoint at or before the first question's offset, if there is one. A
question about an older offset starts the partition again from an older checkpoint, or the log's start.

==================================  ================================================================
key                                 value
==================================  ================================================================
``h``, partition, row key, end      a row of a history as of a block's end
``b``, partition, end               empty: a block ends here
``l``, partition, user, as_of       offset and time of the list published as of that event
``i``, rec_id                       partition, event offset, offset and time of the list
``n``, partition                    next offsets of interactions and of recommendations
``s``, partition                    first offsets of interactions and of recommendations
``e``                               epoch of the log, and a digest of finished requests to forget
==================================  ================================================================
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import rocksdict

from recstream.checkpoints import Checkpoints, read_rows
from recstream.control import read_timeline
from recstream.core.history import History, SettingsTimeline, table_rows
from recstream.core.records import list_origin
from recstream.erasure import forgetting
from recstream.errors import BeyondHorizon, StartupError
from recstream.log import (
    INTERACTIONS,
    RECOMMENDATIONS,
    ReadableLog,
    Record,
    decode_or_skip,
    partition_for,
    read_batches,
    read_records,
)
from recstream.time_travel.fold import PartitionFold

BLOCK_EVENTS = 25_000
BATCH_ROWS = 20_000
SCHEMA = 2
"""Of the table above; a folder of another one is rebuilt."""
_END = struct.Struct(">Q")
_LIST = struct.Struct(">Qq")
_NEXT = struct.Struct(">QQ")
_BY_ID = struct.Struct(">IQQq")
_AFTER = b"\xff"
"""Separates a name from a number; not in UTF-8, so that no name is a prefix of another."""


class ListPosition(msgspec.Struct, frozen=True):
    """Offset of a published list, and the event offset that it is as of."""

    as_of: int
    offset: int
    timestamp_ms: int


class Snapshots:
    """Histories and lists at any offset.

    Parameters
    ----------
    log : ReadableLog
    folder : Path
        Kept between runs; opened by one process at a time.
    block_events : int
    progress : callable
        Called with the number of events folded since the last call, while it catches up.
    checkpoints : Checkpoints, optional
        Where folding starts.

    Raises
    ------
    StartupError
        Another process has the folder open, or it can't be written.
    """

    def __init__(
        self,
        log: ReadableLog,
        folder: Path,
        *,
        block_events: int = BLOCK_EVENTS,
        progress: Callable[[int], None] = lambda _: None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._log = log
        self.checkpoints = checkpoints
        self._block_events = block_events
        self._progress = progress
        self._folds: dict[int, PartitionFold] = {}
        self._n_partitions = log.partitions(INTERACTIONS)
        self._timeline: SettingsTimeline = read_timeline(log)
        self._folder = folder
        self._mark = self._log_mark()
        self._db = self._opened(folder)

    def _log_mark(self) -> bytes:
        """Return an identifier of the log and of the users forgotten in it."""
        finished = sorted(forgetting(self._log).finished)
        ids = hashlib.blake2b("\0".join(finished).encode(), digest_size=16).hexdigest()
        return f"{SCHEMA} {self._log.epoch} {ids if finished else ''}".encode()

    def _opened(self, folder: Path) -> rocksdict.Rdict:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(create_if_missing=True)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            database = rocksdict.Rdict(str(folder), options)
        except Exception as error:
            raise StartupError(
                f"snapshots in {folder} can't be opened: {error}; close the other process, "
                "or give another folder"
            ) from error
        known = database.get(b"e")
        if known is not None and known != self._mark:
            database.close()
            rocksdict.Rdict.destroy(str(folder), options)
            database = rocksdict.Rdict(str(folder), options)
        database[b"e"] = self._mark
        return database

    def close(self) -> None:
        """Release the folder."""
        self._db.close()

    # Queries

    def partition(self, user: str) -> int:
        """Return the partition of a user."""
        return partition_for(user.encode(), self._n_partitions)

    def history(self, user: str, offset: int) -> History:
        """Return a user's history including the event at an offset.

        Raises
        ------
        BeyondHorizon
            Events before it were pruned, and no checkpoint replaces them.
        """
        partition = self.partition(user)
        self.catch_up(partition, offset + 1)
        end = self._block_end(partition, offset + 1)
        found = table_rows.load(user, lambda key: self._row(partition, key, end))
        fold = PartitionFold(
            partition,
            self._n_partitions,
            self._timeline,
            load=lambda _: found,
            next_offset=end,
        )
        mine = msgspec.json.encode(user)
        key = user.encode()
        for group in read_batches(self._log, INTERACTIONS, partition, end, offset + 1):
            fold.fold([each for each in group if may_concern(each, key, mine)], only=user)
        return fold.history(user)

    def fold_at(self, partition: int, offset: int) -> PartitionFold:
        """Return the fold of a partition as of an offset: the histories of all users before it."""
        self.catch_up(partition, offset)
        end = self._block_end(partition, offset)
        fold = PartitionFold(
            partition,
            self._n_partitions,
            self._timeline,
            load=lambda user: table_rows.load(user, lambda key: self._row(partition, key, end)),
            next_offset=end,
        )
        for group in read_batches(self._log, INTERACTIONS, partition, end, offset):
            fold.fold(group)
        return fold

    def list_position(
        self, user: str, *, offset: int | None = None, timestamp_ms: int | None = None
    ) -> ListPosition | None:
        """Return the newest list of a user as of an event or published by a time, or None.

        Raises
        ------
        BeyondHorizon
            There may have been one among the lists that were pruned.
        """
        partition = self.partition(user)
        self.catch_up(partition, None if offset is None else offset + 1)
        found = self.known_list(user, offset=offset, timestamp_ms=timestamp_ms)
        if found is None and self._index_older_lists(partition):
            found = self.known_list(user, offset=offset, timestamp_ms=timestamp_ms)
        if found is None:
            self._require_lists(partition, offset, timestamp_ms)
        return found

    def known_list(
        self, user: str, *, offset: int | None = None, timestamp_ms: int | None = None
    ) -> ListPosition | None:
        """Return the same as `list_position`, among the lists read so far."""
        if offset is not None and offset < 0:
            return None
        partition = self.partition(user)
        prefix = _key(b"l", partition, user.encode())
        iterator = self._db.iter()
        iterator.seek_for_prev(prefix + _END.pack(_MOST if offset is None else offset) + _AFTER * 9)
        while iterator.valid() and (key := iterator.key()).startswith(prefix):
            as_of = _END.unpack(key[len(prefix) : len(prefix) + 8])[0]
            position, at_ms = _LIST.unpack(iterator.value())
            if timestamp_ms is None or at_ms <= timestamp_ms:
                return ListPosition(as_of, position, at_ms)
            iterator.prev()
        return None

    def _require_lists(self, partition: int, offset: int | None, timestamp_ms: int | None) -> None:
        """Raise `BeyondHorizon` for a moment before the oldest list that is kept."""
        earliest = self._log.earliest(RECOMMENDATIONS, partition)
        end = self._log.high_watermark(RECOMMENDATIONS, partition)
        if not earliest:
            return
        if timestamp_ms is None and offset is not None:
            found = read_records(self._log, INTERACTIONS, partition, offset, offset + 1)
            timestamp_ms = next((each.timestamp_ms for each in found), None)
        first = next(read_records(self._log, RECOMMENDATIONS, partition, earliest, end), None)
        if timestamp_ms is not None and (first is None or timestamp_ms < first.timestamp_ms):
            raise BeyondHorizon(
                f"{RECOMMENDATIONS}[{partition}] keeps lists from offset {earliest} on; the user's list "
                "at that moment was pruned (keep_lists_days)"
            )

    def list_before(self, user: str, position: ListPosition) -> ListPosition | None:
        """Return the newest list published before another to the same user, or None."""

        def find() -> ListPosition | None:
            earlier = self._list_positions(user, 0, position.as_of + 1)
            return next((e for e in reversed(earlier) if e.offset < position.offset), None)

        return find() or (find() if self._index_older_lists(self.partition(user)) else None)

    def list_positions(self, user: str, start: int, stop: int) -> list[ListPosition]:
        """Return the lists of a user as of events from ``start`` to before ``stop``, in order."""
        partition = self.partition(user)
        self.catch_up(partition)
        if start < self._starts(partition)[0]:
            self._index_older_lists(partition)
        return self._list_positions(user, start, stop)

    def _list_positions(self, user: str, start: int, stop: int) -> list[ListPosition]:
        partition = self.partition(user)
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
        return found

    def find_list(self, rec_id: str) -> tuple[int, ListPosition] | None:
        """Return partition and position of a published list; reads new lists if it is unknown."""
        key = b"i" + rec_id.encode()
        for partition in range(self._n_partitions):
            if (found := self._db.get(key)) is not None:
                break
            self.catch_up(partition)
        else:
            found = self._db.get(key)
        for partition in range(self._n_partitions):
            if found is None and self._index_older_lists(partition):
                found = self._db.get(key)
        if found is None:
            return None
        number, *place = _BY_ID.unpack(found)
        return number, ListPosition(*place)

    # Catching up

    def catch_up(self, partition: int, offset: int | None = None) -> None:
        """Fold a partition's events before an offset, and index what lists it got since the last call.

        After a user was forgotten, everything is read again: it is unknown who it was.

        Parameters
        ----------
        partition : int
        offset : int, optional
            State as of this offset is asked for. None: of lists alone, nothing is folded.

        Raises
        ------
        BeyondHorizon
            Events before it were pruned, and no checkpoint replaces them.
        """
        if (mark := self._log_mark()) != self._mark:
            self._db.close()
            self._mark = mark
            self._folds.clear()
            self._db = self._opened(self._folder)
        self._timeline = read_timeline(self._log)
        raw = self._db.get(_key(b"n", partition))
        if raw is None or (offset is not None and offset < self._starts(partition)[0]):
            self._start_at(partition, offset)
            raw = self._db.get(_key(b"n", partition))
        next_offset, next_list = (0, 0) if raw is None else _NEXT.unpack(raw)
        fold = self._folds.get(partition)
        if fold is None:
            fold = self._new_fold(partition, next_offset)
        for group in read_batches(
            self._log, INTERACTIONS, partition, fold.next_offset, offset or 0
        ):
            before = fold.n_events
            fold.fold(group)
            self._progress(fold.n_events - before)
            if fold.n_events >= self._block_events:
                next_offset = fold.next_offset
                self._write_block(partition, fold, next_list)
                fold = self._new_fold(partition, next_offset)
        self._index_lists(partition, next_offset, next_list)

    def _starts(self, partition: int) -> tuple[int, int]:
        """Return the first offsets of interactions and recommendations that the folder covers."""
        raw = self._db.get(_key(b"s", partition))
        return (0, 0) if raw is None else _NEXT.unpack(raw)

    def _start_at(self, partition: int, offset: int | None) -> None:
        """Start a partition anew from the newest checkpoint at or before an offset, if there is one."""
        found = None
        if self.checkpoints is not None:
            found = self.checkpoints.newest_readable(partition, offset)
        batch = rocksdict.WriteBatch(raw_mode=True)
        for kind in (b"h", b"b", b"l"):
            batch.delete_range(_key(kind, partition), _key(kind, partition + 1))
        batch.delete(_key(b"n", partition))
        batch.delete(_key(b"s", partition))
        self._folds.pop(partition, None)
        if found is not None:
            manifest, content = found
            end, lists = manifest.offset, 0
            for _, rows in read_rows(content):
                for key, value in rows:
                    batch.put(_key(b"h", partition, key) + _END.pack(end), value)
                    if table_rows.split_key(key)[1] == "l":  # every later list is behind it
                        lists = max(lists, table_rows.decode_list_row(value).offset + 1)
                if batch.len() > BATCH_ROWS:
                    self._db.write(batch)
                    batch = rocksdict.WriteBatch(raw_mode=True)
            batch.put(_key(b"b", partition) + _END.pack(end), b"")
            batch.put(_key(b"s", partition), _NEXT.pack(end, lists))
            batch.put(_key(b"n", partition), _NEXT.pack(end, lists))
        self._db.write(batch)

    def _index_older_lists(self, partition: int) -> bool:
        """Index the lists from before the checkpoint; False if that was done."""
        start, first_list = self._starts(partition)
        if not first_list:
            return False
        self._index_lists(partition, None, 0, first_list)
        self._db.put(_key(b"s", partition), _NEXT.pack(start, 0))
        return True

    def _new_fold(self, partition: int, next_offset: int) -> PartitionFold:
        fold = self._folds[partition] = PartitionFold(
            partition,
            self._n_partitions,
            self._timeline,
            load=lambda user: table_rows.load(
                user, lambda key: self._row(partition, key, next_offset)
            ),
            next_offset=next_offset,
        )
        return fold

    def _write_block(self, partition: int, fold: PartitionFold, next_list: int) -> None:
        end = fold.next_offset
        batch = rocksdict.WriteBatch(raw_mode=True)
        for user, history in fold.histories.items():
            for key, value in table_rows.changes(fold.loaded.get(user), history):
                batch.put(_key(b"h", partition, key) + _END.pack(end), value)
        batch.put(_key(b"b", partition) + _END.pack(end), b"")
        batch.put(_key(b"n", partition), _NEXT.pack(end, next_list))
        self._db.write(batch)

    def _index_lists(
        self, partition: int, next_offset: int | None, next_list: int, stop: int | None = None
    ) -> None:
        """Index lists from an offset on.

        Parameters
        ----------
        partition : int
        next_offset : int or None
            Of interactions, stored with the position reached; None: store no position.
        next_list : int
            Where to start on the recommendations topic.
        stop : int, optional
            Where to stop.
        """
        batch = rocksdict.WriteBatch(raw_mode=True)
        n_lists = 0
        for record in read_records(self._log, RECOMMENDATIONS, partition, next_list, stop):
            next_list = record.offset + 1
            n_lists += 1
            for key, value in decode_or_skip(record, partial(_index_rows, record)) or ():
                batch.put(key, value)
        if n_lists:
            if next_offset is not None:
                batch.put(_key(b"n", partition), _NEXT.pack(next_offset, next_list))
            self._db.write(batch)

    def _block_end(self, partition: int, most: int) -> int:
        """Return the end of the newest block at or before an offset; 0 if there is none."""
        prefix = _key(b"b", partition)
        iterator = self._db.iter()
        iterator.seek_for_prev(prefix + _END.pack(most))
        if iterator.valid() and (key := iterator.key()).startswith(prefix):
            end: int = _END.unpack(key[len(prefix) :])[0]
            return end
        return 0

    def _row(self, partition: int, row_key: bytes, end: int) -> bytes | None:
        """Return a row of a history as of a block's end."""
        prefix = _key(b"h", partition, row_key)
        iterator = self._db.iter()
        iterator.seek_for_prev(prefix + _END.pack(end))
        if iterator.valid() and iterator.key().startswith(prefix):
            value: bytes = iterator.value()
            return value
        return None


_MOST = 2**63


def _key(kind: bytes, partition: int, name: bytes | None = None) -> bytes:
    head = b"%b%b" % (kind, partition.to_bytes(4, "big"))
    return head if name is None else head + name + _AFTER


def _index_rows(record: Record, raw: bytes) -> list[tuple[bytes, bytes]]:
    """Return the rows that index a list: by its user and event, and by its id."""
    body = list_origin(raw)
    if body.as_of is None:
        return []
    key = _key(b"l", record.partition, body.user.encode()) + _END.pack(body.as_of.offset)
    # Several lists may be as of one event: they are ordered by their own offset.
    place = record.offset, record.timestamp_ms
    return [
        (key + _END.pack(record.offset), _LIST.pack(*place)),
        (
            b"i" + body.rec_id.encode(),
            _BY_ID.pack(record.partition, body.as_of.offset, *place),
        ),
    ]


def may_concern(record: Record, key: bytes, mine: bytes) -> bool:
    """Return whether a record may hold an event of a user, by its key or text."""
    if record.key is not None:
        return record.key == key
    return record.value is not None and mine in record.value
