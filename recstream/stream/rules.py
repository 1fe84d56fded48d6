"""Step 3 of the flow: which rules hold for what comes next, told to the log before they are used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import msgspec

from recstream.core.control import Adopted, RulesTimeline
from recstream.core.events import Weights
from recstream.core.history import Rules
from recstream.core.records import ControlRecord, RulesAdopted
from recstream.log.port import EventLog, NewRecord, Position, ReadableLog
from recstream.log.topics import CONTROL
from recstream.settings import Settings

log = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(ControlRecord).decode
_READ_RECORDS = 1_000


def default_rules() -> Adopted:
    """Return what holds in a log that says nothing else: the settings' defaults."""
    defaults = Settings()
    rules = Rules(Weights(), defaults.half_life_ms)
    return Adopted(-1, 0, rules, defaults.list_size)


def control_records(event_log: ReadableLog, start: int = 0) -> Iterator[tuple[int, ControlRecord]]:
    """Give the readable records of the control topic with their offsets; blanked ones are left out."""
    at, end = max(start, event_log.earliest(CONTROL, 0)), event_log.high_watermark(CONTROL, 0)
    while at < end:
        records = event_log.read(CONTROL, 0, at, _READ_RECORDS)
        if not records:
            return
        for record in records:
            if record.value is None:
                continue
            try:
                yield record.offset, _decode(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                log.warning("control record not read offset=%d error=%s", record.offset, error)
        at = records[-1].offset + 1


def read_timeline(event_log: ReadableLog) -> RulesTimeline:
    """Return which rules held when, as the control topic says."""
    timeline = RulesTimeline(default_rules())
    timeline.extend(control_records(event_log))
    return timeline


def adopt(
    event_log: EventLog,
    timeline: RulesTimeline,
    settings: Settings,
    *,
    partition: int,
    from_offset: int,
    now_ms: int,
) -> bool:
    """Let the settings' rules hold from an offset of a partition on; False if they do already.

    The newest steering document that the timeline knows holds with them. The record is durable when
    this returns: no event is folded by rules the log does not know.
    """
    wanted = Rules(settings.weights, settings.half_life_ms)
    newest = timeline.newest(partition)
    set_at, _ = timeline.newest_document
    if (newest.rules, newest.list_size, newest.set_at) == (wanted, settings.list_size, set_at):
        return False
    newest = newest._replace(rules=wanted, list_size=settings.list_size, set_at=set_at)
    record = _told(newest, partition=partition, from_offset=from_offset, now_ms=now_ms)
    positions = event_log.append([control_record(record)])
    timeline.add(positions[0].offset, record)
    return True


def adopt_document(
    append: Callable[[NewRecord], Position],
    timeline: RulesTimeline,
    *,
    partition: int,
    from_offset: int,
    now_ms: int,
) -> bool:
    """Let the newest steering document hold from an offset on; False if it does already.

    Parameters
    ----------
    append : callable
        Appends, if the partition is still its owner's.
    """
    newest = timeline.newest(partition)
    set_at, _ = timeline.newest_document
    if newest.set_at == set_at:
        return False
    newest = newest._replace(set_at=set_at)
    record = _told(newest, partition=partition, from_offset=from_offset, now_ms=now_ms)
    timeline.add(append(control_record(record)).offset, record)
    return True


def control_record(record: RulesAdopted) -> NewRecord:
    """Return the record that tells the control topic about rules."""
    return NewRecord(CONTROL, b"rules", msgspec.json.encode(record), 0)


def _told(adopted: Adopted, *, partition: int, from_offset: int, now_ms: int) -> RulesAdopted:
    return RulesAdopted(
        partition=partition,
        from_offset=from_offset,
        weights=adopted.rules.weights,
        half_life_ms=adopted.rules.half_life_ms,
        list_size=adopted.list_size,
        adopted_ts=now_ms,
        steering=adopted.set_at,
    )
