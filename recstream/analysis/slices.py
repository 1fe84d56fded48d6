"""Export a part of the log as one file, with all that is needed to derive its lists again.

A slice is a zip file: a range of interactions, the lists as of them, their generations and settings,
and the histories at the start of the range. It can be verified on another machine without the log.
"""

import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import msgspec

from recstream.control import control_records, read_timeline
from recstream.core.history import table_rows
from recstream.core.records import list_header
from recstream.errors import InvalidInput, NotFound, OffsetOutOfRange
from recstream.log import (
    CONTROL,
    INTERACTIONS,
    MODELS,
    RECOMMENDATIONS,
    ReadableLog,
    Record,
    decode,
    decode_or_skip,
    read_records,
)
from recstream.models import ReadableStore
from recstream.time_travel import Generations, PartitionFold, Snapshots, fold_from

FORMAT = "recstream-slice-1"
MAX_BYTES = 1 << 30
"""Maximum size of a slice's content: it is read into memory."""
MAX_RATIO = 100
MIN_LIMIT_BYTES = 16 << 20
"""A slice's content is at most this, plus `MAX_RATIO` times the compressed size."""
MAX_OFFSET = 2**63 - 1
READ_LISTS = 200
Ranges = Mapping[int, tuple[int, int]]
"""Partition to [from, to) on the interactions topic."""


class SliceManifest(msgspec.Struct, frozen=True, kw_only=True):
    """Description of a slice."""

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
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def export(
    log: ReadableLog,
    store: ReadableStore,
    snapshots: Snapshots,
    ranges: Ranges,
    path: Path,
    *,
    user: str | None = None,
) -> SliceManifest:
    """Write a slice of a log.

    Parameters
    ----------
    user : str, optional
        Only this user's events and lists; other users' events are blanked out.

    Raises
    ------
    NotFound
        There are none of this user, or an artifact is gone.
    """
    n_partitions = log.partitions(INTERACTIONS)
    topics: dict[tuple[str, int], list[_Stored]] = {}
    bases: dict[int, dict[bytes, bytes]] = {}
    needed: set[int] = set()
    followed: set[tuple[int, int]] = set()
    has_events = False
    for partition, (start, stop) in ranges.items():
        fold = snapshots.fold_at(partition, start)
        events = [
            _only(each, user) for each in read_records(log, INTERACTIONS, partition, start, stop)
        ]
        topics[INTERACTIONS, partition] = [_stored(each) for each in events]
        users = {event.user for each in events for _, event in decode(each).events}
        has_events |= bool(users)
        lists = list(_lists(log, snapshots, partition, (start, stop), users))
        topics[RECOMMENDATIONS, partition] = [_stored(each) for each in lists]
        for each in lists:
            origin = decode_or_skip(each, list_header)
            if origin and origin.as_of and start <= origin.as_of.offset < stop:
                needed.add(origin.generation)
                followed.update([origin.followed] if origin.followed else [])
        bases[partition] = dict(
            row for name in sorted(users) for row in table_rows.changes(None, fold.history(name))
        )
    if user is not None and not has_events:
        raise NotFound(f"these offsets have no event of user {user!r}; nothing was exported")
    topics[CONTROL, 0] = [_stored(each) for each in control_records(log)]
    generations = Generations(log, store)
    topics[MODELS, 0] = [
        _stored(log.read(MODELS, 0, offset, 1)[0])
        for offset in generations.offsets_of(needed, max(followed, default=(-1, 0)))
    ]
    present = set(store.list())
    artifacts = [generations.announced[number].artifact for number in sorted(needed)]
    manifest = SliceManifest(
        format=FORMAT,
        epoch=log.epoch,
        partitions=n_partitions,
        ranges=dict(ranges),
        user=user,
        models=tuple(name for name in artifacts if name in present),
        n_records=sum(map(len, topics.values())),
    )
    members = {"manifest.json": msgspec.json.format(msgspec.json.encode(manifest))}
    for (topic, partition), stored in topics.items():
        members[f"topics/{topic}/{partition}"] = msgspec.msgpack.encode(stored)
    for partition, rows in bases.items():
        members[f"histories/{partition}"] = msgspec.msgpack.encode(rows)
    for name in manifest.models:
        members[f"models/{name}"] = store.get(name)
    n_bytes = sum(map(len, members.values()))
    if n_bytes > MAX_BYTES:
        raise InvalidInput(
            f"a slice may hold {MAX_BYTES} bytes, this range has {n_bytes}; choose a shorter one"
        )
    _write(path, members, n_bytes)
    return manifest


