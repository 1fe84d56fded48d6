"""`import_events`: append a file's rows as events in time order, once.

The file is read to its end first: that gives the time order and the digest of the content. An
event's id is a hash of its line and fields, so the same row is the same event whenever it is read.

An import's progress is the offset of a consumer group named after the digest. It is committed with
each append (on the embedded log in the same transaction): an interrupted import continues where it
was, and a finished one adds nothing.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice

import msgspec

from recstream.core.events import (
    EVENT_TYPES,
    MAX_AHEAD,
    MAX_RATING,
    Event,
    admit,
    from_timestamp_ms,
    timestamp_ms,
)
from recstream.errors import InvalidEvent, InvalidInput
from recstream.importers.envelopes import envelopes
from recstream.importers.event_table import EventTable
from recstream.importers.files.cells import describe_unprintable
from recstream.importers.files.file import BadLine
from recstream.importers.files.source import RejectedLine, Row, Source
from recstream.importers.mapping import ColumnMapping, EventReader, SkippedRow
from recstream.log import INTERACTIONS, EventLog, TopicPartition

APPEND_EVENTS = 20_000
"""Events of one append. If Kafka fails, they may be appended again; their ids count once."""
SHOWN_PROBLEMS = 5
SUSPICIOUS_BEFORE_MS = 2 * 365 * 24 * 3600 * 1000
PROGRESS = TopicPartition(INTERACTIONS, 0)
"""Where a group's offset counts the events an import has written; it is no offset of records."""


