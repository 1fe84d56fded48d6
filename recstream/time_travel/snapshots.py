"""Snapshots of histories: rows stored at intervals, so that any offset is reached quickly.

The folder is derived from the log. It is rebuilt for another log, and after a user was forgotten.
Every `BLOCK_EVENTS` events of a partition, the rows of `recstream.core.history.table_rows` that
changed are stored under their key and the block's end. A history at an offset is the newest rows at
or before it plus the user's own events since that block: at most one block is read.

The first block is the newest checkpoint at or before the first question's offset, if there is one.
A question about an older offset starts the partition again from an older checkpoint, or the log's
start.
"""

import contextlib
import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from recstream.checkpoints import Checkpoints, Manifest, read_rows
from recstream.control import read_timeline
from recstream.core.history import History, SettingsTimeline, table_rows
from recstream.erasure import forgetting
from recstream.errors import BeyondHorizon, CheckpointCorrupt
from recstream.log import (
    INTERACTIONS,
    RECOMMENDATIONS,
    ReadableLog,
    decode_or_skip,
    partition_for,
    read_batches,
    read_records,
    require_kept,
)
from recstream.time_travel.fold import PartitionFold, records_of
from recstream.time_travel.snapshot_table import ListPosition, SnapshotTable, list_rows

log = logging.getLogger(__name__)

BLOCK_EVENTS = 25_000
BATCH_ROWS = 20_000