def _write(path: Path, members: Mapping[str, bytes], n_bytes: int) -> None:
    """Write a slice's file under another name, then rename it: a failure leaves what was there."""
    if path.exists() and not path.is_file():
        raise InvalidInput(f"a slice is written to a file, {path} is none")
    partial = path.with_name(f".{path.name}-partial")
    try:
        with zipfile.ZipFile(partial, "w") as file:
            for name, content in members.items():
                is_dense = n_bytes > MIN_LIMIT_BYTES and _ratio(content) > MAX_RATIO // 2
                kind = zipfile.ZIP_STORED if is_dense else zipfile.ZIP_DEFLATED
                file.writestr(name, content, compress_type=kind)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise


def _ratio(content: bytes) -> float:
    """Return how many times smaller a content becomes by compression."""
    return len(content) / max(1, len(zlib.compress(content, 1)))


def _stored(record: Record) -> _Stored:
    return record.offset, record.timestamp_ms, record.key, record.value, record.headers


def _only(record: Record, user: str | None) -> Record:
    """Return a record with other users' events blanked out; positions stay the same."""
    if user is None or record.value is None:
        return record
    value, events = record.value, decode(record).events
    key = record.key if record.key == user.encode() else None
    mine = {place for place, event in events if event.user == user}
    if value[:1] != b"[" and (mine or (key is not None and not events)):
        return record._replace(key=key)
    if not mine:
        return record._replace(key=None, value=None)
    parts = [
        part if place in mine else msgspec.Raw(b"null") for place, part in enumerate(_split(value))
    ]
    return record._replace(key=key, value=msgspec.json.encode(parts))


def _lists(
    log: ReadableLog, snapshots: Snapshots, partition: int, as_of: tuple[int, int], users: set[str]
) -> Iterator[Record]:
    """Yield users' lists as of a range of event offsets, and each user's list before it."""
    wanted: set[int] = set()
    for user in users:
        if snapshots.partition(user) != partition:
            continue  # a misplaced event: a dead letter
        found = snapshots.list_positions(user, *as_of)
        wanted.update(each.offset for each in found)
        if found and (before := snapshots.list_before(user, found[0])) is not None:
            wanted.add(before.offset)
    next_offset = 0
    for offset in sorted(wanted):
        if offset < next_offset:
            continue
        for record in log.read(RECOMMENDATIONS, partition, offset, READ_LISTS):
            next_offset = record.offset + 1
            if record.offset in wanted:
                yield record


