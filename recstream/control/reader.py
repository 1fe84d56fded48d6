"""Read the control topic: the only place that decodes its records.

Obsolete records may be deleted. A `ControlSnapshot` keeps the still-needed records from before the
earliest offset; they are read as if they were on the topic, with their own offsets.
"""

from collections.abc import Iterator

from recstream.control.submit import SNAPSHOT_KEY
from recstream.core.events import EventWeights
from recstream.core.history import ActiveSettings, FoldSettings, SettingsTimeline
from recstream.core.records import ControlRecord, ControlSnapshot, decode_control
from recstream.errors import BeyondHorizon, OffsetOutOfRange
from recstream.log import CONTROL, ReadableLog, Record, decode_or_skip, read_backwards
from recstream.settings import Settings

READ_RECORDS = 2_000


def control_record(record: Record) -> ControlRecord | None:
    """Decode a record of the control topic; None if it is blanked or can't be read."""
    return decode_or_skip(record, decode_control)


def control_records(event_log: ReadableLog, start: int = 0) -> Iterator[Record]:
    """Yield the records of the control topic from an offset on, those in a snapshot included.

    Raises
    ------
    BeyondHorizon
        Records were deleted, and no snapshot replaces them.
    """
    at, end = start, event_log.high_watermark(CONTROL, 0)
    while at < end:
        try:
            found = event_log.read(CONTROL, 0, at, READ_RECORDS)
        except OffsetOutOfRange:  # deleted, perhaps since the last turn
            earliest = event_log.earliest(CONTROL, 0)
            yield from (r for r in _replaced(event_log, earliest) if at <= r.offset < earliest)
            at = max(at + 1, earliest)
            continue
        if not found:
            return
        at = found[-1].offset + 1
        yield from (each for each in found if each.key != SNAPSHOT_KEY)


def _replaced(event_log: ReadableLog, earliest: int) -> list[Record]:
    """Return the records that the newest snapshot has; it must replace all before the earliest."""
    for record in read_backwards(event_log, CONTROL, 0):
        if record.key == SNAPSHOT_KEY:
            snapshot = control_record(record)
            if (
                isinstance(snapshot, ControlSnapshot)
                and earliest <= snapshot.before <= record.offset
            ):
                return [
                    Record(CONTROL, 0, offset, timestamp_ms, None, bytes(raw))
                    for offset, timestamp_ms, raw in snapshot.records
                ]
    raise BeyondHorizon(
        f"{CONTROL} keeps records from offset {earliest} on, and no snapshot replaces those before: "
        "they were not deleted by recstream. Settings and erasures may be among them, so that nothing "
        "can be folded; restore a backup"
    )


def read_control(
    event_log: ReadableLog, start: int = 0
) -> Iterator[tuple[int, ControlRecord | None]]:
    """Yield the records of the control topic from an offset on, with their offsets.

    None stands for a record that is blanked or can't be read: whoever follows the topic must know its
    offset, or reads it, and warns of it, again at every turn.
    """
    for record in control_records(event_log, start):
        yield record.offset, control_record(record)


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
