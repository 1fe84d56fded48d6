"""Step 1 of the flow: a file's rows become events in time order, appended once.

The file is read to its end first: that gives the order of time and the digest of the content. A
row costs 37 bytes of memory until it is written. Events get ids from their line and their
fields, so that the same row is the same event whenever it is read.

How far an import has come is the offset of a consumer group named after the digest. It is
committed with each append (on the embedded log in the same transaction): an import that was
broken off goes on where it was, and a finished one adds nothing.
"""

from __future__ import annotations

import hashlib
import math
import time
from array import array
from collections.abc import Callable, Iterator
from itertools import islice

import msgspec
import numpy as np

from recstream.core.events import (
    EVENT_TYPES,
    MAX_RATING,
    Event,
    check_event,
    from_timestamp_ms,
)
from recstream.errors import InvalidEvent, InvalidInput
from recstream.importers.envelopes import envelopes
from recstream.importers.mapping import ColumnMapping, Reader
from recstream.importers.source import BadLine, Row, Source
from recstream.log import INTERACTIONS, EventLog, TopicPartition

APPEND_EVENTS = 20_000
"""Events of one append: what is done again, and told apart by its ids, if Kafka fails between."""
SHOWN_PROBLEMS = 5
PROGRESS = TopicPartition(INTERACTIONS, 0)
"""Where a group's offset counts the events an import has written; it is no offset of records."""


class Problem(msgspec.Struct, frozen=True):
    """A line that was left out."""

    line: int
    reason: str


class ImportReport(msgspec.Struct):
    """What an import did."""

    source: str
    read: int = 0
    """Events found in the file."""
    imported: int = 0
    """Events appended by this run."""
    already: int = 0
    """Events that an earlier run had appended."""
    rejected: int = 0
    """Lines left out."""
    problems: list[Problem] = []
    """The first of them."""
    users: int = 0
    items: int = 0
    products: int = 0
    """Products put into the catalogue."""
    seconds: float = 0.0


class EventTable:
    """The events of a file as columns, in the order of its lines."""

    def __init__(self) -> None:
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self._user = array("i")
        self._item = array("i")
        self._ts = array("q")
        self._value = array("d")
        self._type = array("b")
        self._line = array("q")

    def __len__(self) -> int:
        return len(self._user)

    def append(
        self, line: int, user: int, item: int, ts_ms: int, value: float, type_code: int
    ) -> None:
        """Add one event; a value of NaN stands for none."""
        self._user.append(user)
        self._item.append(item)
        self._ts.append(ts_ms)
        self._value.append(value)
        self._type.append(type_code)
        self._line.append(line)

    def in_time_order(self, start: int = 0) -> Iterator[Event]:
        """Yield the events from the ``start``-th on, by time; at the same time by line."""
        order = np.argsort(np.frombuffer(self._ts, dtype=np.int64), kind="stable")
        users, items = list(self.users), list(self.items)
        for at in order[start:].tolist():
            user, item = users[self._user[at]], items[self._item[at]]
            ts_ms, value = self._ts[at], self._value[at]
            kind = EVENT_TYPES[self._type[at]]
            body = f"{self._line[at]}\x1f{user}\x1f{item}\x1f{ts_ms}\x1f{value}\x1f{kind}"
            yield Event(
                id=hashlib.blake2b(body.encode(), digest_size=10).hexdigest(),
                type=kind,
                user=user,
                item=item,
                ts=from_timestamp_ms(ts_ms),
                value=None if math.isnan(value) else value,
            )


