"""Events: decode and validate what clients send, encode what the log keeps.

A log record holds one event as a JSON object, or several as an array; ``id`` and ``ts`` are always
present. The edge (bridge, importer, simulator) fills them in with `admit`. Readers of the log use
`decode_events`.
"""

import hashlib
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import msgspec

from recstream.core.json_input import check_depth, decode_json, json_error
from recstream.errors import InvalidEvent, InvalidSetting

EventType = Literal[
    "impression",
    "view",
    "click",
    "cart",
    "purchase",
    "rate",
    "like",
    "dislike",
    "remove",
    "profile",
]
EVENT_TYPES: tuple[EventType, ...] = (
    "impression",
    "view",
    "click",
    "cart",
    "purchase",
    "rate",
    "like",
    "dislike",
    "remove",
)
"""Every type of an event on an item (``profile`` is of a user); histories store a type as its index here, so only ever append."""
_KNOWN_TYPES = get_args(EventType)

MAX_EVENT_BYTES = 32 * 1024
MAX_ID_CHARACTERS = 256
MAX_AHEAD = timedelta(hours=24)
NEUTRAL_RATING = 2.5
MAX_RATING = 5.0
MAX_VALUE = 1_000_000.0
MAX_MULTIPLIER = 10.0
MAX_PROPERTIES = 32
MAX_PROPERTY_NAME = 64
MAX_NUMBER = 1e15

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))


