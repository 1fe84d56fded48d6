"""The origin of a published list: its event, model, settings, and what the user did with it."""

import contextlib

import msgspec

from recstream.control import read_timeline
from recstream.core.events import Event, EventWeights
from recstream.core.records import GenerationAnnounced, Recommendations
from recstream.core.steering import Steering, describe_steering
from recstream.errors import NotFound, OffsetOutOfRange
from recstream.time_travel import ListPosition, TimeTravel

MAX_LATER_OFFSETS = 100_000
MAX_USES = 100


class OriginEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its position."""

    offset: int
    place: int
    event: Event


class OriginSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that a list was made with.

    Attributes
    ----------
    control : int
        Their offset on the control topic; -1 for the defaults.
    steering : Steering or None
        None without one, and for a user's token.
    words : tuple of str
        The steering document, one sentence a rule.
    """

    control: int
    list_size: int
    half_life_ms: float
    weights: EventWeights
    steering_offset: int
    steering: Steering | None
    words: tuple[str, ...]


class ListOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """All that a published list depends on.

    Attributes
    ----------
    list : Recommendations
        As published.
    recorded_ts : int
        Time of its record, milliseconds since 1970.
    is_identical : bool or None
        Whether it was derived again just now, byte for byte; None if it can't be derived.
    why_not : str
        Why it can't be derived.
    events : tuple of OriginEvent
        The user's events in the record that the list is as of.
    settings : OriginSettings or None
        None if they are gone.
    n_deltas : int
        Deltas of the generation so far.
    before, after : str
        ``rec_id`` of the user's lists before and after; empty without one.
    uses : tuple of OriginEvent
        Later events that carry this ``rec_id``, at most `MAX_USES`.
    """

    list: Recommendations
    recorded_ts: int
    is_identical: bool | None
    why_not: str
    events: tuple[OriginEvent, ...]
    settings: OriginSettings | None
    generation: GenerationAnnounced | None
    n_deltas: int
    before: str
    after: str
    uses: tuple[OriginEvent, ...]


def find_origin(travel: TimeTravel, rec_id: str, reader: str | None = None) -> ListOrigin:
    """Return the origin of a published list.

    Parameters
    ----------
    reader : str, optional
        User who asks: lists of others don't exist for them. None: a service.

    Raises
    ------
    NotFound
        No list of this id was published: lists that are made on request are not in the log.
    OffsetOutOfRange
        It was published, and is pruned.
    """
    log, snapshots, generations = travel.log, travel.snapshots, travel.generations
    unknown = NotFound(
        f"no list {rec_id!r} was published; lists that are made on request are not in the log"
    )
    place = snapshots.find_list(rec_id)
    if place is None:
        raise unknown
    partition, position = place
    try:
        body = travel.published(partition, position).body
    except (NotFound, OffsetOutOfRange):  # whose list it was is not known any more
        if reader is None:
            raise
        raise unknown from None
    if reader not in {None, body.user}:
        raise unknown
    as_of = position.as_of
    is_identical, why_not = None, ""
    try:
        basis = travel.basis_of(body.user, position)
        is_identical = travel.derive(body.user, basis).is_identical
    except NotFound as error:
        why_not = str(error)
    active = read_timeline(log).by_control(body.control)
    # A user's token gives access to the user's data; the shop's rules are none.
    steering = None if active is None or reader is not None else active.steering
    lists = snapshots.list_positions(body.user, 0, 1 << 62)
    at = [each.offset for each in lists].index(position.offset)
    events = [
        OriginEvent(offset=each.offset, place=each.place, event=each.event)
        for each in travel.events(body.user, max(as_of, 0), as_of + MAX_LATER_OFFSETS)
    ]
    return ListOrigin(
        list=msgspec.structs.replace(
            body, epoch=log.epoch, partition=partition, offset=position.offset
        ),
        recorded_ts=position.timestamp_ms,
        is_identical=is_identical,
        why_not=why_not,
        events=tuple(each for each in events if each.offset == as_of),
        settings=None
        if active is None
        else OriginSettings(
            control=active.control,
            list_size=active.list_size,
            half_life_ms=active.fold_settings.half_life_ms,
            weights=active.fold_settings.weights,
            steering_offset=active.steering_offset,
            steering=steering,
            words=() if steering is None else describe_steering(steering),
        ),
        generation=generations.announced.get(body.generation),
        n_deltas=generations.newest_delta(body.generation),
        before=_rec_id(travel, partition, lists[max(at - 1, 0) : at]),
        after=_rec_id(travel, partition, lists[at + 1 : at + 2]),
        uses=tuple(each for each in events if each.event.rec_id == rec_id)[:MAX_USES],
    )


def _rec_id(travel: TimeTravel, partition: int, lists: list[ListPosition]) -> str:
    """Return the id of the list at the first of some positions; empty without one that can be read."""
    with contextlib.suppress(NotFound):
        return travel.published(partition, lists[0]).body.rec_id if lists else ""
    return ""