def read_events(
    source: Source,
    mapping: ColumnMapping,
    report: ImportReport,
    *,
    at_ms: int,
    once: bool = False,
    strict: bool = False,
) -> EventTable:
    """Return the events of a file; lines that are none are counted in the report.

    Parameters
    ----------
    at_ms : int
        Time of the first row where rows have none; each later one is a millisecond younger, so
        that their order is kept.
    once : bool
        Count an item of a user once, however many rows name it.
    strict : bool
        Stop at the first bad line.

    Raises
    ------
    InvalidInput
        A column is missing, no line can be read, or, if strict, one can't.
    """
    reader = Reader(mapping, source)
    table = EventTable()
    seen: set[tuple[int, int]] | None = set() if once else None
    for line, row in source.rows():
        try:
            _add(table, reader, mapping, line, row, at_ms, seen)
        except ValueError as error:
            if strict:
                raise InvalidInput(f"{source.path}, line {line}: {error}") from error
            report.rejected += 1
            if len(report.problems) < SHOWN_PROBLEMS:
                report.problems.append(Problem(line, str(error)))
    report.read, report.users, report.items = len(table), len(table.users), len(table.items)
    if not len(table) and report.problems:
        first = report.problems[0]
        raise InvalidInput(
            f"no line of {source.path} could be read as an event; line {first.line}: {first.reason}"
        )
    return table


def _add(
    table: EventTable,
    reader: Reader,
    mapping: ColumnMapping,
    line: int,
    row: Row | BadLine,
    at_ms: int,
    seen: set[tuple[int, int]] | None,
) -> None:
    if isinstance(row, BadLine):
        raise ValueError(row.reason)  # noqa: TRY004 - what is wrong is the line, not our type
    kind = reader.type(row)
    value = math.nan if reader.value is None else reader.value(row)
    if kind == "rate":
        value *= MAX_RATING / mapping.rating_max
    user_id = mapping.user_prefix + reader.user(row)
    ts_ms = None if reader.time is None else reader.time(row)
    for item_id in reader.items(row):
        event = Event(
            type=kind,
            user=user_id,
            item=item_id,
            ts=from_timestamp_ms(0),
            value=None if math.isnan(value) else value,
        )
        try:
            check_event(event)
        except InvalidEvent as error:
            raise ValueError(f"{error} ({error.pointer[1:]})") from error
        user = table.users.setdefault(user_id, len(table.users))
        item = table.items.setdefault(item_id, len(table.items))
        if seen is not None:
            if (user, item) in seen:
                continue
            seen.add((user, item))
        ts = at_ms + len(table) if ts_ms is None else ts_ms
        table.append(line, user, item, ts, value, EVENT_TYPES.index(kind))


def write_events(
    event_log: EventLog,
    table: EventTable,
    digest: str,
    report: ImportReport,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Append what an earlier run has not, in time order."""
    group = import_group(digest)
    done = min(event_log.committed(group).get(PROGRESS, 0), len(table))
    report.already = done
    partitions = event_log.partitions(INTERACTIONS)
    events = table.in_time_order(done)
    while batch := list(islice(events, APPEND_EVENTS)):
        done += len(batch)
        event_log.append(list(envelopes(batch, partitions)), group=group, offsets={PROGRESS: done})
        report.imported += len(batch)
        if on_progress is not None:
            on_progress(done)


def import_group(digest: str) -> str:
    """Return the consumer group whose offset says how far an import has come."""
    return f"recstream-import-{digest}"


def import_digest(source: Source, mapping: ColumnMapping, *, once: bool) -> str:
    """Return what makes an import the same one again: the content and how it was read."""
    said = msgspec.json.encode((source.digest, mapping, once), order="deterministic")
    return hashlib.blake2b(said, digest_size=12).hexdigest()


def import_events(
    event_log: EventLog,
    source: Source,
    mapping: ColumnMapping,
    *,
    at_ms: int,
    once: bool = False,
    strict: bool = False,
    on_written: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Read a file and append its events.

    Parameters
    ----------
    on_written : callable, optional
        Takes the events written so far and all there are.

    Raises
    ------
    InvalidInput
        As `read_events`.
    LogUnavailable
        The same call goes on where this one stopped.
    """
    started_s = time.perf_counter()
    report = ImportReport(str(source.path))
    table = read_events(source, mapping, report, at_ms=at_ms, once=once, strict=strict)
    digest = import_digest(source, mapping, once=once)

    def on_progress(done: int) -> None:
        if on_written is not None:
            on_written(done, len(table))

    write_events(event_log, table, digest, report, on_progress)
    report.seconds = time.perf_counter() - started_s
    return report
