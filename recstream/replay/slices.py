"""↺ of the flow: a part of the log as one file, with all that is needed to derive its lists again.

A slice is a zip file: the records of a range of interactions, the lists made as of them, the
generations and rules they name, and the histories as they stood where the range begins. It can be
verified on another machine, without the log it came from: a bug report is a file.
"""

from __future__ import annotations

import zipfile
from bisect import bisect_left
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from recstream.control import read_timeline
from recstream.core.history import History, changes, load
from recstream.core.records import decode_recommendations
from recstream.errors import InvalidInput, NotFound, OffsetOutOfRange
from recstream.log import (
    CONTROL,
    INTERACTIONS,
    MODELS,
    RECOMMENDATIONS,
    ReadableLog,
    Record,
    decode,
)
from recstream.models import ReadableStore
from recstream.time_travel import (
    Generations,
    PartitionFold,
    decode_value,
    read_batches,
    read_records,
)

FORMAT = "recstream-slice-1"
Ranges = Mapping[int, tuple[int, int]]
"""Partition to [from, to) on the interactions topic."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a slice holds."""

    format: str
    epoch: str
    partitions: int
    ranges: dict[int, tuple[int, int]]
    user: str | None
    models: tuple[str, ...]
    n_records: int


_Stored = tuple[int, int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]
_decode_records = msgspec.msgpack.Decoder(list[_Stored]).decode
_decode_rows = msgspec.msgpack.Decoder(dict[bytes, bytes]).decode
_encode = msgspec.msgpack.Encoder().encode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def export(
    log: ReadableLog,
    store: ReadableStore,
    ranges: Ranges,
    path: Path,
    *,
    user: str | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Manifest:
    """Write the slice of a log.

    Parameters
    ----------
    ranges : mapping of int to (int, int)
    path : Path
        Replaced if it is there.
    user : str, optional
        Only this user's events and lists; those of others are blanked out.
    progress : callable
        Called with the number of interactions read since the last call.
    """
    timeline = read_timeline(log)
    n_partitions = log.partitions(INTERACTIONS)
    topics: dict[tuple[str, int], list[_Stored]] = {}
    bases: dict[int, dict[bytes, bytes]] = {}
    needed: set[int] = set()
    for partition, (start, stop) in ranges.items():
        fold = PartitionFold(partition, n_partitions, timeline)
        for found in read_batches(log, INTERACTIONS, partition, 0, start):
            fold.fold(found)
            progress(len(found))
        events = [
            _only(each, user) for each in read_records(log, INTERACTIONS, partition, start, stop)
        ]
        progress(len(events))
        topics[INTERACTIONS, partition] = [_stored(each) for each in events]
        users = {event.user for each in events for _, event in decode(each).events}
        lists = _lists(log, partition, (start, stop), user, needed)
        topics[RECOMMENDATIONS, partition] = [_stored(each) for each in lists]
        users.update((each.key or b"").decode() for each in lists)
        bases[partition] = dict(
            row for name in sorted(users) for row in changes(None, fold.history(name))
        )
    topics[CONTROL, 0] = [_stored(each) for each in read_records(log, CONTROL, 0)]
    generations = Generations(log, store)
    topics[MODELS, 0] = [
        _stored(log.read(MODELS, 0, offset, 1)[0]) for offset in generations.offsets_of(needed)
    ]
    present = set(store.list())
    artifacts = [generations.announced[number].artifact for number in sorted(needed)]
    manifest = Manifest(
        format=FORMAT,
        epoch=log.epoch,
        partitions=n_partitions,
        ranges=dict(ranges),
        user=user,
        models=tuple(name for name in artifacts if name in present),
        n_records=sum(map(len, topics.values())),
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("manifest.json", msgspec.json.format(msgspec.json.encode(manifest)))
        for (topic, partition), stored in topics.items():
            file.writestr(f"topics/{topic}/{partition}", _encode(stored))
        for partition, rows in bases.items():
            file.writestr(f"histories/{partition}", _encode(rows))
        for name in manifest.models:
            file.writestr(f"models/{name}", store.get(name))
    return manifest


def _stored(record: Record) -> _Stored:
    return record.offset, record.timestamp_ms, record.key, record.value, record.headers


def _only(record: Record, user: str | None) -> Record:
    """Return a record with the events of others blanked out, places kept."""
    if user is None or record.value is None:
        return record
    value = record.value
    if value[:1] != b"[":
        return record if record.key == user.encode() else record._replace(key=None, value=None)
    mine = {place for place, event in decode(record).events if event.user == user}
    if not mine:
        return record._replace(value=None)
    parts = [
        part if place in mine else msgspec.Raw(b"null") for place, part in enumerate(_split(value))
    ]
    return record._replace(value=msgspec.json.encode(parts))


def _lists(
    log: ReadableLog,
    partition: int,
    as_of: tuple[int, int],
    user: str | None,
    needed: set[int],
) -> list[Record]:
    """Return the lists as of a range, each user's list before it, and note their generations."""
    before: dict[bytes, Record] = {}
    chosen: dict[int, Record] = {}
    for record in read_records(log, RECOMMENDATIONS, partition):
        if record.value is None or record.key is None:
            continue
        if user is not None and record.key != user.encode():
            continue
        body = decode_value(record, decode_recommendations)
        if body.as_of is not None and as_of[0] <= body.as_of.offset < as_of[1]:
            if record.key in before:
                chosen[before[record.key].offset] = before[record.key]
            chosen[record.offset] = record
            needed.add(body.generation)
        before[record.key] = record
    return [chosen[offset] for offset in sorted(chosen)]


class Slice:
    """A slice, opened: a `ReadableLog` and the reading half of a `ModelStore`.

    Raises
    ------
    InvalidInput
        The file is not a slice.
    """

    def __init__(self, path: Path) -> None:
        try:
            with zipfile.ZipFile(path) as file:
                self.manifest = msgspec.json.decode(file.read("manifest.json"), type=Manifest)
                content = {name: file.read(name) for name in file.namelist()}
        except (OSError, KeyError, zipfile.BadZipFile, msgspec.DecodeError) as error:
            raise InvalidInput(
                f"{path} must be a file that `recstream export` wrote: {error}"
            ) from error
        if self.manifest.format != FORMAT:
            raise InvalidInput(f"{path} must be of format {FORMAT}, got {self.manifest.format}")
        self._records: dict[tuple[str, int], list[Record]] = {}
        self._rows: dict[int, dict[bytes, bytes]] = {}
        self._models: dict[str, bytes] = {}
        for name, data in content.items():
            kind, _, rest = name.partition("/")
            if kind == "topics":
                topic, _, number = rest.rpartition("/")
                self._records[topic, int(number)] = [
                    Record(topic, int(number), *each) for each in _decode_records(data)
                ]
            elif kind == "histories":
                self._rows[int(rest)] = _decode_rows(data)
            elif kind == "models":
                self._models[rest] = data

    @property
    def epoch(self) -> str:
        """ULID of the log that it came from."""
        return self.manifest.epoch

    def partitions(self, topic: str) -> int:
        """Return the partition count of a topic in the log that it came from."""
        return self.manifest.partitions if topic in {INTERACTIONS, RECOMMENDATIONS} else 1

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        """Return up to ``max_records`` records from ``offset`` on."""
        if offset < self.earliest(topic, partition):
            raise OffsetOutOfRange(
                f"{topic}[{partition}] begins at {self.earliest(topic, partition)} in this slice, "
                f"got {offset}"
            )
        found = self._records.get((topic, partition), [])
        at = bisect_left(found, offset, key=lambda record: record.offset)
        return found[at : at + max_records]

    def earliest(self, topic: str, partition: int) -> int:
        """Return where the slice begins."""
        if topic == INTERACTIONS:
            return self.manifest.ranges.get(partition, (0, 0))[0]
        return 0

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return where the slice ends."""
        if topic == INTERACTIONS:
            return self.manifest.ranges.get(partition, (0, 0))[1]
        found = self._records.get((topic, partition))
        return found[-1].offset + 1 if found else 0

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Return the first offset whose record was appended at or after a time."""
        for record in self._records.get((topic, partition), []):
            if record.timestamp_ms >= timestamp_ms:
                return record.offset
        return self.high_watermark(topic, partition)

    def fold(self, partition: int) -> PartitionFold:
        """Return the fold of a partition as it stood where the slice begins."""
        rows: Mapping[bytes, bytes] = self._rows.get(partition, {})

        def history(user: str) -> History | None:
            return load(user, rows.get)

        return PartitionFold(
            partition,
            self.manifest.partitions,
            read_timeline(self),
            load=history,
            next_offset=self.earliest(INTERACTIONS, partition),
        )

    def get(self, name: str) -> bytes:
        """Return an artifact's content; raises `NotFound`."""
        try:
            return self._models[name]
        except KeyError:
            raise NotFound(f"no artifact {name!r} in this slice") from None

    def list(self) -> list[str]:
        """Return the names of its artifacts."""
        return sorted(self._models)
