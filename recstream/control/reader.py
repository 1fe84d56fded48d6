"""Read the control topic: the only place that decodes its records."""

from __future__ import annotations

from collections.abc import Iterator

from recstream.core.events import EventWeights
from recstream.core.history import ActiveSettings, FoldSettings, SettingsTimeline
from recstream.core.records import ControlRecord, decode_control
from recstream.log import CONTROL, ReadableLog, Record, decode_or_skip, read_records
from recstream.settings import Settings


def control_record(record: Record) -> ControlRecord | None:
    """Decode a record of the control topic; None if it is blanked or can't be read."""
    return decode_or_skip(record, decode_control)


def read_control(event_log: ReadableLog, start: int = 0) -> Iterator[tuple[int, ControlRecord]]:
    """Yield the readable records of the control topic from an offset on, with their offsets."""
    for record in read_records(event_log, CONTROL, 0, start):
        if (found := control_record(record)) is not None:
            yield record.offset, found


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
