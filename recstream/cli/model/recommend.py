"""`recstream recommend`: show a user's list, the newest or that of a past moment."""

import contextlib
from typing import Any

import click
import msgspec

from recstream.cli.open import Result, on_log, time_travel
from recstream.cli.options import table, user_argument
from recstream.core.events import decode_events
from recstream.core.records import Item, Recommendations, decode_item, decode_recommendations
from recstream.errors import InvalidEvent, NotFound, RecstreamError
from recstream.log import (
    CATALOGUE,
    INTERACTIONS,
    RECOMMENDATIONS,
    EventLog,
    TopicPartition,
    decode_or_skip,
    partition_for,
    read_backwards,
    read_records,
)
from recstream.settings import Settings

NOTHING_LEFT = "no item is left to list: this user has seen all of them, or they are withdrawn or excluded by rules"


@click.command()
@user_argument
@click.option("-n", type=click.IntRange(min=1, max=1000), default=10, help="Items.")
@click.option("--as-of", "as_of", metavar="OFFSET|TIME", help="Show the list at a past moment.")
@on_log
def recommend(
    event_log: EventLog, settings: Settings, user: str, n: int, as_of: str | None
) -> Result:
    """Show the newest list that was published for USER, read from the log.

    Needs no bridge. A user without events has no published list. With --as-of the list is derived
    again from the log as of an offset of the user's partition or a time, and compared with the list
    published then.

    \b
    Examples:
      recstream recommend u42
      recstream recommend u42 -n 5 --json
      recstream recommend u42 --as-of 2026-11-22T10:42:00Z
    """
    if as_of is not None:
        made, note = _list_as_of(settings, user, as_of)
    else:
        made, note = None, ""
    made = made or _newest_list(event_log, user, settings.app_id)
    titles = _titles(event_log, _items_of(made))
    rows = [
        {
            "rank": entry.rank,
            "item": entry.item,
            "title": titles[entry.item].title if entry.item in titles else "",
            "score": f"{entry.score:.3f}",
            "why": _why(entry.why, titles),
        }
        for entry in made.items[:n]
    ]
    head = f"{user}: {made.source}, generation {made.generation}, list {made.rec_id}{note}"
    return made, f"{head}\n{table(rows) or NOTHING_LEFT}"


def _list_as_of(settings: Settings, user: str, as_of: str) -> tuple[Recommendations, str]:
    from recstream.time_travel import moment

    with time_travel(settings) as travel:
        found = travel.list_at(user, moment(as_of))
    if found.is_identical is None:
        return found.list, "; no list was published for this user by then"
    if not found.is_identical:
        raise RecstreamError(
            f"list {found.list.rec_id}, derived again, differs from the published list; "
            f"`recstream replay --verify --user {user}` shows where"
        )
    return found.list, "; derived again from the log, identical to the published list"


def _newest_list(event_log: EventLog, user: str, app_id: str) -> Recommendations:
    key = user.encode()
    partition = partition_for(key, event_log.partitions(RECOMMENDATIONS))
    for record in read_backwards(event_log, RECOMMENDATIONS, partition):
        if record.key == key and (made := decode_or_skip(record, decode_recommendations)):
            return msgspec.structs.replace(
                made, epoch=event_log.epoch, partition=partition, offset=record.offset
            )
    raise NotFound(f"no list was published for {user!r}: {_reason(event_log, user, app_id)}")


def _reason(event_log: EventLog, user: str, app_id: str) -> str:
    """Say why a user has no published list."""
    partition = partition_for(user.encode(), event_log.partitions(INTERACTIONS))
    last = -1
    for record in read_backwards(event_log, INTERACTIONS, partition):
        with contextlib.suppress(InvalidEvent):
            if any(event.user == user for event in decode_events(record.value or b"[]")):
                last = record.offset
                break
    if last < 0:
        return "the log has no event of this user"
    if (
        event_log.committed(app_id, INTERACTIONS).get(TopicPartition(INTERACTIONS, partition), 0)
        <= last
    ):
        return f"no worker has processed the event at offset {last} yet; is one running?"
    return NOTHING_LEFT


def _items_of(made: Recommendations) -> set[str]:
    """Return the items of a list and of its reasons."""
    items = {entry.item for entry in made.items}
    return items | {reason.item for entry in made.items for reason in entry.why if reason.item}


def _titles(event_log: EventLog, wanted: set[str]) -> dict[str, Item]:
    keys = {item.encode() for item in wanted}
    found: dict[str, Item] = {}
    for record in read_records(event_log, CATALOGUE, 0):
        if record.key in keys and (item := decode_or_skip(record, decode_item)) is not None:
            found[item.item] = item
    return found


def _why(reasons: tuple[Any, ...], titles: dict[str, Item]) -> str:
    if not reasons:
        return ""
    first = reasons[0]
    if first.kind != "because":
        return str(first.kind)
    title = titles[first.item].title if first.item in titles else first.item
    return f"because of {title}"[:60]
