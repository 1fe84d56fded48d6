"""Fold records of one partition into histories in memory; read those that the rows lack.

Nothing here is durable: `recstream.worker.commit` writes the changed rows.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from recstream.core import events as core_events
from recstream.core.evaluation import is_evaluated
from recstream.core.events import Event
from recstream.core.history import Draft, History, SettingsTimeline, apply, table_rows
from recstream.core.records import DeadLetter, decode_recommendations
from recstream.erasure import forgetting
from recstream.errors import BeyondHorizon, InvalidEvent, OffsetOutOfRange
from recstream.log import (
    INTERACTIONS,
    RECOMMENDATIONS,
    EventLog,
    Record,
    dead_letter,
    decode,
    decode_or_skip,
    partition_for,
    read_backwards,
    read_kept,
    read_records,
)
from recstream.worker.rocksdb_rows import RocksDBRows
from recstream.worker.state import PartitionState, Trigger, UserState

log = logging.getLogger(__name__)

READ_RECORDS = 1_000


class Evaluated(NamedTuple):
    """An event, the user's newest list before the group, and the number of the user's events before it."""

    listed: table_rows.ListRow
    n_events: int
    event: Event


@dataclass(frozen=True)
class Folded:
    """Result of folding a group of records of one partition.

    Attributes
    ----------
    users : dict of str to UserState
        Users with an event in the group, with their new histories.
    rows : list of (key, value)
        Changed rows of the histories.
    outcomes : Counter of (type, outcome)
        Number of events folded and ignored, by event type.
    evaluated : list of Evaluated
        Events that published lists are evaluated by.
    """

    state: PartitionState
    users: dict[str, UserState]
    rows: list[tuple[bytes, bytes]]
    letters: list[DeadLetter]
    outcomes: Counter[tuple[str, str]]
    evaluated: list[Evaluated]


def fold(
    state: PartitionState, records: Sequence[Record], timeline: SettingsTimeline, n_partitions: int
) -> Folded:
    """Fold records, in offset order, into the histories of their users.

    Advances the state: next offset, users who need a list, users seen recently.
    """
    users: dict[str, UserState] = {}
    drafts: dict[str, Draft] = {}
    triggers: dict[str, Trigger] = {}
    letters: list[DeadLetter] = []
    evaluated: list[Evaluated] = []
    folded: list[str] = []
    ignored: list[str] = []
    number = state.number
    active = timeline.at(number, records[0].offset)
    rules, is_by_user = active.fold_settings, active.is_by_user
    for record in records:
        offset = record.offset
        newer = timeline.at(number, offset)
        if newer is not active:
            active, rules, is_by_user = newer, newer.fold_settings, newer.is_by_user
        decoded = decode(record)
        letters += decoded.letters
        for place, event in decoded.events:
            user, kind = event.user, event.type
            draft = drafts.get(user)
            if draft is None:
                if partition_for(user.encode(), n_partitions) != number:
                    letters.append(_misplaced(record, event, n_partitions))
                    continue
                known = users[user] = state.cache.get(user) or state.load(user)
                draft = drafts[user] = Draft(known.history)
            if is_by_user:
                rules = active.fold_settings_of(draft)
            n_events, n_items = draft.n_ids, draft.n_items
            is_folded = draft.add(event, offset, place, rules)
            listed = users[user].listed
            if listed is not None and (
                is_evaluated(n_items, draft.n_items, event, rules.weights)
                or (event.rec_id and kind == "impression")
            ):
                evaluated.append(Evaluated(listed, n_events, event))
            if is_folded:
                folded.append(kind)
                first = triggers.get(user)
                since = offset if first is None else first.offset
                triggers[user] = Trigger(since, event, record.timestamp_ms)
            else:
                ignored.append(kind)
    outcomes: Counter[tuple[str, str]] = Counter()
    outcomes.update({(kind, "ignored"): n for kind, n in Counter(ignored).items()})
    outcomes.update({(kind, "folded"): n for kind, n in Counter(folded).items()})
    rows = _changed_rows(state, users, drafts, triggers)
    state.next_offset = records[-1].offset + 1
    return Folded(state, users, rows, letters, outcomes, evaluated)


def _changed_rows(
    state: PartitionState,
    users: dict[str, UserState],
    drafts: Mapping[str, Draft],
    triggers: Mapping[str, Trigger],
) -> list[tuple[bytes, bytes]]:
    """Return the changed rows of users with an event folded; update ``users`` and the state."""
    rows: list[tuple[bytes, bytes]] = []
    for user, trigger in triggers.items():
        known = users[user]
        old = known.history
        is_known = old.offset >= 0 and user not in state.restored
        new = drafts[user].history()
        rows += table_rows.changes(old if is_known else None, new)
        state.restored.discard(user)
        users[user] = UserState(new, known.listed)
        state.request_list(user, trigger)
    state.touch(triggers)
    return rows


def _misplaced(record: Record, event: Event, n_partitions: int) -> DeadLetter:
    """Return the dead letter of an event in a partition that is not its user's."""
    expected = partition_for(event.user.encode(), n_partitions)
    message = f"expected partition {expected} for this user, got {record.partition}"
    error = InvalidEvent(message, code="wrong-partition", pointer="/user")
    return dead_letter(record, core_events.encode_event(event), error)


