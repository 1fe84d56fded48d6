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
    set_at, _ = timeline.newest_document
    if (newest.rules, newest.list_size, newest.set_at) == (wanted, settings.list_size, set_at):
        return False
    newest = newest._replace(rules=wanted, list_size=settings.list_size, set_at=set_at)
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
    set_at, _ = timeline.newest_document
    if newest.set_at == set_at:
        return False
    newest = newest._replace(set_at=set_at)
    record = _told(newest, partition=partition, from_offset=from_offset, now_ms=now_ms)
    timeline.add(append(new_control_record(record)).offset, record)
    return True


def _told(
    adopted: ActiveSettings, *, partition: int, from_offset: int, now_ms: int
) -> SettingsActivated:
    return SettingsActivated(
        partition=partition,
        from_offset=from_offset,
        weights=adopted.rules.weights,
        half_life_ms=adopted.rules.half_life_ms,
        list_size=adopted.list_size,
        adopted_ts=now_ms,
        steering=adopted.set_at,
    )
