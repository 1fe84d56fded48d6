"""Retention: delete what the settings no longer keep, never more than checkpoints can replace.

Everything is off by default. docs/how-to/keep-the-log-small.md says what each setting costs.
"""

import logging
from typing import NamedTuple

import msgspec

from recstream.checkpoints.horizon import audit_horizon
from recstream.checkpoints.index import Checkpoints
from recstream.control import control_records, replace_before
from recstream.core.records import (
    CheckpointRequested,
    DeadLetter,
    ForgetRequested,
    HyperparametersChosen,
    RollbackRequested,
    SettingsActivated,
    SteeringSet,
    TrainingRequested,
    decode_control,
)
from recstream.errors import CheckpointError, ModelStoreUnavailable, NotFound
from recstream.log import (
    CONTROL,
    INTERACTIONS,
    MODELS,
    RECOMMENDATIONS,
    EventLog,
    Record,
    decode_record,
)
from recstream.models import open_store, start_of_generations
from recstream.settings import DAY_MS, Settings

log = logging.getLogger(__name__)

CONTROL_KEPT_MS = 3_600_000
"""Control records younger than this stay on the topic, for readers that are behind."""


class Pruned(NamedTuple):
    """Numbers of offsets that were deleted in one round, by topic; of control, records."""

    interactions: int = 0
    recommendations: int = 0
    models: int = 0
    control: int = 0


def retain(checkpoints: Checkpoints, settings: Settings, *, now_ms: int) -> Pruned:
    """Delete the records that the retention settings no longer keep.

    Interactions are deleted up to a verified checkpoint, so that the log answers exactly from there
    on.

    Parameters
    ----------
    now_ms : int
        Milliseconds since 1970; ages are counted from it.
    """
    event_log = checkpoints.log
    partitions = range(event_log.partitions(INTERACTIONS))
    events = lists = models = control = 0
    for partition in partitions:
        if (cut := _interactions_cut(checkpoints, settings, partition, now_ms)) is not None:
            events += _delete(checkpoints, INTERACTIONS, partition, cut)
        if settings.keep_lists_days:
            before_ms = now_ms - int(settings.keep_lists_days * DAY_MS)
            cut = event_log.offset_at(RECOMMENDATIONS, partition, before_ms)
            lists += _delete(checkpoints, RECOMMENDATIONS, partition, cut)
    if settings.keep_models:
        models = _delete(checkpoints, MODELS, 0, _models_cut(event_log, settings))
    if settings.compact_control:
        wanted, needed = needed_control(checkpoints)
        old = event_log.offset_at(CONTROL, 0, now_ms - CONTROL_KEPT_MS)
        control = replace_before(event_log, min(wanted, old), needed)
    return Pruned(events, lists, models, control)


def _interactions_cut(
    checkpoints: Checkpoints, settings: Settings, partition: int, now_ms: int
) -> int | None:
    """Return the offset before which events may go, None if nothing may.

    It is that of a verified checkpoint, whose file is read and checked once more.
    """
    event_log, wanted = checkpoints.log, 0
    if settings.keep_interactions_days:
        before_ms = now_ms - int(settings.keep_interactions_days * DAY_MS)
        wanted = event_log.offset_at(INTERACTIONS, partition, before_ms)
    if settings.keep_interactions_events:
        end = event_log.high_watermark(INTERACTIONS, partition)
        wanted = max(wanted, end - settings.keep_interactions_events)
    earliest = event_log.earliest(INTERACTIONS, partition)
    for each in reversed(checkpoints.all(partition)):
        if not each.is_verified or not earliest < each.offset <= wanted:
            continue
        try:
            checkpoints.read(each)
        except (NotFound, CheckpointError, ModelStoreUnavailable, OSError) as error:
            log.warning("events are not pruned up to %s, it can't be read: %s", each.name, error)
            continue
        return each.offset
    return None


def _models_cut(event_log: EventLog, settings: Settings) -> int:
    """Return the offset before which announcements may go.

    One generation with an artifact stays: roles serve it while those of newer ones are gone.
    """
    store = open_store(settings.models_url)
    try:
        return start_of_generations(event_log, settings.keep_models, set(store.list()))
    except (ModelStoreUnavailable, OSError) as error:
        log.warning("announcements of models are not pruned, the store is away: %s", error)
        return event_log.earliest(MODELS, 0)
    finally:
        if close := getattr(store, "close", None):
            close()


def _delete(checkpoints: Checkpoints, topic: str, partition: int, cut: int) -> int:
    event_log = checkpoints.log
    earliest = event_log.earliest(topic, partition)
    return event_log.delete_before(topic, partition, cut) - earliest if cut > earliest else 0


def needed_control(checkpoints: Checkpoints) -> tuple[int, set[int]]:
    """Return the offset before which control records may go, and those of them that may not.

    Of the settings of a partition these stay: those in force at its audit horizon, and newer ones,
    with their steering documents. Of steering documents, trainings and rollbacks also the newest.
    Of requests for checkpoints and of hyper-parameters the newest. All of erasures, and every kind
    that this version does not know. A request to erase a user keeps itself and all after it until
    it is carried out: no snapshot names a user.
    """
    needed: set[int] = set()
    newest: dict[type, int] = {}
    settings: dict[int, list[tuple[int, SettingsActivated]]] = {}
    cut = checkpoints.log.high_watermark(CONTROL, 0)
    for each in control_records(checkpoints.log):
        offset, record = each.offset, decode_record(each, decode_control)
        if isinstance(record, SettingsActivated):
            settings.setdefault(record.partition, []).append((offset, record))
        elif isinstance(record, TrainingRequested | RollbackRequested):
            newest[TrainingRequested] = offset
        elif isinstance(record, SteeringSet | CheckpointRequested | HyperparametersChosen):
            newest[type(record)] = offset
        elif isinstance(record, ForgetRequested):
            cut = min(cut, offset)
        elif record is not None and (not isinstance(record, DeadLetter) or _is_json(each)):
            needed.add(offset)
    for partition, activated in settings.items():
        horizon = audit_horizon(checkpoints, partition)
        in_force = max((o for o, found in activated if found.from_offset <= horizon), default=-1)
        for offset, found in activated:
            if offset >= in_force:
                needed |= {offset, found.steering}
    return cut, needed | set(newest.values())


def _is_json(record: Record) -> bool:
    try:
        msgspec.json.decode(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True
