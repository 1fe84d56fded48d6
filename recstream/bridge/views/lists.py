"""Lists, histories and generations in RocksDB; the folder can be deleted and is rebuilt from the log.

It follows three topics: lists, rows of histories, and generations. Each batch of records and its
offsets are stored in one write, so a killed bridge continues exactly where it stopped.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import struct
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from recstream.bridge.views.start import MAX_WITH_DELTAS, start_views
from recstream.checkpoints import Checkpoints
from recstream.core.history import History
from recstream.core.history import table_rows as history_rows
from recstream.core.records import (
    DeltaAnnounced,
    GenerationAnnounced,
    ModelRecord,
    Recommendations,
    RecommendedItem,
    decode_model,
    decode_recommendations,
)
from recstream.erasure import BLANK_KEY, forgetting, marked, scrub
from recstream.errors import LogError, StartupError
from recstream.log import MODELS, RECOMMENDATIONS, EventLog, Record, TopicPartition

log = logging.getLogger(__name__)

SCHEMA = b"2"
MAX_BRIDGES = 64
CACHED_HISTORIES = 1024
MAX_GENERATIONS = 100
MIB = 1 << 20

_META, _OFFSET, _LIST, _ROW, _GENERATION, _DELTA = b"m", b"o", b"r", b"h", b"g", b"d"
_MET = b"f"
_PLACE = struct.Struct("<iq")
_PAST_PAGES = b"\x01"
"""After a user's id: behind the rows of the user's pages, before any longer id."""


class Views:
    """Lists, histories and generations, as far as this bridge has read the log.

    One thread calls `apply`; any thread reads.

    Parameters
    ----------
    folder : Path
        Locked while the views are open.
    epoch : str
        Of the log; a folder of another epoch is emptied first.
    changelog : str
        Topic of the histories' rows.
    checkpoints : Checkpoints, optional
        Where new views start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        epoch: str,
        changelog: str,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._checkpoints = checkpoints
        self.epoch = epoch
        self.folder = folder
        self.topics = (RECOMMENDATIONS, changelog, MODELS)
        self._lock_file = _lock(folder)
        try:
            self._db = _open(folder / "views", epoch)
        except BaseException:
            os.close(self._lock_file)
            raise
        self._histories: OrderedDict[str, History | None] = OrderedDict()
        self._mutex = threading.Lock()
        self._applied = threading.Condition()
        self.unreadable = 0

    @classmethod
    def in_data_dir(
        cls,
        data_dir: Path,
        *,
        epoch: str,
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
                    epoch=epoch,
                    changelog=changelog,
                    checkpoints=checkpoints,
                )
            except BlockingIOError:
                continue
            except OSError as error:
                message = f"can't keep the bridge's views in {data_dir}: {error}"
                raise StartupError(message) from error
        message = f"{MAX_BRIDGES} bridges hold folders in {data_dir}; stop some of them"
        raise StartupError(message)

    def positions(self, event_log: EventLog) -> dict[TopicPartition, int]:
        """Return the next offset to read of every partition the views follow.

        Views that missed an erasure are emptied first: the user is no longer known. New views start from
        the histories' newest checkpoints, the newest lists and the newest generations; a user whose list
        is older gets one made on request.
        """
        self._renew(forgetting(event_log).finished)
        if next(self._keys(_OFFSET), None) is None:
            self._start(event_log)
        positions = {}
        for topic in self.topics:
            for partition in range(event_log.partitions(topic)):
                raw = self._db.get(_offset_key(topic, partition))
                stored = int.from_bytes(raw, "little") if raw is not None else 0
                earliest = event_log.earliest(topic, partition)
                positions[TopicPartition(topic, partition)] = max(stored, earliest)
        return positions

    def _start(self, event_log: EventLog) -> None:
        """Fill new views with rows of checkpoints, and store where they go on.

        Rows of a start that failed in the middle are deleted first.
        """
        left = WriteBatch(raw_mode=True)
        for key in self._keys(_ROW):
            left.delete(key)
        self._db.write(left)

        def put(rows: Iterable[tuple[bytes, bytes]]) -> None:
            batch = WriteBatch(raw_mode=True)
            for key, value in rows:
                batch.put(_ROW + key, value)
            self._db.write(batch)

        starts, applied = start_views(event_log, self.topics[1], self._checkpoints, put)
        batch = WriteBatch(raw_mode=True)
        for partition, row in applied.items():
            batch.put(_applied_key(partition), row)
        for (topic, partition), offset in starts.items():
            batch.put(_offset_key(topic, partition), offset.to_bytes(8, "little"))
        self._db.write(batch)

    def _renew(self, finished: Collection[str]) -> None:
        """Empty the views if they may still hold an erased user."""
        keyed = self.topics[:2]
        known = {key: self._db.get(key) for i in finished for t in keyed for key in (_met(t, i),)}
        if all(value is not None for value in known.values()):
            return
        batch = WriteBatch(raw_mode=True)
        is_new = next(self._keys(_OFFSET), None) is None
        if not is_new:
            log.info("views rebuilt, a user was erased meanwhile folder=%s", self.folder)
            for key in self._db.keys():  # noqa: SIM118 - it is no dict
                if isinstance(key, bytes) and key != _META:
                    batch.delete(key)
        for key in known:
            batch.put(key, b"")
        with self._mutex:
            self._db.write(batch)
            self._histories.clear()
        if not is_new:
            scrub(self._db)

    def apply(self, records: Sequence[Record]) -> list[ModelRecord]:
        """Apply the next records of the followed topics, all or nothing.

        Returns
        -------
        list of ModelRecord
            The generations and deltas among them, in order.

        Raises
        ------
        ViewsOutdated
            A user was erased, and the views missed who: call `positions` again.
        """
        batch = WriteBatch(raw_mode=True)
        models: list[ModelRecord] = []
        touched: set[str] = set()
        ends: dict[TopicPartition, int] = {}
        is_scrubbed = False
        for record in records:
            if record.topic not in self.topics:
                continue
            ends[TopicPartition(record.topic, record.partition)] = record.offset + 1
            try:
                is_scrubbed |= bool(record.headers) and self._meet(record, batch)
                self._apply(record, batch, models, touched)
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
            batch.put(_offset_key(topic, partition), offset.to_bytes(8, "little"))
        with self._mutex:
            self._db.write(batch)
            for user in touched:
                self._histories.pop(user, None)
        with self._applied:
            self._applied.notify_all()
        if is_scrubbed:
            scrub(self._db)
        return models

    def _apply(
        self,
        record: Record,
        batch: WriteBatch,
        models: list[ModelRecord],
        touched: set[str],
    ) -> None:
        """Add one record to a batch of writes."""
        if record.topic == MODELS:
            self._take_model(record, batch, models)
        elif record.key is None:
            return
        elif record.topic == RECOMMENDATIONS:
            _put(batch, _LIST + record.key, _placed(record))
        elif record.key == history_rows.APPLIED_KEY:
            _put(batch, _applied_key(record.partition), record.value)
        else:
            touched.add(record.key.partition(b"\0")[0].decode())
            _put(batch, _ROW + record.key, record.value)

    def _meet(self, record: Record, batch: WriteBatch) -> bool:
        """Mark a tombstone of an erasure as seen; return whether it deletes a user here."""
        request = marked(record)
        if request is None:
            return False
        key = _met(record.topic, request)
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
            _put(batch, _LIST + record.key.partition(b"\0")[0], None)
        return True

    def _take_model(self, record: Record, batch: WriteBatch, models: list[ModelRecord]) -> None:
        if record.value is None:
            return
        try:
            model = decode_model(record.value)
        except Exception as error:  # noqa: BLE001 - whatever a record's bytes do to a decoder
            self.unreadable += 1
            log.warning("model record unreadable offset=%d reason=%s", record.offset, error)
            return
        models.append(model)
        if isinstance(model, GenerationAnnounced):
            batch.put(_GENERATION + b"%012d" % model.generation, record.value)
            # A generation before it serves again if this one can't be read, with its own deltas.
            kept = [model.generation, *(each.generation for each in self.generations())]
            oldest = sorted(kept, reverse=True)[:MAX_WITH_DELTAS][-1]
            for key in self._keys(_DELTA):
                if key < _DELTA + b"%012d" % oldest:
                    batch.delete(key)
        else:
            key = b"%012d%012d" % (model.generation, model.delta)
            batch.put(_DELTA + key, record.value)

    def latest(self, user: str) -> Recommendations | None:
        """Return a user's newest published list as it is in the log."""
        raw = self._db.get(_LIST + user.encode())
        if raw is None:
            return None
        partition, offset = _PLACE.unpack_from(raw)
        try:
            stored = decode_recommendations(raw[_PLACE.size :])
        except Exception as error:  # noqa: BLE001 - whatever a record's bytes do to a decoder
            self.unreadable += 1
            log.warning(
                "list unreadable partition=%d offset=%d reason=%s", partition, offset, error
            )
            return None
        return msgspec.structs.replace(stored, epoch=self.epoch, partition=partition, offset=offset)

    def list_offset(self, user: str) -> int:
        """Return the offset of a user's newest published list, -1 for none."""
        raw = self._db.get(_LIST + user.encode())
        return -1 if raw is None else int(_PLACE.unpack_from(raw)[1])

    def history(self, user: str) -> History | None:
        """Return a user's history, as far as this bridge has read the log; None for an unknown user."""
        with self._mutex:
            if user in self._histories:
                self._histories.move_to_end(user)
                return self._histories[user]
            try:
                found = history_rows.load(user, lambda key: self._db.get(_ROW + key))
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
        head = _ROW + prefix.encode()
        iterator = self._db.iter()
        iterator.seek(max(head, _ROW + after.encode() + _PAST_PAGES) if after else head)
        while iterator.valid() and (key := bytes(iterator.key())).startswith(head):
            user = key[1:].partition(b"\0")[0]
            if user:
                yield user.decode(errors="replace")
            iterator.seek(_ROW + user + _PAST_PAGES)

    def listed_with(self, texts: Collection[bytes], after: str = "") -> Iterator[tuple[str, bool]]:
        """Yield each user with a published list, and whether the list's record has one of the texts."""
        iterator = self._db.iter()
        iterator.seek(_LIST + (after.encode() + b"\0" if after else b""))
        while iterator.valid() and (key := bytes(iterator.key())).startswith(_LIST):
            value = iterator.value()
            yield key[1:].decode(errors="replace"), any(text in value for text in texts)
            iterator.next()

    def newest_offset(self, user: str) -> int:
        """Return the offset of the newest event in a user's history; -1 for an unknown user."""
        raw = self._db.get(_ROW + user.encode())
        try:
            return -1 if raw is None else history_rows.header_offset(raw)
        except msgspec.DecodeError:
            return -1

    def folded(self, partition: int) -> int:
        """Return the next offset of a partition that the histories don't contain yet."""
        raw = self._db.get(_applied_key(partition))
        return 0 if raw is None else history_rows.decode_applied_row(raw).next_offset

    def wait_folded(self, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until the histories contain an offset of a partition; False after the timeout."""
        with self._applied:
            return self._applied.wait_for(lambda: self.folded(partition) > offset, timeout_s)

    def generations(self) -> list[GenerationAnnounced]:
        """Return the newest generations announced, newest first, at most `MAX_GENERATIONS`."""
        end = _GENERATION + b"\xff"
        found: list[GenerationAnnounced] = []
        for key in self._db.keys(backwards=True, from_key=end):
            if not isinstance(key, bytes) or key[:1] > _GENERATION:
                continue
            if key[:1] < _GENERATION or len(found) == MAX_GENERATIONS:
                break
            if (announced := self._announced(key)) is not None:
                found.append(announced)
        return found

    def generation(self, number: int) -> GenerationAnnounced | None:
        """Return a generation's announcement, if there was one."""
        return self._announced(_GENERATION + b"%012d" % number)

    def _announced(self, key: bytes) -> GenerationAnnounced | None:
        raw = self._db.get(key)
        model = None if raw is None else decode_model(raw)
        return model if isinstance(model, GenerationAnnounced) else None

    def deltas(self, generation: int) -> list[DeltaAnnounced]:
        """Return the deltas of a generation, in order."""
        return list(self._decode_deltas(self._keys(_DELTA + b"%012d" % generation)))

    def deltas_after(self, generation: int) -> Iterator[DeltaAnnounced]:
        """Yield the deltas of newer generations, in order."""
        first = _DELTA + b"%012d" % (generation + 1)
        return self._decode_deltas(key for key in self._keys(_DELTA) if key >= first)

    def _decode_deltas(self, keys: Iterable[bytes]) -> Iterator[DeltaAnnounced]:
        for key in keys:
            found = decode_model(self._db.get(key) or b"")
            if isinstance(found, DeltaAnnounced):
                yield found

    def _keys(self, prefix: bytes) -> Iterator[bytes]:
        for key in self._db.keys(from_key=prefix):
            if not isinstance(key, bytes) or not key.startswith(prefix):
                return
            yield key

    def close(self) -> None:
        """Release the folder."""
        self._db.close()
        os.close(self._lock_file)


class ViewsOutdated(LogError):
    """The views contain a user who was erased."""


def _met(topic: str, request_id: str) -> bytes:
    """Return the key that marks a request to erase as seen on a topic."""
    return b"%b%b\0%b" % (_MET, topic.encode(), request_id.encode())


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


def _put(batch: WriteBatch, key: bytes, value: bytes | None) -> None:
    if value is None:
        batch.delete(key)
    else:
        batch.put(key, value)


def _offset_key(topic: str, partition: int) -> bytes:
    return b"%b%b\0%d" % (_OFFSET, topic.encode(), partition)


def _applied_key(partition: int) -> bytes:
    """Return the key of a partition's applied row: in the log, all partitions use the same key."""
    return b"%b%b%d" % (_ROW, history_rows.APPLIED_KEY, partition)


def _lock(folder: Path) -> int:
    """Return the descriptor of a folder's lock file; `BlockingIOError` if another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _open(folder: Path, epoch: str) -> Rdict:
    """Return the database, emptied if it belongs to another log or another schema."""
    mark = SCHEMA + b"\0" + epoch.encode()
    db = _rdict(folder)
    found = db.get(_META)
    if found != mark:
        if found is not None:
            log.info("views rebuilt folder=%s", folder)
        db.close()
        shutil.rmtree(folder)
        db = _rdict(folder)
        db[_META] = mark
    return db


def _rdict(folder: Path) -> Rdict:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(8 * MIB)
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(32 * MIB))
    blocks.set_bloom_filter(10, block_based=False)
    options.set_block_based_table_factory(blocks)
    try:
        return Rdict(str(folder), options)
    except Exception as error:  # rocksdict raises plain Exception
        message = f"the bridge's views in {folder} can't be opened: {error}; delete that folder"
        raise StartupError(message) from error