class ImportReport(msgspec.Struct):
    """Counts and problems of an import."""

    source: str
    read: int = 0
    """Events found in the file."""
    imported: int = 0
    """Events appended by this run."""
    undone: int = 0
    """Events of an import that this run took back."""
    already: int = 0
    """Events that an earlier run had appended, or had taken back."""
    rejected: int = 0
    """Lines that are no events."""
    skipped: int = 0
    """Rows of other kinds, which the mapping does not name."""
    problems: list[RejectedLine] = []
    """The first of them."""
    users: int = 0
    items: int = 0
    products: int = 0
    """Products put into the catalogue."""
    seconds: float = 0.0
    notes: list[str] = []
    """What was decided about the file, e.g. that its first line is no header."""


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
        Time of the first row when rows have none; each later row is a millisecond younger, so that
        their order is kept.
    once : bool
        Count an item of a user once, however many rows name it.
    strict : bool
        Stop at the first bad line.

    Raises
    ------
    InvalidInput
        A column is missing, no line can be read, or, if strict, one can't.
    """
    now = from_timestamp_ms(time.time_ns() // 1_000_000)
    if mapping.time == "" and not 0 <= at_ms <= timestamp_ms(now + MAX_AHEAD):
        raise InvalidInput(
            "--at must be a time from 1970 to 24 hours from now, got "
            f"{from_timestamp_ms(at_ms).isoformat()}"
        )
    reader = EventReader(mapping, source)
    table = EventTable()
    seen: set[tuple[int, int]] | None = set() if once else None
    n_rows = 0
    for n_rows, (line, row) in enumerate(source.rows(), 1):  # noqa: B007 - counted
        try:
            _add(table, reader, mapping, line, row, at_ms, seen, now)
        except SkippedRow:
            report.skipped += 1
        except ValueError as error:
            if strict:
                raise InvalidInput(f"{source.path}, line {line}: {error}") from error
            report.rejected += 1
            if len(report.problems) < SHOWN_PROBLEMS:
                report.problems.append(RejectedLine(line, str(error)))
    if mapping.order:
        table.set_times(at_ms)
    report.read, report.users, report.items = len(table), len(table.users), len(table.items)
    _check_result(table, mapping, report, source, n_rows)
    return table


def _check_result(
    table: EventTable, mapping: ColumnMapping, report: ImportReport, source: Source, n_rows: int
) -> None:
    """Refuse a file without a readable line; note unusual findings of the others."""
    if not len(table) and report.problems:
        first = report.problems[0]
        known = f"; its columns: {source.shown_columns}" if source.columns else ""
        raise InvalidInput(
            f"no line of {source.path} could be read as an event; line {first.line}: "
            f"{first.reason}{known}"
        )
    if not len(table):
        without = f"none of its {n_rows:,} rows names an item or has a wanted type"
        report.notes.append(without if n_rows else "the file has a header and no rows")
    elif mapping.time and 0 < table.newest_ms < SUSPICIOUS_BEFORE_MS:
        report.notes.append(
            "all times are in 1970 or 1971: if --time has another form than a number of seconds, "
            "name it with --time-format"
        )


def _add(
    table: EventTable,
    reader: EventReader,
    mapping: ColumnMapping,
    line: int,
    row: Row | BadLine,
    at_ms: int,
    seen: set[tuple[int, int]] | None,
    now: datetime,
) -> None:
    """Add a row's events to the table; raises ValueError for a bad row.

    Parameters
    ----------
    at_ms : int
        Time of the first row when rows have none.
    seen : set of (int, int), optional
        Pairs of user and item that were added; each is added once.
    now : datetime
        Events may be at most 24 h ahead of it, as at the bridge and in the worker.
    """
    if isinstance(row, BadLine):
        raise ValueError(row.reason)  # noqa: TRY004 - the line is wrong, not a type
    for event in row_events(reader, mapping, row, at_ms + len(table), now):
        user = table.users.setdefault(event.user, len(table.users))
        item = table.items.setdefault(event.item or "", len(table.items))
        if seen is not None:
            if (user, item) in seen:
                continue
            seen.add((user, item))
        value = math.nan if event.value is None else event.value
        ts_ms = 0 if event.ts is None else timestamp_ms(event.ts)
        if reader.order is not None:
            ts_ms = reader.order(row)
        code = EVENT_TYPES.index(event.type)
        table.append(line, user, item, ts_ms, value, code, event.session)


def row_events(
    reader: EventReader, mapping: ColumnMapping, row: Row, at_ms: int, now: datetime
) -> list[Event]:
    """Return a row's events, without ids; raises ValueError for a bad row.

    Parameters
    ----------
    at_ms : int
        Time of the row's first event if the row has none; each later one is a millisecond younger.
    now : datetime
        Events may be at most 24 h ahead of it, as at the bridge and in the worker.
    """
    kind = reader.type(row)
    value = math.nan if reader.value is None else reader.value(row)
    if kind == "rate":
        value = _scaled(value, mapping.rating_max)
    user_id = reader.user(row)
    ts_ms = None if reader.time is None else reader.time(row)
    session = reader.session(row)
    events: list[Event] = []
    for item_id in reader.items(row):
        event = Event(
            type=kind,
            user=user_id,
            item=item_id,
            ts=from_timestamp_ms(at_ms + len(events) if ts_ms is None else ts_ms),
            value=None if math.isnan(value) else value,
            session=session,
        )
        try:
            admit(event, now=now, new_id=lambda: "made when written")
        except InvalidEvent as error:
            odd = describe_unprintable(user_id) or describe_unprintable(item_id)
            found_in = f"; {odd} is in it" if odd and error.code == "invalid-name" else ""
            raise ValueError(f"{error}{found_in} ({error.pointer[1:]})") from error
        events.append(event)
    return events


def _scaled(rating: float, best: float) -> float:
    if rating < 0.0 or rating > best:
        raise ValueError(
            f"expected a rating from 0 to {best:g}, got {rating:.10g}; name the best with "
            "--rating-max"
        )
    return min(rating * (MAX_RATING / best), MAX_RATING)


def write_events(
    event_log: EventLog,
    table: EventTable,
    digest: str,
    report: ImportReport,
    on_written: Callable[[int, int], None] | None = None,
) -> None:
    """Append the events that an earlier run has not appended, in time order.

    Parameters
    ----------
    digest : str
        The import's name.
    on_written : callable, optional
        Called with the number of events written so far and in all.
    """
    done = report.already = min(import_progress(event_log, digest), len(table))
    for n in append_events(event_log, table.in_time_order(done), digest, done):
        report.imported += n
        if on_written is not None:
            on_written(done + report.imported, len(table))


def append_events(
    event_log: EventLog, events: Iterator[Event], digest: str, done: int
) -> Iterator[int]:
    """Append events and the import's progress, and yield the number of each append."""
    partitions = event_log.partitions(INTERACTIONS)
    while batch := list(islice(events, APPEND_EVENTS)):
        done += len(batch)
        offsets = {PROGRESS: done}
        event_log.append(
            list(envelopes(batch, partitions)), group=import_group(digest), offsets=offsets
        )
        yield len(batch)


