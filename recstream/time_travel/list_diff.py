"""Compare the lists of a user at two moments: what each published list in between changed, and why."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from recstream.control import read_timeline
from recstream.core.history import SettingsTimeline
from recstream.core.records import Recommendations, RecommendedItem
from recstream.core.steering import Steering
from recstream.errors import InvalidInput
from recstream.time_travel.moment import Moment
from recstream.time_travel.service import TimeTravel
from recstream.time_travel.snapshot_table import ListPosition

MAX_EVENTS_BETWEEN = 10_000


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """An item's rank in two lists; 0 if it is not in the list."""

    item: str
    before: int
    after: int


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """How two lists differ."""

    entered: tuple[Moved, ...]
    left: tuple[Moved, ...]
    moved: tuple[Moved, ...]


def compare(before: Sequence[RecommendedItem], after: Sequence[RecommendedItem]) -> Change:
    """Return which items entered, left and moved between two lists, by rank."""
    old = {item.item: item.rank for item in before}
    new = {item.item: item.rank for item in after}
    return Change(
        entered=tuple(
            Moved(item=item, before=0, after=rank) for item, rank in new.items() if item not in old
        ),
        left=tuple(
            Moved(item=item, before=rank, after=0) for item, rank in old.items() if item not in new
        ),
        moved=tuple(
            Moved(item=item, before=old[item], after=rank)
            for item, rank in new.items()
            if item in old and old[item] != rank
        ),
    )


class EventBetween(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the user between two lists."""

    offset: int
    id: str
    type: str
    item: str
    ts: datetime | None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A published list, and what changed since the previous one.

    ``events`` are the user's events since the previous list. ``steering_changed``: another steering
    document was in force, or none any more. If the source is ``refresh``, the model changed the list,
    not the events.
    """

    rec_id: str
    source: str
    as_of: int
    generation: int
    delta: int
    model_changed: bool
    steering_changed: bool
    events: tuple[EventBetween, ...]
    change: Change


class ListDiff(msgspec.Struct, frozen=True, kw_only=True):
    """The lists of a user at two moments, and each published list in between."""

    user: str
    before: Recommendations | None
    after: Recommendations | None
    change: Change
    steps: tuple[Step, ...]


def diff_lists(travel: TimeTravel, user: str, a: Moment, b: Moment) -> ListDiff:
    """Compare a user's lists at moments ``a`` and ``b``.

    Each published list in between is a step. It holds the user's events since the previous list,
    and whether the model or the steering changed: nothing else can change a list.

    Raises
    ------
    InvalidInput
        ``a`` is after ``b``.
    """
    first, last = travel.list_position(user, a), travel.list_position(user, b)
    if first is not None and (last is None or last.offset < first.offset):
        raise InvalidInput(
            "a must not be after b: the list at a is newer than the one at b; swap them"
        )
    before = None if first is None else travel.published(travel.partition(user), first).body
    after = None if last is None else travel.published(travel.partition(user), last).body
    steps = [] if last is None else _steps(travel, user, first, last)
    return ListDiff(
        user=user,
        before=before,
        after=after,
        change=compare(before.items if before else (), after.items if after else ()),
        steps=tuple(steps),
    )


def _steps(
    travel: TimeTravel, user: str, first: ListPosition | None, last: ListPosition
) -> list[Step]:
    start = -1 if first is None else first.as_of
    found = travel.snapshots.list_positions(user, max(start, 0), last.as_of + 1)
    after_first = -1 if first is None else first.offset
    chain = [each for each in found if after_first < each.offset <= last.offset]
    events = _events(travel, user, start + 1, last.as_of + 1)
    timeline = read_timeline(travel.log)
    previous = None if first is None else travel.published(travel.partition(user), first).body
    steps = []
    for position in chain:
        body = travel.published(travel.partition(user), position).body
        as_of = position.as_of
        new = tuple(each for each in events if start < each.offset <= as_of)
        start = max(start, as_of)
        steps.append(
            Step(
                rec_id=body.rec_id,
                source=body.source,
                as_of=as_of,
                generation=body.generation,
                delta=body.delta,
                model_changed=previous is None
                or (previous.generation, previous.delta) != (body.generation, body.delta),
                steering_changed=previous is not None
                and _steering_of(timeline, previous) != _steering_of(timeline, body),
                events=new,
                change=compare(previous.items if previous else (), body.items),
            )
        )
        previous = body
    return steps


def _events(travel: TimeTravel, user: str, start: int, stop: int) -> list[EventBetween]:
    found: list[EventBetween] = []
    for each in travel.events(user, start, stop):
        event = each.event
        found.append(
            EventBetween(
                offset=each.offset, id=event.id, type=event.type, item=event.item or "", ts=event.ts
            )
        )
        if len(found) > MAX_EVENTS_BETWEEN:
            raise InvalidInput(
                f"more than {MAX_EVENTS_BETWEEN} events lie between the two moments; "
                "choose them closer together"
            )
    return found


def _steering_of(timeline: SettingsTimeline, body: Recommendations) -> Steering | None:
    """Return the steering document that a list was derived with."""
    active = timeline.by_control(body.control)
    return None if active is None else active.steering
