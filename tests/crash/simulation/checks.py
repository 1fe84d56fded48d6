"""What must hold after any faults: rows are the fold of the log, and lists are published once."""

from __future__ import annotations

from collections.abc import Iterable

from recstream.core.history import table_rows
from recstream.core.records import decode_recommendations
from recstream.log import Record
from recstream.time_travel import PartitionFold


class Found(AssertionError):
    """Something that must never be: what, and how to see it again."""


def check_histories(
    rows: dict[bytes, bytes], fold: PartitionFold, ids: dict[str, set[str]]
) -> None:
    """Compare rows with a clean fold, byte for byte, and with what the client sent."""
    expected: dict[bytes, bytes] = {}
    for history in fold.histories.values():
        if history.offset >= 0:
            expected.update(table_rows.changes(None, history))
        counted, sent = history.n_ids, ids.get(history.user, set())
        if counted != len(sent) or not all(map(history.has_event, sent)):
            raise Found(f"{history.user}: {counted} events count, {len(sent)} were sent")
    held = {key: value for key, value in rows.items() if table_rows.split_key(key)[1] in "hpr"}
    if held != expected:
        differing = sorted(key for key in held | expected if held.get(key) != expected.get(key))
        raise Found(f"rows of partition {fold.partition} differ from the log: {differing}")
    applied = table_rows.decode_applied_row(rows[table_rows.APPLIED_KEY])
    if applied != table_rows.AppliedRow(fold.next_offset, fold.next_offset):
        raise Found(f"partition {fold.partition}: {applied}, the log ends at {fold.next_offset}")


def check_lists(lists: Iterable[Record], rows: dict[bytes, bytes], fold: PartitionFold) -> None:
    """Compare rows of lists with published ones: no two alike, none for users without events."""
    partition = fold.partition
    newest: dict[bytes, tuple[int, tuple[str, ...]]] = {}
    for record in lists:
        key = record.key or b""
        if record.value is None:
            newest.pop(key, None)
            continue
        items = tuple(each.item for each in decode_recommendations(record.value).items)
        if key in newest and newest[key][1] == items:
            raise Found(f"list of {key!r} published twice: offset {record.offset}")
        newest[key] = record.offset, items
    strangers = {key for key in newest if fold.history(key.decode()).offset < 0}
    if strangers:
        raise Found(f"lists for users without events: {strangers}")
    held = {
        table_rows.split_key(key)[0]: table_rows.decode_list_row(value)
        for key, value in rows.items()
        if table_rows.split_key(key)[1] == "l"
    }
    if {key: row.items for key, row in held.items()} != {
        key: items for key, (_, items) in newest.items()
    }:
        raise Found(f"rows of lists of partition {partition} differ from the published ones")
