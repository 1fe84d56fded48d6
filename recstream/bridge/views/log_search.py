"""Search a topic: all partitions merged by time, filtered, in bounded work a call."""

import heapq
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from recstream.errors import InvalidInput
from recstream.log import (
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    ReadableLog,
    Record,
    decode,
    json_value,
    may_contain,
    partition_for,
    read_backwards,
)

MAX_SCANNED = 100_000
MAX_SECONDS = 2.0
CHUNK = 500
FIRST_CHUNK = 8
"""Records of a first read; the next ones are larger. Most answers need few, and a record may hold thousands."""
RECENT_RECORDS = 2_000
_BY_USER = {INTERACTIONS, RECOMMENDATIONS, DEAD_LETTERS}
_decode = msgspec.json.Decoder().decode


class RecordFilter(NamedTuple):
    """Which records to find; an empty field admits every record.

    Attributes
    ----------
    user : str
        The record's key, or the ``user`` of one of its events.
    item : str
        Named by an event, a list, a product or a delta.
    id : str
        Of an event, a request, a list (``rec_id``), or of the event that caused a list.
    """

    user: str = ""
    item: str = ""
    type: str = ""
    id: str = ""

    def matcher(self) -> Callable[[Record], bool]:
        """Return a function that tests whether a record contains the searched text."""
        if not any(self):
            return lambda _: True
        # Searching bytes is fast, decoding is not.
        keyed = [(text.encode(), _quoted(text)) for text in (self.user, self.item) if text]
        inside = [_quoted(text) for text in (self.type, self.id) if text]

        def admits(record: Record) -> bool:
            value, key = record.value or b"", record.key
            if record.topic == RECOMMENDATIONS:
                if not all(key == own or own in value for own, _ in keyed):
                    return False
                value = json_value(record) or value
            for own, quoted in keyed:
                if key != own and not may_contain(value, quoted):
                    return False
            return all(may_contain(value, quoted) for quoted in inside) and self._admits(
                value, key or b""
            )

        return admits

    def _admits(self, value: bytes, raw_key: bytes) -> bool:
        key = raw_key.decode(errors="replace")
        try:
            found = _decode(value) if value else None
        except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
            return not (self.type or self.id) and key in {self.user, self.item}
        return any(
            self._fits(part, key) for part in (found if isinstance(found, list) else [found])
        )

    def _fits(self, part: Any, key: str) -> bool:
        """Return whether one object of a record fits every field."""
        fields: dict[str, Any] = part if isinstance(part, dict) else {}
        lineage = fields.get("lineage")
        ids = {str(fields.get(name, "")) for name in ("id", "rec_id")}
        ids.add(str(lineage.get("event_id", "")) if isinstance(lineage, dict) else "")
        return (
            (not self.user or self.user in (key, fields.get("user")))
            and (not self.item or self.item in (key, fields.get("item")) or self._lists(fields))
            and (not self.type or fields.get("type") == self.type)
            and (not self.id or self.id in ids)
        )

    def _lists(self, fields: Mapping[str, Any]) -> bool:
        items = fields.get("items")
        return isinstance(items, list) and any(
            each == self.item
            or (isinstance(each, dict) and each.get("item") == self.item)
            or (isinstance(each, list) and self.item in each)
            for each in items
        )


def _quoted(text: str) -> bytes:
    return msgspec.json.encode(text)


class FoundRecords(NamedTuple):
    """Records in the order of time, and where to continue on either side.

    Attributes
    ----------
    records : list of Record
        Oldest first.
    older, newer : dict of int to int
        Partition to offset: everything before, and from there on, is not in ``records``.
    has_more : bool
        Whether the search ended before the log did.
    """

    records: list[Record]
    older: dict[int, int]
    newer: dict[int, int]
    n_scanned: int
    has_more: bool


