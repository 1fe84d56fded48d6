"""Step 3 of the flow: which rules hold for what comes next, told to the log before they are used."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from recstream.core.control import Adopted, RulesTimeline
from recstream.core.events import Weights
from recstream.core.history import Rules
from recstream.core.records import ControlRecord, RulesAdopted
from recstream.log.port import EventLog, NewRecord, ReadableLog
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


def control_records(event_log: ReadableLog) -> Iterator[tuple[int, ControlRecord]]:
    """Give every readable record of the control topic with its offset; blanked ones are left out."""
    at, end = event_log.earliest(CONTROL, 0), event_log.high_watermark(CONTROL, 0)
    while at < end:
        records = event_log.read(CONTROL, 0, at, _READ_RECORDS)
        if not records:
            return
        for record in records:
            if record.value is None:
                continue
            try:
                yield record.offset, _decode(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
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

    The record is durable when this returns: no event is folded by rules the log does not know.
    """
    wanted = Rules(settings.weights, settings.half_life_ms)
    newest = timeline.newest(partition)
    if newest.rules == wanted and newest.list_size == settings.list_size:
        return False
    record = RulesAdopted(
        partition=partition,
        from_offset=from_offset,
        weights=settings.weights,
        half_life_ms=settings.half_life_ms,
        list_size=settings.list_size,
        adopted_ts=now_ms,
    )
    positions = event_log.append([NewRecord(CONTROL, b"rules", msgspec.json.encode(record))])
    timeline.add(positions[0].offset, record)
    return True
