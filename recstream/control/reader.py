"""Read the control topic: the only place that decodes its records."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from recstream.core.events import EventWeights
from recstream.core.history import ActiveSettings, FoldSettings, SettingsTimeline
from recstream.core.records import ControlRecord, DeadLetter, decode_control
from recstream.log import CONTROL, ReadableLog, Record, decode_record
from recstream.settings import Settings

log = logging.getLogger(__name__)

READ_RECORDS = 1_000


def control_record(record: Record) -> ControlRecord | None:
    """Decode a record of the control topic; None if it is blanked or can't be read."""
    found = decode_record(record, decode_control)
    if isinstance(found, DeadLetter):
        log.warning("control record not read offset=%d error=%s", record.offset, found.detail)
        return None
    return found


def read_control(event_log: ReadableLog, start: int = 0) -> Iterator[tuple[int, ControlRecord]]:
    """Yield the readable records of the control topic from an offset on, with their offsets."""
    at, end = max(start, event_log.earliest(CONTROL, 0)), event_log.high_watermark(CONTROL, 0)
    while at < end:
        records = event_log.read(CONTROL, 0, at, READ_RECORDS)
        if not records:
            return
        for record in records:
            if (found := control_record(record)) is not None:
                yield record.offset, found
        at = records[-1].offset + 1


def default_settings() -> ActiveSettings:
    """Return the settings in force where the control topic has none: the defaults of `Settings`."""
    defaults = Settings()
    fold_settings = FoldSettings(EventWeights(), defaults.half_life_ms)
    return ActiveSettings(-1, 0, fold_settings, defaults.list_size)


def read_timeline(event_log: ReadableLog) -> SettingsTimeline:
    """Return the settings in force at every offset, from the whole control topic."""
    timeline = SettingsTimeline(default_settings())
    timeline.extend(read_control(event_log))
    return timeline