class LogSearch:
    """Searches topics of a log."""

    def __init__(self, log: ReadableLog, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now_s = now_s

    def partitions(self, topic: str, user: str = "", partition: int | None = None) -> list[int]:
        """Return the partitions to search: one if it is named, or determined by the user."""
        count = self._log.partitions(topic)
        if partition is not None:
            if not 0 <= partition < count:
                message = f"topic {topic} has partitions 0 to {count - 1}, got {partition}"
                raise InvalidInput(message)
            return [partition]
        if user and topic in _BY_USER:
            return [partition_for(user.encode(), count)]
        return list(range(count))

    def places(
        self, topic: str, partitions: list[int], *, timestamp_ms: int | None = None
    ) -> dict[int, int]:
        """Return the end of each partition, or the first offset at or after a time."""
        if timestamp_ms is None:
            return {each: self._log.high_watermark(topic, each) for each in partitions}
        return {each: self._log.offset_at(topic, each, timestamp_ms) for each in partitions}

    def search(
        self,
        topic: str,
        start: Mapping[int, int],
        admits: Callable[[Record], bool],
        *,
        limit: int,
        backwards: bool,
        max_bytes: int = 1 << 22,
    ) -> FoundRecords:
        """Return the next records on one side of a place.

        Parameters
        ----------
        start : mapping of int to int
            Partition to offset. Backwards, records before it; else from it on.
        max_bytes : int
            Most bytes of their values; at least one record is returned.
        """
        read = self._older if backwards else self._newer
        streams = [read(topic, partition, offset) for partition, offset in start.items()]
        places = dict(start)
        found: list[Record] = []
        n_scanned = n_bytes = 0
        has_more = False
        deadline_s = self._now_s() + MAX_SECONDS
        for record in heapq.merge(*streams, key=lambda one: one.timestamp_ms, reverse=backwards):
            if (
                len(found) == limit
                or n_bytes > max_bytes
                or n_scanned == MAX_SCANNED
                or (n_scanned % CHUNK == CHUNK - 1 and self._now_s() > deadline_s)
            ):
                has_more = True
                break
            n_scanned += 1
            places[record.partition] = record.offset + (not backwards)
            if admits(record):
                found.append(record)
                n_bytes += len(record.value or b"")
        if not backwards:
            return FoundRecords(found, dict(start), places, n_scanned, has_more)
        if not has_more:
            places = {each: self._log.earliest(topic, each) for each in places}
        return FoundRecords(found[::-1], places, dict(start), n_scanned, has_more)

    def recent_users(self, limit: int) -> list[str]:
        """Return the users of the newest events, the newest first."""
        start = self.places(INTERACTIONS, self.partitions(INTERACTIONS))
        streams = [self._older(INTERACTIONS, each, end) for each, end in start.items()]
        records = heapq.merge(*streams, key=lambda one: one.timestamp_ms, reverse=True)
        found: dict[str, None] = {}
        for record in islice(records, RECENT_RECORDS):
            found |= dict.fromkeys(event.user for _, event in decode(record).events[::-1])
            if len(found) >= limit:
                break
        return list(found)[:limit]

    def _newer(self, topic: str, partition: int, start: int) -> Iterator[Record]:
        at = max(start, self._log.earliest(topic, partition))
        end, size = self._log.high_watermark(topic, partition), FIRST_CHUNK
        while at < end and (records := self._log.read(topic, partition, at, size)):
            yield from (record for record in records if record.offset < end)
            at, size = records[-1].offset + 1, min(CHUNK, 2 * size)

    def _older(self, topic: str, partition: int, end: int) -> Iterator[Record]:
        return read_backwards(self._log, topic, partition, end)


def encode_places(places: Mapping[int, int]) -> str:
    """Return a place as text.

    >>> encode_places({0: 12, 3: 40})
    '0:12,3:40'
    """
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(places.items()))


def decode_places(text: str) -> dict[int, int]:
    """Return the place that a text names.

    Raises
    ------
    InvalidInput

    Examples
    --------
    >>> decode_places("0:12,3:40")
    {0: 12, 3: 40}
    """
    try:
        pairs = [each.split(":") for each in text.split(",")]
        places = {int(partition): int(offset) for partition, offset in pairs}
    except ValueError:
        places = {-1: -1}
    if min(*places, *places.values()) < 0 or max(places.values()) >= 1 << 63:
        raise InvalidInput(f"expected a place like 0:12,3:40, as an answer gives it, got {text!r}")
    return places
