"""Lists of the past: derive a user's list at any moment, and compare two moments."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from recstream.control import read_timeline
from recstream.core.events import timestamp_ms
from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History, SettingsTimeline
from recstream.core.ranking import Explanation, explain
from recstream.core.records import Recommendations, RecommendedItem, decode_recommendations
from recstream.core.steering import Steering
from recstream.errors import InvalidInput, NotFound
from recstream.log import (
    INTERACTIONS,
    MODELS,
    RECOMMENDATIONS,
    ReadableLog,
    decode,
    decode_value,
    read_batches,
)
from recstream.models import ReadableStore
from recstream.time_travel.derive import derive
from recstream.time_travel.generations import Generations
from recstream.time_travel.snapshots import ListPosition, Snapshots

MAX_EVENTS_BETWEEN = 10_000


class Moment(msgspec.Struct, frozen=True):
    """A point in the log: an offset of the user's partition, or a time."""

    offset: int | None = None
    timestamp_ms: int | None = None


class AsOfList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The list a user had at a moment.

    Attributes
    ----------
    list : Recommendations
        Derived from the log.
    is_identical : bool or None
        Whether it equals the published list byte for byte; None if nothing was published.
    """

    list: Recommendations
    is_identical: bool | None


class EventBetween(msgspec.Struct, frozen=True, kw_only=True):
    """An event of the user between two lists."""

    offset: int
    id: str
    type: str
    item: str
    ts: datetime | None


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


def moment(text: str) -> Moment:
    """Return the moment that an offset or an RFC 3339 time names.

    Raises
    ------
    InvalidInput

    Examples
    --------
    >>> moment("42")
    Moment(offset=42, timestamp_ms=None)
    >>> moment("1970-01-01T00:00:01Z")
    Moment(offset=None, timestamp_ms=1000)
    """
    if text.isdecimal():
        return Moment(offset=int(text))
    try:
        parsed_time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        parsed_time = None
    if parsed_time is None or parsed_time.tzinfo is None:
        raise InvalidInput(
            f"expected an offset like 1200 or a time with a zone like 2026-11-22T10:42:00Z, got {text!r}"
        )
    return Moment(timestamp_ms=timestamp_ms(parsed_time))


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


class _Published(NamedTuple):
    value: bytes
    body: Recommendations


class TimeTravel:
    """Answers queries about the past of a log; not thread-safe.

    Parameters
    ----------
    log : ReadableLog
    store : ReadableStore
    snapshots : Snapshots
    """

    def __init__(self, log: ReadableLog, store: ReadableStore, snapshots: Snapshots) -> None:
        self._log = log
        self._snapshots = snapshots
        self._generations = Generations(log, store)

    def list_at(self, user: str, when: Moment) -> AsOfList:
        """Return the list that a user had at a moment, derived from the log.

        Before the user's first list, it is derived from the newest generation and the history then.

        Raises
        ------
        NotFound
            No generation was announced by then, or its artifact was pruned.
        """
        self._generations.refresh()
        timeline = read_timeline(self._log)
        position = self._position(user, when)
        if position is None:
            return AsOfList(list=self._unpublished(user, when, timeline), is_identical=None)
        published = self._published(user, position)
        body = published.body
        active = timeline.by_control(body.control)
        if active is None:
            raise NotFound(
                f"the settings of list {body.rec_id} (control offset {body.control}) are gone"
            )
        generation = self._generations.at(body.generation, body.delta)
        history = self._snapshots.history(user, position.as_of)
        before = self._before(user, position)
        make = next(derive([history], generation, active, self._snapshots.partition(user)))
        derived = make([item.item for item in before.body.items] if before else [])
        source = body.source if derived.source == "fold-in" else derived.source
        derived = msgspec.structs.replace(derived, source=source, lineage=body.lineage)
        identical = msgspec.json.encode(derived) == published.value
        placed = msgspec.structs.replace(
            derived,
            epoch=self._log.epoch,
            partition=self._snapshots.partition(user),
            offset=position.offset,
        )
        return AsOfList(list=placed, is_identical=identical)

    def history_at(self, user: str, when: Moment) -> History:
        """Return a user's history at a moment."""
        return self._snapshots.history(user, self._offset(user, when))

    def explain(self, user: str, item: str, when: Moment) -> Explanation:
        """Explain an item's score for a user at a moment, and why it was listed or not.

        Raises
        ------
        NotFound
            No generation was announced by then, or it does not have the item.
        """
        self._generations.refresh()
        timeline = read_timeline(self._log)
        offset = self._offset(user, when)
        generation = self._generation(user, when)
        history = self._snapshots.history(user, offset) if offset >= 0 else History(user)
        active = self._active_settings(user, when, timeline)
        return explain(
            history,
            generation,
            item,
            list_size=active.list_size,
            half_life_ms=active.fold_settings.half_life_ms,
            steering=active.steering,
        )

    def diff(self, user: str, a: Moment, b: Moment) -> ListDiff:
        """Compare a user's lists at moments ``a`` and ``b``.

        Each published list in between is a step. It holds the user's events since the previous list,
        and whether the model or the steering changed: nothing else can change a list.
        """
        first, last = self._position(user, a), self._position(user, b)
        before = None if first is None else self._published(user, first).body
        after = None if last is None else self._published(user, last).body
        steps = [] if last is None else self._steps(user, first, last)
        return ListDiff(
            user=user,
            before=before,
            after=after,
            change=compare(before.items if before else (), after.items if after else ()),
            steps=tuple(steps),
        )

    def _steps(self, user: str, first: ListPosition | None, last: ListPosition) -> list[Step]:
        start = -1 if first is None else first.as_of
        found = self._snapshots.list_positions(user, max(start, 0), last.as_of + 1)
        after_first = -1 if first is None else first.offset
        chain = [each for each in found if after_first < each.offset <= last.offset]
        events = self._events(user, start + 1, last.as_of + 1)
        timeline = read_timeline(self._log)
        previous = None if first is None else self._published(user, first).body
        steps = []
        for position in chain:
            body = self._published(user, position).body
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

    def _events(self, user: str, start: int, stop: int) -> list[EventBetween]:
        partition = self._snapshots.partition(user)
        found: list[EventBetween] = []
        for group in read_batches(self._log, INTERACTIONS, partition, start, stop):
            for record in group:
                if record.key is not None and record.key != user.encode():
                    continue
                found += [
                    EventBetween(
                        offset=record.offset,
                        id=event.id,
                        type=event.type,
                        item=event.item or "",
                        ts=event.ts,
                    )
                    for _, event in decode(record).events
                    if event.user == user
                ]
            if len(found) > MAX_EVENTS_BETWEEN:
                raise InvalidInput(
                    f"more than {MAX_EVENTS_BETWEEN} events lie between the two moments; "
                    "choose them closer together"
                )
        return found

    def _offset(self, user: str, when: Moment) -> int:
        """Return the newest offset of the user's partition at a moment, -1 before the first."""
        partition = self._snapshots.partition(user)
        last = self._log.high_watermark(INTERACTIONS, partition) - 1
        if when.offset is not None:
            return min(when.offset, last)
        if when.timestamp_ms is not None:
            return self._log.offset_at(INTERACTIONS, partition, when.timestamp_ms + 1) - 1
        return last

    def _position(self, user: str, when: Moment) -> ListPosition | None:
        return self._snapshots.list_position(
            user, offset=self._offset(user, when), timestamp_ms=when.timestamp_ms
        )

    def _published(self, user: str, position: ListPosition) -> _Published:
        partition = self._snapshots.partition(user)
        found = self._log.read(RECOMMENDATIONS, partition, position.offset, 1)
        if not found or found[0].offset != position.offset or found[0].value is None:
            raise NotFound(f"{RECOMMENDATIONS}[{partition}] offset {position.offset} is gone")
        return _Published(found[0].value, decode_value(found[0], decode_recommendations))

    def _before(self, user: str, position: ListPosition) -> _Published | None:
        """Return the list published before another to the same user."""
        earlier = [
            each
            for each in self._snapshots.list_positions(user, 0, position.as_of + 1)
            if each.offset < position.offset
        ]
        return self._published(user, earlier[-1]) if earlier else None

    def _unpublished(self, user: str, when: Moment, timeline: SettingsTimeline) -> Recommendations:
        partition = self._snapshots.partition(user)
        offset = self._offset(user, when)
        generation = self._generation(user, when)
        history = self._snapshots.history(user, offset) if offset >= 0 else History(user)
        active = self._active_settings(user, when, timeline)
        return next(derive([history], generation, active, partition))([])

    def _active_settings(
        self, user: str, when: Moment, timeline: SettingsTimeline
    ) -> ActiveSettings:
        """Return the settings of a user's list at a moment; the newest settings for now."""
        partition = self._snapshots.partition(user)
        if when == Moment():
            return timeline.newest(partition)
        position = self._position(user, when)
        if position is not None:
            active = timeline.by_control(self._published(user, position).body.control)
            if active is not None:
                return active
        return timeline.at(partition, max(self._offset(user, when), 0))

    def _generation(self, user: str, when: Moment) -> Generation:
        """Return the generation of a user's list at a moment, or the newest generation then."""
        position = self._position(user, when)
        if position is not None and (when.offset is not None or when.timestamp_ms is not None):
            body = self._published(user, position).body
            return self._generations.at(body.generation, body.delta)
        partition = self._snapshots.partition(user)
        offset = self._offset(user, when)
        at_ms = when.timestamp_ms
        if at_ms is None and offset + 1 < self._log.high_watermark(INTERACTIONS, partition):
            at_ms = self._log.read(INTERACTIONS, partition, offset + 1, 1)[0].timestamp_ms
        announced = [
            number
            for number, place in self._generations.announced_at.items()
            if at_ms is None or self._log.read(MODELS, 0, place, 1)[0].timestamp_ms <= at_ms
        ]
        if not announced:
            raise NotFound("no model had been announced by then, so nobody had a list")
        number = max(announced)
        delta = self._generations.newest_delta(number) if at_ms is None else 0
        return self._generations.at(number, delta)


def _steering_of(timeline: SettingsTimeline, body: Recommendations) -> Steering | None:
    """Return the steering document that a list was derived with."""
    active = timeline.by_control(body.control)
    return None if active is None else active.steering