class Snapshots:
    """Histories and lists at any offset.

    Parameters
    ----------
    folder : Path
        Kept between runs; opened by one process at a time.
    progress : callable
        Called with the number of events folded since the last call, while it catches up.

    Attributes
    ----------
    unreadable : dict of int to set of str
        Users by partition whose rows can't be read, met while it caught up.

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
        self._followed: dict[int, int] = {}
        self.unreadable: defaultdict[int, set[str]] = defaultdict(set)
        self._n_partitions = log.partitions(INTERACTIONS)
        self._timeline: SettingsTimeline = read_timeline(log)
        self._folder = folder
        self._mark = self._log_mark()
        self._table = SnapshotTable(folder, self._mark)

    def _log_mark(self) -> bytes:
        """Return an identifier of the log and of the users forgotten in it."""
        finished = sorted(forgetting(self._log).finished)
        ids = hashlib.blake2b("\0".join(finished).encode(), digest_size=16).hexdigest()
        return f"{self._log.epoch} {ids if finished else ''}".encode()

    def close(self) -> None:
        """Release the folder."""
        self._table.close()

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
        fold = self._new_fold(partition, self._table.block_end(partition, offset + 1))
        fold.fold(records_of(self._log, partition, user, fold.next_offset, offset + 1), only=user)
        return fold.history(user)

    def fold_at(self, partition: int, offset: int) -> PartitionFold:
        """Return the fold of a partition as of an offset: the histories of all users before it."""
        self.catch_up(partition, offset)
        fold = self._new_fold(partition, self._table.block_end(partition, offset))
        fold.advance(self._log, offset)
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
        return self._table.newest_list(self.partition(user), user, offset, timestamp_ms)

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
                f"{RECOMMENDATIONS}[{partition}] keeps lists from offset {earliest} on; the user's "
                "list at that moment was pruned (keep_lists_days)"
            )

    def list_before(self, user: str, position: ListPosition) -> ListPosition | None:
        """Return the newest list published before another to the same user, or None."""

        def find() -> ListPosition | None:
            earlier = self._table.lists(self.partition(user), user, 0, position.as_of + 1)
            return next((e for e in reversed(earlier) if e.offset < position.offset), None)

        return find() or (find() if self._index_older_lists(self.partition(user)) else None)

    def list_positions(self, user: str, start: int, stop: int) -> list[ListPosition]:
        """Return the lists of a user as of events from ``start`` to before ``stop``, in order."""
        partition = self.partition(user)
        self.catch_up(partition)
        if start < self._table.starts(partition)[0]:
            self._index_older_lists(partition)
        return self._table.lists(partition, user, start, stop)

    def find_list(self, rec_id: str) -> tuple[int, ListPosition] | None:
        """Return partition and position of a published list; reads new lists if it is unknown."""
        for partition in range(self._n_partitions):
            if (found := self._table.list_by_id(rec_id)) is not None:
                return found
            self.catch_up(partition)
        found = self._table.list_by_id(rec_id)
        for partition in range(self._n_partitions):
            if found is None and self._index_older_lists(partition):
                found = self._table.list_by_id(rec_id)
        return found

    # Catching up

    def catch_up(self, partition: int, offset: int | None = None) -> None:
        """Fold a partition's events before an offset, and index its lists since the last call.

        After a user was forgotten, everything is read again: it is unknown who it was.

        Parameters
        ----------
        offset : int, optional
            State as of this offset is asked for. None: of lists alone, nothing is folded.

        Raises
        ------
        BeyondHorizon
            Events before it were pruned, and no checkpoint replaces them.
        """
        if (mark := self._log_mark()) != self._mark:
            self._table.close()
            self._folds.clear()
            self._followed.clear()
            self._table = SnapshotTable(self._folder, mark)
            self._mark = mark
        self._timeline = read_timeline(self._log)
        reached = self._table.next_offsets(partition)
        if (
            reached is None
            or not self._continues(partition, offset)
            or self._has_other_settings(partition, reached[0])
        ):
            self._start_at(partition, offset)
            reached = self._table.next_offsets(partition)
        next_offset, next_list = reached or (0, 0)
        fold = self._folds.setdefault(partition, self._new_fold(partition, next_offset))
        fold.timeline = self._timeline
        n_unreadable = len(self.unreadable[partition])
        self._followed[partition] = self._timeline.next_offset
        for group in read_batches(
            self._log, INTERACTIONS, partition, fold.next_offset, offset or 0
        ):
            before = fold.n_events
            fold.unreadable = self.unreadable[partition]
            fold.fold(group)
            self._progress(fold.n_events - before)
            if fold.n_events >= self._block_events:
                next_offset = fold.next_offset
                self._write_block(partition, fold, next_list)
                fold = self._folds[partition] = self._new_fold(partition, next_offset)
        if len(self.unreadable[partition]) > n_unreadable:
            log.warning(
                "rows of %d users of partition %d can't be read; the others are answered",
                len(self.unreadable[partition]),
                partition,
            )
        self._index_lists(partition, next_offset, next_list)

    def _continues(self, partition: int, offset: int | None) -> bool:
        """Return whether the log still has the events between the nearest block and an offset."""
        if offset is None:
            return True
        if offset < self._table.starts(partition)[0]:
            return False
        earliest = self._log.earliest(INTERACTIONS, partition)
        return self._table.block_end(partition, offset) >= min(earliest, offset)

    def _has_other_settings(self, partition: int, next_offset: int) -> bool:
        """Return whether settings came for events that blocks hold already; forget those in memory.

        A worker that is behind activates settings from its own offset on.
        """
        followed = self._followed.get(partition, self._table.control(partition))
        first = self._timeline.first_since(partition, followed)
        fold = self._folds.get(partition)
        if first is not None and fold is not None and first < fold.next_offset:
            del self._folds[partition]
        return first is not None and first < next_offset

    def _start_at(self, partition: int, offset: int | None) -> None:
        """Start a partition anew from the newest checkpoint at or before an offset, if any."""
        before = offset
        while (found := self._checkpoint(partition, before)) is not None:
            try:
                self._replace_rows(partition, found)
            except CheckpointCorrupt as error:
                log.warning("checkpoint not used, trying the one before: %s", error)
                before = found[0].offset - 1
            else:
                return
        require_kept(self._log, partition, 0, offset or 0)
        self._replace_rows(partition, None)

    def _checkpoint(self, partition: int, before: int | None) -> tuple[Manifest, bytes] | None:
        if self.checkpoints is None:
            return None
        return self.checkpoints.newest_readable(partition, before)

    def _replace_rows(self, partition: int, found: tuple[Manifest, bytes] | None) -> None:
        """Replace a partition's rows by those of a checkpoint, or by none."""
        self._folds.pop(partition, None)
        self.unreadable[partition].clear()
        batch = self._table.write(partition)
        batch.clear_partition()
        batch.set_control(self._timeline.next_offset)
        if found is not None:
            manifest, content = found
            lists = 0
            for _, rows in read_rows(content):
                batch.put_rows(rows, manifest.offset)
                for key, value in rows:
                    if table_rows.split_key(key)[1] == "l":  # every later list is behind it
                        with contextlib.suppress(msgspec.DecodeError):
                            lists = max(lists, table_rows.decode_list_row(value).offset + 1)
                if len(batch) > BATCH_ROWS:
                    batch.commit()
            batch.end_block(manifest.offset)
            batch.set_starts(manifest.offset, lists)
            batch.set_next(manifest.offset, lists)
        batch.commit()

    def _index_older_lists(self, partition: int) -> bool:
        """Index the lists from before the checkpoint; False if that was done."""
        start, first_list = self._table.starts(partition)
        if not first_list:
            return False
        self._index_lists(partition, None, 0, first_list)
        batch = self._table.write(partition)
        batch.set_starts(start, 0)
        batch.commit()
        return True

    def _new_fold(self, partition: int, next_offset: int) -> PartitionFold:
        """Return the fold of a partition as of the end of a block."""
        return PartitionFold(
            partition,
            self._n_partitions,
            self._timeline,
            load=partial(self._load, partition, next_offset),
            next_offset=next_offset,
        )

    def _load(self, partition: int, end: int, user: str) -> History | None:
        """Return a user's history as of a block's end; from the log, if its rows can't be read.

        Raises
        ------
        CheckpointCorrupt
            Events that the rows replace were pruned.
        """
        try:
            return table_rows.load(user, lambda key: self._table.row(partition, key, end))
        except ValueError as error:
            if self._log.earliest(INTERACTIONS, partition):
                raise CheckpointCorrupt(
                    f"rows of user {user!r} as of offset {end} of {INTERACTIONS}[{partition}], from "
                    f"a checkpoint, can't be read, and the events before were pruned: {error}"
                ) from error
        fold = PartitionFold(partition, self._n_partitions, self._timeline)
        fold.fold(records_of(self._log, partition, user, 0, end), only=user)
        return fold.histories.get(user)

    def _write_block(self, partition: int, fold: PartitionFold, next_list: int) -> None:
        end = fold.next_offset
        batch = self._table.write(partition)
        for user, history in fold.histories.items():
            batch.put_rows(table_rows.changes(fold.loaded.get(user), history), end)
        batch.end_block(end)
        batch.set_next(end, next_list)
        batch.set_control(self._timeline.next_offset)
        batch.commit()

    def _index_lists(
        self, partition: int, next_offset: int | None, next_list: int, stop: int | None = None
    ) -> None:
        """Index lists from an offset on.

        Parameters
        ----------
        next_offset : int or None
            Offset of interactions, stored with the position reached; None: store no position.
        next_list : int
            Where to start on the recommendations topic.
        """
        batch = self._table.write(partition)
        n_lists = 0

        def commit() -> None:
            if next_offset is not None:
                batch.set_next(next_offset, next_list)
            batch.commit()

        for record in read_records(self._log, RECOMMENDATIONS, partition, next_list, stop):
            next_list = record.offset + 1
            n_lists += 1
            batch.put_all(
                decode_or_skip(record, partial(list_rows, record, self._n_partitions)) or ()
            )
            if len(batch) > BATCH_ROWS:
                commit()
        if n_lists:
            commit()
