"""Step 3 of the flow: which rules hold for what comes next, told to the log before they are used."""

from __future__ import annotations

from collections.abc import Callable

from recstream.control import new_control_record, submit
from recstream.core.history import ActiveSettings, FoldSettings, SettingsTimeline
from recstream.core.records import SettingsActivated
from recstream.log import EventLog, NewRecord, Position
from recstream.settings import Settings


def adopt(
    event_log: EventLog,
    timeline: SettingsTimeline,
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
    wanted = FoldSettings(settings.weights, settings.half_life_ms)
    newest = timeline.newest(partition)
    steering_offset, _ = timeline.newest_document
    if (newest.fold_settings, newest.list_size, newest.steering_offset) == (
        wanted,
        settings.list_size,
        steering_offset,
    ):
        return False
    newest = newest._replace(
        fold_settings=wanted, list_size=settings.list_size, steering_offset=steering_offset
    )
    record = _told(newest, partition=partition, from_offset=from_offset, now_ms=now_ms)
    timeline.add(submit(event_log, record), record)
    return True


def adopt_document(
    append: Callable[[NewRecord], Position],
    timeline: SettingsTimeline,
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
    steering_offset, _ = timeline.newest_document
    if newest.steering_offset == steering_offset:
        return False
    newest = newest._replace(steering_offset=steering_offset)
    record = _told(newest, partition=partition, from_offset=from_offset, now_ms=now_ms)
    timeline.add(append(new_control_record(record)).offset, record)
    return True


def _told(
    adopted: ActiveSettings, *, partition: int, from_offset: int, now_ms: int
) -> SettingsActivated:
    return SettingsActivated(
        partition=partition,
        from_offset=from_offset,
        weights=adopted.fold_settings.weights,
        half_life_ms=adopted.fold_settings.half_life_ms,
        list_size=adopted.list_size,
        adopted_ts=now_ms,
        steering=adopted.steering_offset,
    )