def missing_records(
    event_log: EventLog, state: PartitionState, until: int, *, is_rebuild: bool
) -> Iterator[list[Record]]:
    """Yield the records that the log holds between the rows and an offset; fold each group at once.

    Parameters
    ----------
    state : PartitionState
        Its next offset advances while a group is folded.
    is_rebuild : bool
        The partition was folded before, so the first events must be there. Else a log that has
        lost its first events is folded from its earliest.

    Raises
    ------
    BeyondHorizon
        The log lacks events in between.
    """
    while state.next_offset < until:
        start = max(state.next_offset, event_log.earliest(INTERACTIONS, state.number))
        if start > state.next_offset and (state.next_offset or is_rebuild):
            raise BeyondHorizon(
                f"the table of partition {state.number} has the events before offset "
                f"{state.next_offset}, the log keeps those from offset {start} on: the events in "
                "between were pruned, and neither changelog nor checkpoint has them; restore a "
                "backup, or start over with another app_id and lose the histories from before"
            )
        if start > state.next_offset:
            log.warning(
                "histories of partition %d begin at offset %d: the events before were pruned, and "
                "these workers never had them",
                state.number,
                start,
            )
        try:
            found = event_log.read(INTERACTIONS, state.number, start, READ_RECORDS)
        except OffsetOutOfRange:
            if event_log.earliest(INTERACTIONS, state.number) <= start:
                raise
            continue  # pruned since
        missing = [record for record in found if record.offset < until]
        if not missing:
            return
        log.info(
            "records folded again partition=%d from=%d to=%d",
            state.number,
            missing[0].offset,
            missing[-1].offset,
        )
        yield missing


def open_state(
    event_log: EventLog,
    timeline: SettingsTimeline,
    partition: int,
    rows: RocksDBRows,
    n_recent: int,
) -> PartitionState:
    """Read a partition's state from its rows; users whose rows can't be read come from the log."""
    restore = partial(_restore_user, event_log, timeline)
    state = PartitionState(partition, rows, n_recent=n_recent, restore=restore)
    state.next_list = event_log.high_watermark(RECOMMENDATIONS, partition)
    return state


def _restore_user(
    event_log: EventLog, timeline: SettingsTimeline, state: PartitionState, user: str
) -> UserState:
    """Return a user's state at the partition's position, from the user's events and lists in the log.

    Raises
    ------
    BeyondHorizon
        The partition's first events were pruned.
    """
    number, key = state.number, user.encode()
    if event_log.earliest(INTERACTIONS, number) > 0:
        raise BeyondHorizon(
            f"rows of a user of partition {number} can't be read, and the log lacks events that they "
            "were made of; stop the worker and delete the partition's folder in data_dir/tables: it "
            "is made again from a checkpoint"
        )
    requests = forgetting(event_log)
    erased = [
        requests.begun[name].at_offset
        for name, (_, request) in requests.pending.items()
        if request.user == user and name in requests.begun
    ]
    history = History(user)
    start = max(erased, default=0)
    for record in read_records(event_log, INTERACTIONS, number, start, state.next_offset):
        active = timeline.at(number, record.offset)
        for place, event in decode(record).events:
            if event.user == user:
                by_user = active.is_by_user
                rules = active.fold_settings_of(history) if by_user else active.fold_settings
                history = apply(history, event, record.offset, place, rules)
    return UserState(history, _newest_list(event_log, number, key))


def _newest_list(event_log: EventLog, partition: int, key: bytes) -> table_rows.ListRow | None:
    """Return the row of a user's newest list, None if there is none that can be read."""
    for record in read_backwards(event_log, RECOMMENDATIONS, partition):
        if record.key == key:
            made = decode_or_skip(record, decode_recommendations)
            if made is None:
                return None
            items = tuple(each.item for each in made.items)
            return table_rows.ListRow(
                made.generation, made.delta, items, made.source, made.arm, record.offset
            )
    return None


def touch_recent_users(event_log: EventLog, state: PartitionState) -> None:
    """Note the users of the newest records that are in the rows as recent ones."""
    earliest = event_log.earliest(INTERACTIONS, state.number)
    start = max(earliest, state.next_offset - READ_RECORDS)
    if start < state.next_offset:
        for record in read_kept(event_log, INTERACTIONS, state.number, start, READ_RECORDS):
            state.touch(event.user for _, event in decode(record).events)