def import_progress(event_log: EventLog, digest: str) -> int:
    """Return how many events an import has appended."""
    return event_log.committed(import_group(digest), PROGRESS.topic).get(PROGRESS, 0)


UNDOING = "-undo"
"""Suffix of an undo's name and of its events' ids."""
_NEWER_OPTIONS = ("session", "others", "item_suffix", "order", "fill", "on")
"""Options that imports of earlier versions lack: without them, an import keeps its name."""
_DEFAULTS = ColumnMapping.__struct_fields__[-len(ColumnMapping.__struct_defaults__) :]


def import_group(digest: str) -> str:
    """Return the consumer group whose offset is an import's progress."""
    return f"recstream-import-{digest}"


def import_digest(
    source: Source, mapping: ColumnMapping, *, once: bool, at_ms: int | None = None
) -> str:
    """Return an import's name: a digest of the content and of every option that changes its events.

    Parameters
    ----------
    at_ms : int, optional
        The time given for rows without one; None for the file's own, which does not count.
    """
    options: tuple[object, ...] = source.reading
    if at_ms is not None and not mapping.time:
        options = (*options, at_ms)
    columns = msgspec.to_builtins(mapping)
    del columns["join"]  # its content counts, see `Source.reading`
    for name in _NEWER_OPTIONS:
        if columns[name] == ColumnMapping.__struct_defaults__[_DEFAULTS.index(name)]:
            del columns[name]
    columns["types"] = dict(sorted(columns["types"].items()))
    parts = (source.digest, msgspec.Raw(msgspec.json.encode(columns)), once, *options)
    encoded = msgspec.json.encode(parts, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=12).hexdigest()


def import_events(
    event_log: EventLog,
    source: Source,
    mapping: ColumnMapping,
    *,
    at_ms: int | None = None,
    once: bool = False,
    strict: bool = False,
    notes: Sequence[str] = (),
    on_written: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Read a file and append its events.

    Parameters
    ----------
    at_ms : int, optional
        Time of rows without one; default: the file's time of modification.
    once, strict : bool
        As in `read_events`.
    on_written : callable, optional
        Called with the number of events written so far and in all.

    Raises
    ------
    InvalidInput
        As `read_events`.
    LogUnavailable
        The same call continues where this one stopped.
    """
    started_s = time.perf_counter()
    report = ImportReport(str(source.path), notes=list(notes))
    start_ms = source.modified_ms if at_ms is None else at_ms
    table = read_events(source, mapping, report, at_ms=start_ms, once=once, strict=strict)
    if len(table) and at_ms is None and not mapping.time and not mapping.order:
        report.notes.append("no column of times is named (--time): events have the file's own time")
    digest = import_digest(source, mapping, once=once, at_ms=at_ms)
    write_events(event_log, table, digest, report, on_written)
    if report.already and import_progress(event_log, digest + UNDOING):
        report.notes.append(
            "this import was undone; rows that it had appended are not appended again; change an option "
            "or a row to import them anew"
        )
    report.seconds = time.perf_counter() - started_s
    return report
