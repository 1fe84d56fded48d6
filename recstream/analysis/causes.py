"""Which events, model or rules made a list differ from an earlier one."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from recstream.analysis.list_what_if import refold
from recstream.core.history import History
from recstream.core.records import Recommendations, RecommendedItem
from recstream.errors import InvalidInput
from recstream.time_travel import Change, HistoryEvent, Moment, TimeTravel, compare, derive

MAX_TRIED = 100


class EventEffect(msgspec.Struct, frozen=True, kw_only=True):
    """An event, and what the later list would lack or hold without it (leave one out).

    Attributes
    ----------
    brought, kept_out : tuple of str
        Items that are listed because of the event, and items that would be listed without it.
    n_moved : int
        Items in both lists at another rank.
    """

    offset: int
    place: int
    id: str
    type: str
    item: str
    ts: datetime | None
    brought: tuple[str, ...]
    kept_out: tuple[str, ...]
    n_moved: int


class ItemCause(msgspec.Struct, frozen=True, kw_only=True):
    """Why an item entered or left.

    Attributes
    ----------
    before, after : int
        Ranks; 0 if it is not listed.
    events : tuple of str
        Positions (``offset.place``) of events without which it would not have entered or left. Empty:
        no single event did it.
    is_model, is_rules : bool
        The change of the model, or of settings and steering, does it without any event.
    """

    item: str
    before: int
    after: int
    events: tuple[str, ...]
    is_model: bool
    is_rules: bool


class Causes(msgspec.Struct, frozen=True, kw_only=True):
    """How a user's lists at two moments differ, and what did it.

    Attributes
    ----------
    model, rules : Change or None
        What the new model, then the new settings, change without any event. None: the same.
    events : tuple of EventEffect
        Between the two, oldest first; at most the newest `MAX_TRIED`.
    n_events : int
        Between the two.
    items : tuple of ItemCause
        Items that entered or left.
    """

    user: str
    before: Recommendations
    after: Recommendations
    change: Change
    model: Change | None
    rules: Change | None
    events: tuple[EventEffect, ...]
    n_events: int
    items: tuple[ItemCause, ...]


def causes(travel: TimeTravel, user: str, a: Moment, b: Moment) -> Causes:
    """Return what made a user's list at moment ``b`` differ from the one at ``a``.

    The later list is derived again without each event in turn; and from the earlier history, with the
    later model and rules.

    Raises
    ------
    NotFound
        There was no list at ``b``, or a generation is gone.
    """
    old = travel.basis(user, a)
    first, old_active = travel.derive(user, old), old.active
    history_before, history_after = travel.history_at(user, a), travel.history_at(user, b)
    if history_after.offset < history_before.offset:
        raise InvalidInput("b must not be before a; exchange the two")
    basis = travel.basis(user, b)
    last = travel.derive(user, basis)
    partition = travel.partition(user)

    def lists(
        histories: Sequence[History], *, by_old_settings: bool = False
    ) -> list[tuple[RecommendedItem, ...]]:
        active = old_active if by_old_settings else basis.active
        made = derive(histories, basis.generation, active, partition, basis.now_ms)
        return [make([]).body.items for make in made]

    events = list(travel.events(user, history_before.offset + 1, history_after.offset + 1))
    tried = events[-MAX_TRIED:]
    start = refold(history_before, events[: len(events) - len(tried)])
    left_out = [refold(start, tried, without={(each.offset, each.place)}) for each in tried]
    (by_model,) = lists([history_before], by_old_settings=True)
    by_rules, *others = lists([history_before, *left_out])
    is_new_model = _model(first.list) != _model(last.list)
    is_new_rules = (old_active.steering, old_active.list_size, old_active.fold_settings) != (
        basis.active.steering, basis.active.list_size, basis.active.fold_settings,
    )  # fmt: skip
    change = compare(first.list.items, last.list.items)
    effects = [
        _effect(each, compare(other, last.list.items))
        for each, other in zip(tried, others, strict=True)
    ]
    model = compare(first.list.items, by_model) if is_new_model else None
    rules = compare(by_model, by_rules) if is_new_rules else None
    return Causes(
        user=user,
        before=first.list,
        after=last.list,
        change=change,
        model=model,
        rules=rules,
        events=tuple(effects),
        n_events=len(events),
        items=_item_causes(change, effects, model, rules),
    )


def _item_causes(
    change: Change, effects: Sequence[EventEffect], model: Change | None, rules: Change | None
) -> tuple[ItemCause, ...]:
    def names(of: Change | None, side: str) -> set[str]:
        return set() if of is None else {each.item for each in getattr(of, side)}

    return tuple(
        ItemCause(
            item=each.item,
            before=each.before,
            after=each.after,
            events=tuple(
                f"{effect.offset}.{effect.place}"
                for effect in effects
                if each.item in (effect.brought if side == "entered" else effect.kept_out)
            ),
            is_model=each.item in names(model, side),
            is_rules=each.item in names(rules, side),
        )
        for side in ("entered", "left")
        for each in getattr(change, side)
    )


def _effect(each: HistoryEvent, change: Change) -> EventEffect:
    event = each.event
    return EventEffect(
        offset=each.offset,
        place=each.place,
        id=event.id,
        type=event.type,
        item=event.item or "",
        ts=event.ts,
        brought=tuple(one.item for one in change.entered),
        kept_out=tuple(one.item for one in change.left),
        n_moved=len(change.moved),
    )


def _model(body: Recommendations) -> tuple[object, ...]:
    return body.generation, body.delta, body.followed
