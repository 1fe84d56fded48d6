"""Activate fold settings, list size and steering document on a partition.

A `SettingsActivated` record is appended before the first event is folded with new settings, so that
a replay uses the same ones. The append is refused if another worker owns the partition.
"""

import logging
from collections.abc import Sequence

from recstream.control import new_control_record
from recstream.core.history import SEMANTICS, FoldSettings, SettingsTimeline
from recstream.core.records import LIST_FORMAT, SettingsActivated
from recstream.errors import LogFenced
from recstream.settings import Settings
from recstream.worker.commit import Append, append_fenced
from recstream.worker.state import PartitionState

log = logging.getLogger(__name__)


def activate(
    append: Append,
    timeline: SettingsTimeline,
    settings: Settings,
    state: PartitionState,
    now_ms: int,
) -> bool:
    """Activate the settings and the newest steering document; return False if they are active.

    Parameters
    ----------
    timeline : SettingsTimeline
        Gains the activation.
    settings : Settings
        Event weights, half-life and list size of this worker.
    state : PartitionState
        The settings hold from its next offset on.

    Raises
    ------
    LogFenced
        Another worker owns the partition.
    """
    newest = timeline.newest(state.number)
    wanted = FoldSettings(settings.weights, settings.half_life_ms, semantics=SEMANTICS)
    steering_offset, _ = timeline.newest_document
    active = newest.fold_settings, newest.list_size, newest.steering_offset, newest.list_format
    if active == (wanted, settings.list_size, steering_offset, LIST_FORMAT):
        return False
    activated = SettingsActivated(
        partition=state.number,
        from_offset=state.next_offset,
        weights=settings.weights,
        half_life_ms=settings.half_life_ms,
        list_size=settings.list_size,
        adopted_ts=now_ms,
        steering=steering_offset,
        semantics=SEMANTICS,
        list_format=LIST_FORMAT,
    )
    position = append_fenced(append, state, new_control_record(activated))
    timeline.add(position.offset, activated)
    return True


def activate_everywhere(
    append: Append,
    timeline: SettingsTimeline,
    settings: Settings,
    states: Sequence[PartitionState],
    now_ms: int,
) -> list[PartitionState]:
    """Call `activate` for partitions; return those on which something is new.

    Partitions that another worker owns are left out.

    Parameters
    ----------
    append, timeline, settings, now_ms
        As in `activate`.
    """
    activated = []
    for state in states:
        try:
            if activate(append, timeline, settings, state, now_ms):
                activated.append(state)
        except LogFenced as error:
            log.info("steering not activated, another worker owns the partition: %s", error)
    if activated:
        offset, _ = timeline.newest_document
        log.info("steering activated control=%d partitions=%d", offset, len(activated))
    return activated
