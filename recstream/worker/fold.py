"""Step 3 of the flow: records of a partition → histories in memory, and what is to be told of them.

Nothing here is durable yet: `recstream.worker.engine` carries out what follows from a group, or throws
the partition's memory away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from recstream.core import events as core_events
from recstream.core.evaluation import is_asked
from recstream.core.history import History, ListRow, SettingsTimeline, apply, changes
from recstream.core.records import DeadLetter
from recstream.errors import InvalidEvent
from recstream.log import Record, dead_letter, decode, partition_for
from recstream.worker.prequential import Asked
from recstream.worker.state import Cause, Known, PartitionState


@dataclass(frozen=True)
class Folded:
    """What a group of records of one partition came to.

    Attributes
    ----------
    known : dict of str to Known
        The users touched, with their new histories.
    rows : list of (key, value)
        In which the histories changed.
    letters : list of DeadLetter
    outcomes : Counter of (type, outcome)
    asked : list of Asked
        Events that lists are judged by.
    listed : dict of str to ListRow
        The users' newest lists before the group.
    """

    state: PartitionState
    known: dict[str, Known]
    rows: list[tuple[bytes, bytes]]
    letters: list[DeadLetter]
    outcomes: Counter[tuple[str, str]]
    asked: list[Asked]
    listed: dict[str, ListRow]


def fold(
    state: PartitionState, records: Sequence[Record], timeline: SettingsTimeline, n_partitions: int
) -> Folded:
    """Fold records, in offset order, into the histories that a partition's state knows.

    The state moves on: its next offset, who waits for a list, who was seen lately.
    """
    known: dict[str, Known] = {}
    after: dict[str, History] = {}
    causes: dict[str, Cause] = {}
    letters: list[DeadLetter] = []
    outcomes: Counter[tuple[str, str]] = Counter()
    asked: list[Asked] = []
    number = state.number
    for record in records:
        offset = record.offset
        adopted = timeline.at(number, offset)
        rules, is_by_user = adopted.fold_settings, adopted.is_by_user
        decoded = decode(record)
        letters += decoded.letters
        for place, event in decoded.events:
            user = event.user
            old = after.get(user)
            if old is None:
                if partition_for(user.encode(), n_partitions) != number:
                    letters.append(_misplaced(record, event, n_partitions))
                    continue
                known[user] = state.known(user)
                old = known[user].history
            if is_by_user:
                rules = adopted.fold_settings_of(user)
            new = after[user] = apply(old, event, offset, place, rules)
            if event.rec_id and event.type == "impression":
                asked.append(Asked(old, event))
            if new is old:
                outcomes[event.type, "ignored"] += 1
            else:
                outcomes[event.type, "folded"] += 1
                if is_asked(old, event, rules.weights):
                    asked.append(Asked(old, event))
                first = causes.get(user)
                since = offset if first is None else first.offset
                causes[user] = Cause(since, event, record.timestamp_ms)
    listed = {user: each.listed for user, each in known.items() if each.listed is not None}
    rows: list[tuple[bytes, bytes]] = []
    for user, cause in causes.items():
        old = known[user].history
        rows += changes(old if old.offset >= 0 else None, after[user])
        known[user] = Known(after[user], known[user].listed)
        state.ask_for_list(user, cause)
        state.saw(user)
    state.next_offset = records[-1].offset + 1
    return Folded(state, known, rows, letters, outcomes, asked, listed)


def _misplaced(record: Record, event: core_events.Event, n_partitions: int) -> DeadLetter:
    """Return the letter for an event in a partition that is not its user's."""
    expected = partition_for(event.user.encode(), n_partitions)
    message = f"expected partition {expected} for this user, got {record.partition}"
    error = InvalidEvent(message, code="wrong-partition", pointer="/user")
    return dead_letter(record, core_events.encode_event(event), error)