class Slice:
    """An open slice: a `ReadableLog` and a `ReadableStore`.

    Parameters
    ----------
    name : str
        What errors call it; default: the path.

    Raises
    ------
    InvalidInput
        The file is not a slice, or is damaged.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self._name = name or str(path)
        self._records: dict[tuple[str, int], list[Record]] = {}
        self._rows: dict[int, dict[bytes, bytes]] = {}
        self._models: dict[str, bytes] = {}
        if not path.is_file():
            raise InvalidInput(f"{self._name} must be a file that `recstream export` wrote")
        try:
            with zipfile.ZipFile(path) as file:
                self._read(file)
        except InvalidInput:
            raise
        except Exception as error:
            raise InvalidInput(
                f"{self._name} must be a file that `recstream export` wrote, and complete: {error}"
            ) from error

    def _read(self, file: zipfile.ZipFile) -> None:
        """Read all members; each is checked by name and size before it is read."""
        members = {member.filename: member for member in file.infolist()}
        sizes = sum(member.file_size for member in file.infolist())
        stored = sum(member.compress_size for member in file.infolist())
        if len(members) < len(file.infolist()):
            raise InvalidInput(f"{self._name} holds two members of one name; export it again")
        limit = min(MAX_BYTES, MIN_LIMIT_BYTES + MAX_RATIO * stored)
        if sizes > limit:
            raise InvalidInput(
                f"{self._name} must hold at most {limit:,} bytes, got {sizes:,}; export a shorter range"
            )
        self.manifest = msgspec.json.decode(file.read("manifest.json"), type=SliceManifest)
        self._check_manifest()
        for name, member in members.items():
            if name == "manifest.json":
                continue
            kind, _, rest = name.partition("/")
            place, _, number = rest.rpartition("/")
            if kind == "topics" and self._has_partition(place, number):
                self._records[place, int(number)] = self._topic(place, number, file.read(member))
            elif kind == "histories" and self._has_partition(INTERACTIONS, rest):
                self._rows[int(rest)] = self._histories(file.read(member))
            elif kind == "models" and rest in self.manifest.models:
                self._models[rest] = file.read(member)
            else:
                raise InvalidInput(f"{self._name} holds a member {name!r}, which no slice has")
        missing = set(self.manifest.models) - self._models.keys()
        if missing:
            raise InvalidInput(f"{self._name} must hold the artifacts {sorted(missing)}")

    def _check_manifest(self) -> None:
        manifest = self.manifest
        if manifest.format != FORMAT:
            raise InvalidInput(f"{self._name} must be of format {FORMAT}, got {manifest.format}")
        for partition, (start, stop) in manifest.ranges.items():
            if not (0 <= partition < manifest.partitions and 0 <= start <= stop <= MAX_OFFSET):
                raise InvalidInput(
                    f"{self._name}: partition {partition} of {manifest.partitions} must have a "
                    f"range of offsets, got {start} to {stop}"
                )

    def _has_partition(self, topic: str, number: str) -> bool:
        """Return whether a slice has this partition of a topic."""
        if topic not in {INTERACTIONS, RECOMMENDATIONS, CONTROL, MODELS}:
            return False
        return number.isascii() and number.isdecimal() and int(number) < self.partitions(topic)

    def _topic(self, topic: str, number: str, content: bytes) -> list[Record]:
        found = [Record(topic, int(number), *each) for each in _decode_records(content)]
        offsets = [-1, *(record.offset for record in found), MAX_OFFSET]
        if any(after <= before for before, after in pairwise(offsets)):
            raise InvalidInput(f"{self._name}: offsets of {topic}[{number}] must be ascending")
        start, stop = (
            self.earliest(topic, int(number)),
            self.manifest.ranges.get(int(number), (0, 0))[1],
        )
        if (
            topic == INTERACTIONS
            and found
            and not start <= found[0].offset <= found[-1].offset < stop
        ):
            raise InvalidInput(f"{self._name}: {topic}[{number}] must lie within {start} to {stop}")
        return found

    @staticmethod
    def _histories(content: bytes) -> dict[bytes, bytes]:
        rows = _decode_rows(content)
        for key in rows:
            if b"\0" not in key:
                table_rows.load(key.decode(), rows.get)
        return rows

    @property
    def epoch(self) -> str:
        """ULID of the original log."""
        return self.manifest.epoch

    def partitions(self, topic: str) -> int:
        """Return the partition count of a topic in the original log."""
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
        """Return the first offset."""
        if topic == INTERACTIONS:
            return self.manifest.ranges.get(partition, (0, 0))[0]
        return 0

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset after the last record."""
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
        """Return the fold of a partition at the start of the slice."""
        start = self.earliest(INTERACTIONS, partition)
        rows = self._rows.get(partition, {})
        return fold_from(self, partition, read_timeline(self), start, rows.get)

    def get(self, name: str) -> bytes:
        """Return an artifact's content; raises `NotFound`."""
        try:
            return self._models[name]
        except KeyError:
            raise NotFound(f"no artifact {name!r} in this slice") from None

    def list(self) -> list[str]:
        """Return the names of the artifacts."""
        return sorted(self._models)
