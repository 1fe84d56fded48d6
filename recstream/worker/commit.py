"""Commit: append effects to the log, then write the same rows to RocksDB.

One append holds changed rows (for the changelog), lists, dead letters and the applied offset. It is
durable, or nothing of it was written. The embedded log commits the consumer group's offset with it;
Kafka commits it afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from recstream.control import new_control_record
from recstream.core.history import table_rows
from recstream.core.records import Forgotten
from recstream.erasure import mark
from recstream.errors import LogFenced
from recstream.log import (
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    NewRecord,
    Position,
    TopicPartition,
)
from recstream.worker.fold import Folded
from recstream.worker.lists import NewList
from recstream.worker.rocksdb_rows import RocksDBRows
from recstream.worker.state import PartitionState, UserState

_new_record = tuple.__new__
Work = tuple[Sequence[NewRecord], Mapping[TopicPartition, int]]
"""Records, and the consumer group's next offsets.

The embedded log commits the offsets in the same transaction, Kafka afterwards.
"""
Append = Callable[[Sequence[Work]], list[list[Position] | LogFenced]]
"""Append each work wholly, or not at all if another worker owns its partition. Durable on return."""


@dataclass(frozen=True)
class Effects:
    """What a group of records, new lists or an erasure changes in one partition.

    Attributes
    ----------
    rows : list of (key, value)
        Changed rows of the table; a value of None deletes the row.
    records : list of NewRecord
        Records of other topics.
    users : dict of str to UserState
        Users to keep in the cache.
    """

    state: PartitionState
    rows: Sequence[tuple[bytes, bytes | None]] = ()
    records: Sequence[NewRecord] = ()
    users: Mapping[str, UserState] = field(default_factory=dict)
    headers: tuple[tuple[str, bytes], ...] = ()


def folded_effects(folded: Folded, lists: Sequence[NewList]) -> Effects:
    """Return the effects of a folded group and its lists."""
    letters = [
        NewRecord(DEAD_LETTERS, None, msgspec.json.encode(letter), folded.state.number)
        for letter in folded.letters
    ]
    return list_effects(folded.state, folded.users, lists, folded.rows, letters)


def list_effects(
    state: PartitionState,
    users: dict[str, UserState],
    lists: Sequence[NewList],
    rows: Sequence[tuple[bytes, bytes]] = (),
    letters: Sequence[NewRecord] = (),
) -> Effects:
    """Return the effects of new lists, after the rows of their events."""
    return Effects(
        state,
        rows=[*rows, *(each.row for each in lists)],
        records=[*(each.record for each in lists), *letters],
        users=users | {each.user.history.user: each.user for each in lists},
    )


def forget_effects(
    state: PartitionState, key: bytes, keys: Sequence[bytes], forgotten: Forgotten
) -> Effects:
    """Return the effects of forgetting a user: tombstones of the rows and the list, and the record."""
    headers = mark(forgotten.id)
    records = [
        NewRecord(RECOMMENDATIONS, key, None, state.number, None, headers),
        new_control_record(forgotten),
    ]
    return Effects(state, rows=[(each, None) for each in keys], records=records, headers=headers)


def commit(
    effects: Sequence[Effects],
    append: Append,
    rows: RocksDBRows,
    changelog: str,
    states: dict[int, PartitionState],
) -> list[LogFenced | None]:
    """Commit effects of different partitions in one append.

    Parameters
    ----------
    states : dict of int to PartitionState
        State by partition. State that was not committed is removed: it is read again from the rows.

    Returns
    -------
    list of LogFenced or None
        The error of each partition that another worker owns now.
    """
    if not effects:
        return []
    tables = [_table_rows(each) for each in effects]
    try:
        works = [_work(each, table, changelog) for each, table in zip(effects, tables, strict=True)]
        done = append(works)
        for each, table, positions in zip(effects, tables, done, strict=True):
            number = each.state.number
            if isinstance(positions, LogFenced):
                states.pop(number, None)
                continue
            rows.write(number, table, positions[len(table) - 1].offset)
            each.state.next_list = 1 + max(
                (at.offset for at in positions[len(table) :] if at.topic == RECOMMENDATIONS),
                default=each.state.next_list - 1,
            )
            for user, state in each.users.items():
                each.state.cache.put(user, state)
    except BaseException:
        for each in effects:
            states.pop(each.state.number, None)
        raise
    return [each if isinstance(each, LogFenced) else None for each in done]


def append_fenced(append: Append, state: PartitionState, record: NewRecord) -> Position:
    """Append one record as the owner of a partition.

    Raises
    ------
    LogFenced
        Another worker owns the partition; nothing was written.
    """
    (done,) = append([([record], _offsets(state))])
    if isinstance(done, LogFenced):
        raise done
    return done[0]


def raise_fenced(refused: Sequence[LogFenced | None]) -> None:
    """Raise the first error, if any."""
    for each in refused:
        if each is not None:
            raise each


def _table_rows(effects: Effects) -> list[tuple[bytes, bytes | None]]:
    key, applied = effects.state.applied_row()
    return [*effects.rows, (key, table_rows.encode_row(applied))]


def _work(effects: Effects, table: list[tuple[bytes, bytes | None]], changelog: str) -> Work:
    number = effects.state.number
    records = [
        _new_record(
            NewRecord,
            (changelog, key, value, number, None, effects.headers if value is None else ()),
        )
        for key, value in table
    ]
    return [*records, *effects.records], _offsets(effects.state)


def _offsets(state: PartitionState) -> dict[TopicPartition, int]:
    return {TopicPartition(INTERACTIONS, state.number): state.next_offset}
