"""Read the control topic, and the rules timeline that its records make."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec

from recstream.core.events import EventWeights
from recstream.core.history import ActiveSettings, FoldSettings, SettingsTimeline
from recstream.core.records import ControlRecord
from recstream.log import CONTROL, ReadableLog
from recstream.settings import Settings

log = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(ControlRecord).decode
_READ_RECORDS = 1_000


def default_settings() -> ActiveSettings:
    """Return what holds in a log that says nothing else: the settings' defaults."""
    defaults = Settings()
    rules = FoldSettings(EventWeights(), defaults.half_life_ms)
    return ActiveSettings(-1, 0, rules, defaults.list_size)


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


def read_timeline(event_log: ReadableLog) -> SettingsTimeline:
    """Return which rules held when, as the control topic says."""
    timeline = SettingsTimeline(default_settings())
    timeline.extend(control_records(event_log))
    return timeline
