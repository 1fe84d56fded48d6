"""`import_topic`: append the JSON records of another system's topic as events, each once.

A record goes through the same mapping as a file's row. Its events' ids are a hash of its place in
the topic. The position in each partition of the source is the offset of a consumer group of our
log, committed with each append: on the embedded log in the same transaction, so a restart continues
without loss or repetition. On Kafka an append before a crash may be repeated; its ids count once.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec

from recstream.core.events import Event, from_timestamp_ms
from recstream.errors import (
    InvalidEvent,
    InvalidInput,
    LogRefused,
    LogUnavailable,
    OffsetOutOfRange,
)
from recstream.importers.envelopes import envelopes
from recstream.importers.events import PROGRESS, SHOWN_PROBLEMS, ImportReport, row_events
from recstream.importers.files.source import RejectedLine, Source
from recstream.importers.mapping import ColumnMapping, EventReader, SkippedRow
from recstream.log import (
    CATALOGUE,
    DEAD_LETTERS,
    INTERACTIONS,
    EventLog,
    NewRecord,
    Record,
    Tail,
    TopicPartition,
    dead_letter,
)

log = logging.getLogger(__name__)

IDENTITY = TopicPartition(CATALOGUE, 0)
"""Where a source's group keeps the topic's identity as an offset, beside the position."""
POLL_S = 0.5
RETRY_S = 1.0
POLL_RECORDS = 5_000
_decode = msgspec.json.Decoder(dict[str, Any]).decode
T = TypeVar("T")


class SourceTopic(Protocol):
    """A topic that can be read from any offset."""

    @property
    def name(self) -> str:
        """Of the cluster and the topic."""

    @property
    def bounds(self) -> Mapping[TopicPartition, tuple[int, int]]:
        """Earliest offset and high watermark of each partition."""

    def look(self) -> tuple[int, int]:
        """Return a number that is another after the topic was created again, and the partition count."""

    def tail(self, positions: Mapping[TopicPartition, int]) -> Tail:
        """Return a reader that starts at these offsets."""


class _JsonRows:
    """What an `EventReader` asks of a source: rows are JSON objects."""

    is_json = True
    columns: Sequence[str] = ()

    def __init__(self, name: str) -> None:
        self.path = Path(name)


def source_group(name: str, tp: TopicPartition) -> str:
    """Return the consumer group whose offset is the position in a partition of a source."""
    digest = hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
    return f"recstream-source-{digest}-{tp.partition}"


def import_topic(
    event_log: EventLog,
    source: SourceTopic,
    mapping: ColumnMapping,
    *,
    is_followed: Callable[[], bool] = lambda: False,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> ImportReport:
    """Append a topic's records from where the last run ended.

    Records that are no event go to the dead letters, with their topic, partition and offset.

    Parameters
    ----------
    mapping : ColumnMapping
        Of the records' values. Records without a time have the record's own.
    is_followed : callable
        Whether to wait for more at the end; asked twice a second. By default the import ends where
        the topic ended when it began.

    Raises
    ------
    InvalidInput
        The source was deleted and created again.
    LogUnavailable
        The source or the log is away, and the topic is not followed.
    """
    started_s = time.perf_counter()
    report = ImportReport(source.name)
    reader = EventReader(mapping, cast(Source, _JsonRows(source.name)))
    ends = {tp: high for tp, (_, high) in source.bounds.items()}
    is_over = False
    while not is_over:
        found = _look(source, is_followed)
        tail = source.tail(_positions(event_log, source, found[0], report))
        try:
            while not is_over:
                records = tail.poll(POLL_S, POLL_RECORDS)
                # After the poll: else these records could be of a topic that was created since.
                if _look(source, is_followed) != found:
                    break
                for tp in sorted({TopicPartition(each.topic, each.partition) for each in records}):
                    group = [each for each in records if (each.topic, each.partition) == tp]
                    work = _converted(
                        event_log, source.name, group, reader, mapping, report, now_ms()
                    )
                    offsets = {PROGRESS: group[-1].offset + 1, IDENTITY: found[0]}
                    to = source_group(source.name, tp)
                    append = partial(event_log.append, work, group=to, offsets=offsets)
                    _retry(append, is_followed)
                done = tail.positions()
                is_over = (
                    not records and not is_followed() and all(done[tp] >= ends[tp] for tp in ends)
                )
        except OffsetOutOfRange:
            continue  # the source has deleted records that were not read yet
        finally:
            tail.close()
    report.seconds = time.perf_counter() - started_s
    return report


def _positions(
    event_log: EventLog, source: SourceTopic, identity: int, report: ImportReport
) -> dict[TopicPartition, int]:
    """Return the next offset of each partition.

    Earlier progress and deleted records are added to the report. Positions of earlier versions have
    no identity: of these, only one beyond the end is noticed.

    Raises
    ------
    InvalidInput
        The source was deleted and created again.
    """
    positions, n_already = {}, 0
    for tp, (low, high) in source.bounds.items():
        group = source_group(source.name, tp)
        committed = event_log.committed(group, PROGRESS.topic, IDENTITY.topic)
        known = committed.get(PROGRESS, 0)
        if known > high or committed.get(IDENTITY, identity) != identity:
            raise InvalidInput(
                f"the import has read {tp.topic}[{tp.partition}] up to offset {known}; the topic, "
                f"which now ends at {high}, was deleted and created again since. Copy it to a "
                "topic with another name and import that"
            )
        n_already += known
        positions[tp] = max(known, low)
        if known and known < low:
            report.notes.append(
                f"{tp.topic}[{tp.partition}]: records {known} to {low - 1} were deleted at the "
                "source before they were read"
            )
    if not report.read:
        report.already = n_already
    return positions


def _look(source: SourceTopic, is_followed: Callable[[], bool]) -> tuple[int, int]:
    return _retry(source.look, is_followed)


def _retry(call: Callable[[], T], is_followed: Callable[[], bool]) -> T:
    """Return a call's result. Retry while a log is away, if the topic is followed."""
    while True:
        try:
            return call()
        except LogUnavailable as error:
            if isinstance(error, LogRefused) or not is_followed():
                raise
            log.warning("log unavailable, trying again: %s", error)
            time.sleep(RETRY_S)