class Event(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """An interaction of a user with an item, as clients send it and as the log keeps it.

    Attributes
    ----------
    id : str
        Idempotency key: a second event of the user with the same id changes nothing.
    user : str
        Key of the record, hence of the partition.
    item : str or None
        Required by every type but ``impression``.
    items : tuple of str
        Items that an ``impression`` showed.
    ts : datetime
        When it happened, with a time zone.
    value : float or None
        The rating of ``rate`` (0 to 5); elsewhere a multiplier of the type's weight, e.g. a quantity.
    session, rec_id : str or None
        Origin of the event; ``rec_id`` names the list that showed the item.
    context : dict
        Kept as sent. Rules of the steering document can test texts, numbers and booleans in it.
    properties : dict
        ``profile`` only: the user's new properties; None removes one.
    """

    id: str = ""
    type: EventType
    user: str
    item: str | None = None
    items: tuple[str, ...] = ()
    ts: datetime | None = None
    value: float | None = None
    session: str | None = None
    rec_id: str | None = None
    context: dict[str, Any] = {}
    properties: dict[str, bool | int | float | str | None] = {}


class EventWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weight of one event by type, before its value and its age are applied.

    ``dislike`` and ``remove`` have no weight. ``dislike`` sets the entry's weight to zero and keeps the
    item out of the user's lists; ``remove`` deletes the entry.
    """

    impression: float = 0.0
    view: float = 1.0
    click: float = 1.5
    cart: float = 3.0
    purchase: float = 5.0
    rate: float = 5.0
    like: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            weight = getattr(self, name)
            if not (math.isfinite(weight) and 0.0 <= weight <= 1000.0):  # noqa: PLR2004 - stated below
                message = f"weight of {name!r} must be a number from 0 to 1000, got {weight!r}"
                raise InvalidSetting(message)


_decoder = msgspec.json.Decoder(Event)
_batch_decoder = msgspec.json.Decoder(list[Event])
_encoder = msgspec.json.Encoder()


def timestamp_ms(moment: datetime) -> int:
    """Return milliseconds since 1970-01-01 UTC, rounded down.

    >>> timestamp_ms(datetime(1970, 1, 1, 0, 0, 1, 999, tzinfo=UTC))
    1000
    """
    age = moment - EPOCH
    return age.days * 86_400_000 + age.seconds * 1000 + age.microseconds // 1000


def from_timestamp_ms(milliseconds: int) -> datetime:
    """Return the UTC time of a number of milliseconds since 1970.

    >>> from_timestamp_ms(1000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return EPOCH + timedelta(milliseconds=milliseconds)


def is_printable(text: str) -> bool:
    r"""Whether a text can be printed. Zero-width joiners, parts of Persian words and emoji, may be in it.

    >>> is_printable("\u0645\u06cc\u200c\u062e"), is_printable("a\nb")
    (True, False)
    """
    return text.isprintable() or text.translate(_JOINERS).isprintable()


def escaped(text: str) -> str:
    r"""Return a text whose characters that can't be printed are escaped, line ends excepted.

    >>> print(escaped("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    if is_printable(text.replace("\n", "")):
        return text
    return "".join(
        each if each == "\n" or is_printable(each) else ascii(each)[1:-1] for each in text
    )


def encode_event(event: Event) -> bytes:
    """Return the event as JSON for the log."""
    return _encoder.encode(event)


def event_digest(event: Event) -> bytes:
    """Return an 8-byte digest of the event's JSON, to tell repeats from another body under one id."""
    return hashlib.blake2b(_encoder.encode(event), digest_size=8).digest()


def check_event(event: Event) -> Event:
    """Return the event if its fields are valid and consistent.

    Raises
    ------
    InvalidEvent
        With the code and pointer of the first invalid field.
    """
    _check_names(event)
    if event.value is not None or event.type == "rate":
        _check_value(event)
    ts = event.ts
    if ts is None or ts.tzinfo is None:
        message = "expected a time with a zone, like 2026-11-22T10:00:00Z"
        raise InvalidEvent(message, code="invalid-time", pointer="/ts")
    if ts < EPOCH:
        message = f"expected a time from 1970 on, got {ts.isoformat()}"
        raise InvalidEvent(message, code="invalid-time", pointer="/ts")
    if event.context:
        check_depth(event.context, InvalidEvent, pointer="/context", depth=2)
    if event.properties:
        _check_properties(event)
    return event


def _check_properties(event: Event) -> None:
    if event.type != "profile":
        message = f"expected type 'profile' for properties, got {event.type!r}"
        raise InvalidEvent(message, code="unexpected", pointer="/properties")
    if len(event.properties) > MAX_PROPERTIES:
        message = f"expected at most {MAX_PROPERTIES} properties, got {len(event.properties)}"
        raise InvalidEvent(message, code="too-many", pointer="/properties")
    for name, value in event.properties.items():
        is_short = 0 < len(name) <= MAX_PROPERTY_NAME and is_printable(name)
        if not is_short or (isinstance(value, str) and len(value) > MAX_ID_CHARACTERS):
            message = (
                f"expected names of 1 to {MAX_PROPERTY_NAME} printable characters and texts of at "
                f"most {MAX_ID_CHARACTERS}, got {name[:40]!r}"
            )
            raise InvalidEvent(message, code="invalid-name", pointer="/properties")
        if isinstance(value, int | float) and not (abs(value) < MAX_NUMBER):
            message = f"expected a number below {MAX_NUMBER:g} for {name!r}, got {value!r}"
            raise InvalidEvent(message, code="out-of-range", pointer="/properties")


def _check_names(event: Event) -> None:
    kind, item = event.type, event.item
    names = event.id + event.user + (item or "")
    if len(names) > MAX_ID_CHARACTERS or not names.isprintable():
        _check_printable(event)
    if not event.user:
        raise InvalidEvent("expected a user id, got an empty one", code="missing", pointer="/user")
    if kind == "impression":
        if not event.items and not item:
            message = "an impression needs the items that were shown"
            raise InvalidEvent(message, code="missing", pointer="/items")
        if not all(
            0 < len(each) <= MAX_ID_CHARACTERS and is_printable(each) for each in event.items
        ):
            message = f"each item shown needs 1 to {MAX_ID_CHARACTERS} printable characters"
            raise InvalidEvent(message, code="invalid-name", pointer="/items")
    elif kind == "profile":
        if item is not None or not event.properties:
            message = "a profile needs properties of the user, and no item"
            raise InvalidEvent(message, code="missing", pointer="/properties")
    elif not item:
        message = f"an event of type {kind!r} needs an item"
        raise InvalidEvent(message, code="missing", pointer="/item")


def _check_printable(event: Event) -> None:
    for pointer, name in (("/id", event.id), ("/user", event.user), ("/item", event.item or "")):
        if len(name) > MAX_ID_CHARACTERS or not is_printable(name):
            message = (
                f"expected at most {MAX_ID_CHARACTERS} printable characters, got {name[:40]!r}"
            )
            raise InvalidEvent(message, code="invalid-name", pointer=pointer)


def _check_value(event: Event) -> None:
    value = event.value
    if value is None:
        if event.type == "rate":
            raise InvalidEvent("a rating needs its value, 0 to 5", code="missing", pointer="/value")
        return
    most = MAX_RATING if event.type == "rate" else MAX_VALUE
    if not (math.isfinite(value) and 0.0 <= value <= most):
        message = f"expected a value from 0 to {most:g} for type {event.type!r}, got {value!r}"
        raise InvalidEvent(message, code="out-of-range", pointer="/value")


def admit(event: Event, *, now: datetime, new_id: Callable[[], str]) -> Event:
    """Return the event as it may enter the log: checked, with an id and a time.

    Parameters
    ----------
    event : Event
        As the client sent it.
    now : datetime
        The edge's time: the default of ``ts``, which may be at most 24 h ahead of it.
    new_id : callable
        Returns an id for an event without one.

    Raises
    ------
    InvalidEvent
    """
    ts = now if event.ts is None else event.ts
    event = check_event(msgspec.structs.replace(event, id=event.id or new_id(), ts=ts))
    if ts > now + MAX_AHEAD:
        message = f"expected a time at most 24 h ahead of {now.isoformat()}, got {ts.isoformat()}"
        raise InvalidEvent(message, code="in-the-future", pointer="/ts")
    return event


def decode_event(raw: bytes | memoryview | str) -> Event:
    """Decode one event from JSON; types are checked, `check_event` checks the fields.

    Raises
    ------
    InvalidEvent
    """
    return decode_json(
        _decoder.decode,
        raw,
        InvalidEvent,
        max_bytes=MAX_EVENT_BYTES,
        known=_KNOWN_TYPES,
        kind=Event,
    )


def decode_events(value: bytes) -> list[Event]:
    """Decode and check the events of a log record: one JSON object, or an array of them.

    Raises
    ------
    InvalidEvent
        The record can't be read, or one of its events is invalid.
    """
    try:
        if value[:1] != b"[":
            return [check_event(_decoder.decode(value))]
        events = _batch_decoder.decode(value)
    except InvalidEvent:
        raise
    except Exception as error:
        raise json_error(error, InvalidEvent, known=_KNOWN_TYPES) from error
    return [check_event(event) for event in events]


def event_weight(event: Event, weights: EventWeights) -> float:
    """Return the weight r ≥ 0 that an event adds to its item, before decay.

    A rating: ``w · max(0, value - 2.5) / 2.5``. Any other type: ``w · min(value, 10)``.

    >>> event_weight(Event(type="rate", user="u", item="i", value=5.0), EventWeights(rate=4.0))
    4.0
    >>> event_weight(Event(type="rate", user="u", item="i", value=2.0), EventWeights())
    0.0
    >>> event_weight(Event(type="purchase", user="u", item="i", value=2.0), EventWeights(purchase=5.0))
    10.0
    """
    kind, value = event.type, event.value
    base: float = getattr(weights, kind, 0.0)  # dislike and remove have no weight
    if kind == "rate":
        value = 1.0 if value is None else value
        return base * max(0.0, value - NEUTRAL_RATING) / (MAX_RATING - NEUTRAL_RATING)
    return base if value is None else base * min(value, MAX_MULTIPLIER)
