"""Lists, histories and generations in RocksDB; the folder can be deleted and is rebuilt from the log.

It follows three topics: lists, rows of histories, and generations. Each batch of records and its
offsets are stored in one write, so a killed bridge continues exactly where it stopped.

New views hold the newest lists only. A user's rows say where an older one is on the topic of lists: it
is read when it is asked for, and kept.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from rocksdict import WriteBatch

from recstream.bridge.views.announced import AnnouncedModels
from recstream.bridge.views.database import (
    LIST,
    OFFSET,
    ROW,
    applied_key,
    clear,
    keys_from,
    lock_folder,
    met_key,
    offset_key,
    open_database,
    put,
)
from recstream.bridge.views.start import start_views
from recstream.checkpoints import Checkpoints
from recstream.core.history import History
from recstream.core.history import table_rows as history_rows
from recstream.core.records import (
    ModelRecord,
    Recommendations,
    RecommendedItem,
    decode_recommendations,
)
from recstream.erasure import BLANK_KEY, forgetting, marked, scrub
from recstream.errors import LogError, StartupError
from recstream.log import MODELS, RECOMMENDATIONS, EventLog, Record, TopicPartition, partition_for

log = logging.getLogger(__name__)

MAX_BRIDGES = 64
CACHED_HISTORIES = 1024
NEARBY_RECORDS = 16
"""Records that are read from where a list may be; on Kafka, markers lie in between."""

_PLACE = struct.Struct("<iq")
_PAST_PAGES = b"\x01"
"""After a user's id: behind the rows of the user's pages, before any longer id."""


class Applied(NamedTuple):
    """Generations and deltas in order; the newest list of each user with a new one, by key."""

    models: list[ModelRecord]
    lists: dict[bytes, Record]


class Views:
    """Lists, histories and generations, as far as this bridge has read the log.

    One thread calls `apply`; any thread reads.

    Parameters
    ----------
    folder : Path
        Locked while the views are open.
    event_log : EventLog
        A folder of another log is emptied first.
    """

    def __init__(
        self,
        folder: Path,
        event_log: EventLog,
        *,
        changelog: str,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._checkpoints = checkpoints
        self._log = event_log
        self.epoch = event_log.epoch
        self.folder = folder
        self.topics = (RECOMMENDATIONS, changelog, MODELS)
        self._lock_file = lock_folder(folder)
        try:
            self._db = open_database(folder / "views", self.epoch)
        except BaseException:
            os.close(self._lock_file)
            raise
        self.models = AnnouncedModels(self._db)
        self._histories: OrderedDict[str, History | None] = OrderedDict()
        self._mutex = threading.Lock()
        self._applied = threading.Condition()
        self.unreadable = 0

    @classmethod
    def in_data_dir(
        cls,
        data_dir: Path,
        event_log: EventLog,
        *,
        changelog: str,
        checkpoints: Checkpoints | None = None,
    ) -> Views:
        """Return views in the first ``bridge-N`` folder that no other bridge holds.

        Raises
        ------
        StartupError
            The folder can't be written, or every one is taken.
        """
        for number in range(MAX_BRIDGES):
            try:
                return cls(
                    data_dir / f"bridge-{number}",
                    event_log,
                    changelog=changelog,
                    checkpoints=checkpoints,
                )
            except BlockingIOError:
                continue
            except OSError as error:
                message = f"can't keep the bridge's views in {data_dir}: {error}"
                raise StartupError(message) from error
        raise StartupError(f"{MAX_BRIDGES} bridges hold folders in {data_dir}; stop some of them")

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to read of every partition the views follow.

        Views that missed an erasure are emptied first: the user is no longer known. New views start from
        the histories' newest checkpoints, the newest lists and the newest generations.
        """
        event_log = self._log
        self._renew(forgetting(event_log).finished)
        if next(keys_from(self._db, OFFSET), None) is None:
            start_views(self._log, self.topics[1], self._checkpoints, self._db)
        positions = {}
        for topic in self.topics:
            for partition in range(event_log.partitions(topic)):
                raw = self._db.get(offset_key(topic, partition))
                stored = int.from_bytes(raw, "little") if raw is not None else 0
                earliest = event_log.earliest(topic, partition)
                positions[TopicPartition(topic, partition)] = max(stored, earliest)
        return positions

    def _renew(self, finished: Collection[str]) -> None:
        """Empty the views if they may still hold an erased user."""
        keyed = self.topics[:2]
        known = {
            key: self._db.get(key) for i in finished for t in keyed for key in (met_key(t, i),)
        }
        if all(value is not None for value in known.values()):
            return
        batch = WriteBatch(raw_mode=True)
        is_new = next(keys_from(self._db, OFFSET), None) is None
        if not is_new:
            log.info("views rebuilt, a user was erased meanwhile folder=%s", self.folder)
            clear(self._db, batch)
        for key in known:
            batch.put(key, b"")
        with self._mutex:
            self._db.write(batch)
            self._histories.clear()
        if not is_new:
            scrub(self._db)

    def apply(self, records: Sequence[Record]) -> Applied:
        """Apply the next records of the followed topics, all or nothing.

        Raises
        ------
        ViewsOutdated
            A user was erased, and the views missed who: call `positions` again.
        """
        batch = WriteBatch(raw_mode=True)
        applied = Applied([], {})
        touched: set[str] = set()
        ends: dict[tuple[str, int], int] = {}
        is_scrubbed = False
        for record in records:
            if record.topic not in self.topics:
                continue
            ends[record.topic, record.partition] = record.offset + 1
            try:
                if record.headers:
                    is_scrubbed |= self._meet(record, batch, applied)
                self._apply(record, batch, applied, touched)
            except LogError:
                raise
            except Exception as error:  # noqa: BLE001 - no record stops the views
                self.unreadable += 1
                log.warning(
                    "record unreadable topic=%s partition=%d offset=%d reason=%s",
                    record.topic,
                    record.partition,
                    record.offset,
                    error,
                )
        for (topic, partition), offset in ends.items():
            batch.put(offset_key(topic, partition), offset.to_bytes(8, "little"))
        with self._mutex:
            self._db.write(batch)
            for user in touched:
                self._histories.pop(user, None)
        with self._applied:
            self._applied.notify_all()
        if is_scrubbed:
            scrub(self._db)
        return applied

    def _apply(
        self, record: Record, batch: WriteBatch, applied: Applied, touched: set[str]
    ) -> None:
        """Add one record to a batch of writes."""
        if record.topic == MODELS:
            if record.value is not None:
                applied.models.append(self.models.put(record.value, batch))
        elif record.key is None:
            return
        elif record.topic == RECOMMENDATIONS:
            applied.lists.pop(record.key, None)
            if record.value is not None:
                applied.lists[record.key] = record
            put(batch, LIST + record.key, _placed(record))
        elif record.key == history_rows.APPLIED_KEY:
            if record.value is not None:
                history_rows.decode_applied_row(record.value)  # one that can't be read raises
            put(batch, applied_key(record.partition), record.value)
        else:
            touched.add(record.key.partition(b"\0")[0].decode())
            put(batch, ROW + record.key, record.value)

    def _meet(self, record: Record, batch: WriteBatch, applied: Applied) -> bool:
        """Mark a tombstone of an erasure as seen; return whether it deletes a user here."""
        request = marked(record)
        if request is None:
            return False
        key = met_key(record.topic, request)
        if record.key == BLANK_KEY:
            if self._db.get(key) is None:
                raise ViewsOutdated(
                    f"a user was erased at {record.topic}[{record.partition}]@{record.offset} before "
                    "the views read it; they are emptied when the erasure is complete"
                )
            return False
        batch.put(key, b"")
        if record.topic != RECOMMENDATIONS and record.key is not None:
            # Kafka may have deleted the list's own tombstone before a bridge read it.
            user = record.key.partition(b"\0")[0]
            applied.lists.pop(user, None)
            put(batch, LIST + user, None)
        return True

    def latest(self, user: str) -> Recommendations | None:
        """Return a user's newest published list as it is in the log."""
        key = user.encode()
        raw = self._db.get(LIST + key) or self._older(key)
        if raw is None:
            return None
        partition, offset = _PLACE.unpack_from(raw)
        try:
            return decode_recommendations(
                raw[_PLACE.size :], epoch=self.epoch, partition=partition, offset=offset
            )
        except Exception as error:  # noqa: BLE001 - whatever a record's bytes do to a decoder
            self.unreadable += 1
            log.warning(
                "list unreadable partition=%d offset=%d reason=%s", partition, offset, error
            )
            return None

    def _older(self, key: bytes) -> bytes | None:
        """Return a user's list from the log, and keep it; None if it is not there any more."""
        raw = self._db.get(ROW + history_rows.list_key(key))
        if raw is None:
            return None
        partition = partition_for(key, self._log.partitions(RECOMMENDATIONS))
        try:
            start = history_rows.decode_list_row(raw).offset
            near = self._log.read(RECOMMENDATIONS, partition, start, NEARBY_RECORDS)
        except (LogError, msgspec.MsgspecError) as error:
            log.debug("an older list can't be read, another is made: %s", error)
            return None
        found = next((_placed(each) for each in near if each.key == key), None)
        with self._mutex:
            if self._db.get(ROW + history_rows.list_key(key)) != raw:
                return self._db.get(LIST + key)  # there is a newer one, or the user was erased
            if found is not None:
                self._db.put(LIST + key, found)
        return found

    def list_offset(self, user: str) -> int:
        """Return the offset of a user's newest published list, -1 for none."""
        raw = self._db.get(LIST + user.encode())
        return -1 if raw is None else int(_PLACE.unpack_from(raw)[1])

    def history(self, user: str) -> History | None:
        """Return a user's history, as far as this bridge has read the log; None for an unknown user."""
        with self._mutex:
            if user in self._histories:
                self._histories.move_to_end(user)
                return self._histories[user]
            try:
                found = history_rows.load(user, lambda key: self._db.get(ROW + key))
            except ValueError as error:
                self.unreadable += 1
                log.warning("history unreadable reason=%s", error)
                return None
            self._histories[user] = found
            if len(self._histories) > CACHED_HISTORIES:
                self._histories.popitem(last=False)
            return found

    def users(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Yield the users with a history whose id begins with a prefix, in the order of their ids."""
        head = ROW + prefix.encode()
        iterator = self._db.iter()
        iterator.seek(max(head, ROW + after.encode() + _PAST_PAGES) if after else head)
        while iterator.valid() and (key := bytes(iterator.key())).startswith(head):
            user = key[1:].partition(b"\0")[0]
            if user:
                yield user.decode(errors="replace")
            iterator.seek(ROW + user + _PAST_PAGES)
        iterator.status()  # raises if it ended at a damaged block

    def users_listed(self, item: str, after: str = "") -> Iterator[tuple[str, bool]]:
        """Yield each user with a published list, and whether an item may be in it."""
        text = item.encode()  # MessagePack keeps texts as they are
        iterator = self._db.iter()
        iterator.seek(ROW + after.encode() + (_PAST_PAGES if after else b""))
        while iterator.valid() and (key := bytes(iterator.key())).startswith(ROW):
            user = key[1:].partition(b"\0")[0]
            if user and (row := self._db.get(ROW + history_rows.list_key(user))) is not None:
                yield user.decode(errors="replace"), text in row
            iterator.seek(ROW + user + _PAST_PAGES)
        iterator.status()

    def newest_offset(self, user: str) -> int:
        """Return the offset of the newest event in a user's history; -1 for an unknown user."""
        raw = self._db.get(ROW + user.encode())
        try:
            return -1 if raw is None else history_rows.header_offset(raw)
        except msgspec.DecodeError:
            return -1

    def folded(self, partition: int) -> int:
        """Return the next offset of a partition that the histories don't contain yet."""
        raw = self._db.get(applied_key(partition))
        return 0 if raw is None else history_rows.decode_applied_row(raw).next_offset

    def wait_folded(self, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until the histories contain an offset of a partition; False after the timeout."""
        with self._applied:
            return self._applied.wait_for(lambda: self.folded(partition) > offset, timeout_s)

    def close(self) -> None:
        """Release the folder."""
        self._db.close()
        os.close(self._lock_file)


class ViewsOutdated(LogError):
    """The views contain a user who was erased."""


def without(body: Recommendations, unwanted: set[str]) -> Recommendations:
    """Return a list without some items, with new ranks."""
    if not any(entry.item in unwanted for entry in body.items):
        return body
    kept = (entry for entry in body.items if entry.item not in unwanted)
    items: tuple[RecommendedItem, ...] = tuple(
        msgspec.structs.replace(entry, rank=rank) for rank, entry in enumerate(kept, start=1)
    )
    return msgspec.structs.replace(body, items=items)


def _placed(record: Record) -> bytes | None:
    """Return a list's record with its position in front."""
    if record.value is None:
        return None
    return _PLACE.pack(record.partition, record.offset) + record.value