def _converted(
    event_log: EventLog,
    name: str,
    records: Sequence[Record],
    reader: EventReader,
    mapping: ColumnMapping,
    report: ImportReport,
    now_ms: int,
) -> list[NewRecord]:
    """Return the events and dead letters of records of one partition.

    Parameters
    ----------
    name : str
        The source's name.
    report : ImportReport
        Counts and the first problems are added.
    now_ms : int
        Events may be at most 24 h ahead of it.
    """
    now = from_timestamp_ms(now_ms)
    events: list[Event] = []
    letters: list[NewRecord] = []
    n_letters = event_log.partitions(DEAD_LETTERS)
    for record in records:
        if record.value is None:
            report.skipped += 1
            continue
        try:
            row = _decode(record.value)
            found = row_events(reader, mapping, row, record.timestamp_ms, now)
        except SkippedRow:
            report.skipped += 1
            continue
        except Exception as error:  # noqa: BLE001 - no record may stop the reader
            reason = InvalidEvent(str(error), code="invalid-row")
            letter = msgspec.json.encode(dead_letter(record, record.value, reason))
            letters.append(NewRecord(DEAD_LETTERS, None, letter, record.partition % n_letters))
            if len(report.problems) < SHOWN_PROBLEMS:
                report.problems.append(RejectedLine(record.offset, str(error)))
            continue
        for place, event in enumerate(found):
            body = f"{name}\x1f{record.partition}\x1f{record.offset}\x1f{place}"
            digest = hashlib.blake2b(body.encode(), digest_size=10).hexdigest()
            events.append(msgspec.structs.replace(event, id=digest))
    report.read += len(records)
    report.imported += len(events)
    report.rejected += len(letters)
    return [*envelopes(events, event_log.partitions(INTERACTIONS)), *letters]
