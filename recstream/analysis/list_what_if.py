"""What a user's list would have been: other events, rules, weights, or another generation."""

import re
from collections.abc import Collection, Iterable
from typing import Annotated

import msgspec
from msgspec.structs import replace

from recstream.core.events import (
    MAX_ID_CHARACTERS,
    Event,
    EventType,
    EventWeights,
    check_event,
    from_timestamp_ms,
)
from recstream.core.history import ActiveSettings, FoldSettings, History, apply
from recstream.core.records import Recommendations
from recstream.core.steering import Steering
from recstream.errors import InvalidInput
from recstream.time_travel import Change, HistoryEvent, Moment, TimeTravel, compare, derive

MAX_CHANGED = 200
DAY_MS = 24 * 3600 * 1000
_POSITION = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,6}))?")

EventPosition = tuple[int, int | None]
"""Offset and place of an event; without a place, every event of the user in the record."""
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class AddedEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event that did not happen; its time is that of the user's newest event."""

    type: EventType
    item: ItemId
    value: float | None = None


class Alternative(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is different; absent fields stay as they were.

    Attributes
    ----------
    without : tuple of str
        Events taken away, by offset (``1042``), or offset and place in a batch (``1042.3``).
    add : tuple of AddedEvent
        After the others.
    steering : Steering or None
        Rules, blend and options instead of those in force; an empty document has none.
    generation : int or None
        This generation, with all its deltas.
    weights : EventWeights or None
        Weights of events, from the first one on.
    half_life_days : float or None
        Half-life of event weights.
    n : int or None
        Length of the list.
    """

    without: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_CHANGED)] = ()
    add: Annotated[tuple[AddedEvent, ...], msgspec.Meta(max_length=MAX_CHANGED)] = ()
    steering: Steering | None = None
    generation: Annotated[int, msgspec.Meta(ge=0)] | None = None
    weights: EventWeights | None = None
    half_life_days: Annotated[float, msgspec.Meta(ge=1e-6, le=100_000)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=500)] | None = None

    @property
    def refolds(self) -> bool:
        """Whether all events must be folded anew."""
        fatigue = self.steering is not None and (
            self.steering.fatigue is not None or bool(self.steering.arms)
        )
        return self.weights is not None or self.half_life_days is not None or fatigue

    def settings(self, active: ActiveSettings) -> ActiveSettings:
        """Return the settings that would have been in force instead of others."""
        fold = active.fold_settings
        return active._replace(
            fold_settings=FoldSettings(
                self.weights or fold.weights,
                self.half_life_days * DAY_MS if self.half_life_days else fold.half_life_ms,
                fold.counts_impressions,
                fold.semantics,
            ),
            list_size=self.n or active.list_size,
            steering=self._document(active.steering),
        )

    def _document(self, in_force: Steering | None) -> Steering | None:
        if self.steering is None:
            return in_force
        return None if self.steering.is_empty else self.steering


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """A list as it was, and as it would have been.

    Attributes
    ----------
    before : Recommendations
        Derived from the log.
    after : Recommendations
        ``was`` is the rank in ``before``; the ``rec_id`` is ``what-if``, since nothing is published.
    is_identical : bool or None
        Whether ``before`` is derived byte for byte as published; None if nothing was published.
    n_events : int
        Events in the history of ``after``.
    n_pruned : int
        Of these, events that were pruned: they keep the weights they were folded with.
    """

    before: Recommendations
    after: Recommendations
    is_identical: bool | None
    change: Change
    n_events: int
    n_pruned: int = 0


def what_if(travel: TimeTravel, user: str, when: Moment, alternative: Alternative) -> WhatIf:
    """Compare a user's list at a moment with the list that an alternative would have given.

    Raises
    ------
    InvalidInput
        An event to take away is not among the user's events before the moment.
    NotFound
        No generation was announced by then, or its artifact was pruned.
    """
    basis = travel.basis(user, when)
    found = travel.derive(user, basis)
    active = alternative.settings(basis.active)
    history, n_pruned = _history(travel, user, when, active, alternative)
    generation = basis.generation
    if alternative.generation not in {None, generation.number}:
        generation = travel.newest_of(alternative.generation or 0)
    make = next(derive([history], generation, active, travel.partition(user), basis.now_ms))
    after = replace(make([each.item for each in found.list.items]).body, rec_id="what-if")
    return WhatIf(
        before=found.list,
        after=after,
        is_identical=found.is_identical,
        change=compare(found.list.items, after.items),
        n_events=history.n_ids,
        n_pruned=n_pruned,
    )


def refold(
    history: History,
    events: Iterable[HistoryEvent],
    *,
    alternative: Alternative | None = None,
    without: Collection[EventPosition] = (),
) -> History:
    """Return a history after some events, in order.

    Parameters
    ----------
    history : History
        Before them.
    alternative : Alternative, optional
        Changes the settings of every event.
    without : collection of EventPosition
        Events to leave out of the history.
    """
    for each in events:
        if (each.offset, each.place) in without or (each.offset, None) in without:
            continue
        active = each.active if alternative is None else alternative.settings(each.active)
        settings = active.fold_settings_of(history)
        history = apply(history, each.event, each.offset, each.place, settings)
    return history


def _history(
    travel: TimeTravel, user: str, when: Moment, active: ActiveSettings, alternative: Alternative
) -> tuple[History, int]:
    """Return the history that a user would have had, and how many of its events keep their weights.

    ``active`` holds the settings of the added events.
    """
    history = real = travel.history_at(user, when)
    n_pruned = 0
    removed = {_position(text) for text in alternative.without}
    if removed or alternative.refolds:
        earliest = travel.earliest(user)
        start = earliest if alternative.refolds else min(offset for offset, _ in removed)
        events = list(travel.events(user, start, history.offset + 1))
        known = {(each.offset, each.place) for each in events} | {
            (each.offset, None) for each in events
        }
        if not removed <= known:
            offset, place = min(removed - known, key=lambda each: each[0])
            where = str(offset) if place is None else f"{offset}.{place}"
            raise InvalidInput(
                f"user {user!r} has no event at {where} among the kept offsets {earliest} to "
                f"{history.offset}; GET /v1/events lists the user's events"
            )
        first = History(user) if start <= 0 else travel.history_at(user, Moment(offset=start - 1))
        history = refold(first, events, alternative=alternative, without=removed)
        n_pruned = first.n_ids if alternative.refolds else 0
    settings = active.fold_settings_of(history)
    ts = from_timestamp_ms(history.clock_ms)
    offset = max(history.offset, real.offset, 0)
    for number, added in enumerate(alternative.add):
        event = Event(
            id=f"what-if-{number}",
            type=added.type,
            user=user,
            item=added.item,
            value=added.value,
            ts=ts,
        )
        check_event(event)
        place = max(history.index, real.index) + 1
        history = apply(history, event, offset, place, settings)
    return history, n_pruned


def _position(text: str) -> EventPosition:
    found = _POSITION.fullmatch(text)
    if found is None:
        raise InvalidInput(f"expected an event's position like 1042 or 1042.3, got {text!r}")
    return int(found[1]), None if found[2] is None else int(found[2])
