"""Decode records that anybody may have written: what can't be read becomes a dead letter.

`decode` reads a record of interactions. `decode_record` guards the decoder of any other topic: every
reader loop calls one of the two, so that no record can raise in it.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

import msgspec

from recstream.core.events import (
    MAX_AHEAD,
    MAX_EVENT_BYTES,
    Event,
    check_event,
    decode_event,
    decode_events,
    from_timestamp_ms,
    timestamp_ms,
)
from recstream.core.json_input import json_error
from recstream.core.records import DeadLetter, list_json
from recstream.errors import InvalidEvent, InvalidJson
from recstream.log.port import Record
from recstream.log.topics import RECOMMENDATIONS

MAX_LETTER_CHARACTERS = MAX_EVENT_BYTES
MAX_LETTERS = 100
"""Dead letters of one record; one more says how many other events of it are invalid."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""The bridge allows 24 h by its clock; the log's clock may be a little behind it."""
_AHEAD = MAX_AHEAD + CLOCK_TOLERANCE
MAX_TIMESTAMP_MS = timestamp_ms(datetime(9999, 1, 1, tzinfo=UTC))

T = TypeVar("T")
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """Events with their place in the record, and dead letters for those that can't be read."""

    events: list[tuple[int, Event]]
    letters: list[DeadLetter]


def decode(record: Record) -> Decoded:
    """Decode a record of interactions; never raises.

    A record without a value was redacted, and holds nothing.
    """
    value = record.value
    if value is None:
        return Decoded([], [])
    try:
        latest = _latest(record.timestamp_ms)
        try:
            events = decode_events(value)
        except InvalidEvent:
            return _salvage(record, value, latest)
        for event in events:
            if not event.id or event.ts is None or event.ts > latest:
                return _salvage(record, value, latest)
        return Decoded(list(enumerate(events)), [])
    except Exception as error:  # noqa: BLE001 - no record may stop the reader
        return Decoded([], [dead_letter(record, value, _as_invalid(error))])


def may_contain(value: bytes, quoted: bytes) -> bool:
    """Return whether a JSON value may contain a string: producers may escape any character.

    Parameters
    ----------
    quoted : bytes
        The string as `msgspec.json.encode` writes it.
    """
    return quoted in value or b"\\" in value


def json_value(record: Record) -> bytes | None:
    """Return a record's value as JSON; None if it has none, or can't be shown as JSON; never raises."""
    value = record.value
    if value is None:
        return None
    try:
        if record.topic == RECOMMENDATIONS:
            value = list_json(value)
        msgspec.json.decode(value)
    except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
        return None
    return value


def decode_record(record: Record, decode_value: Callable[[bytes], T]) -> T | DeadLetter | None:
    """Decode a record's value by a decoder of its topic; never raises.

    Parameters
    ----------
    decode_value : callable
        Returns what the value holds, or raises anything.

    Returns
    -------
    T, DeadLetter or None
        None for a tombstone. A dead letter says what was wrong and where the record is: append it
        to `DEAD_LETTERS` if the reader owns the topic, else log it and continue.
    """
    if record.value is None:
        return None
    try:
        return decode_value(record.value)
    except Exception as error:  # noqa: BLE001 - no record may stop the reader
        return dead_letter(record, record.value, _as_invalid(error))


@lru_cache(maxsize=64)
def _latest(timestamp_ms: int) -> datetime:
    """Return the latest time that events of a record may have; records of one append share theirs."""
    if not 0 <= timestamp_ms <= MAX_TIMESTAMP_MS:
        raise InvalidEvent(
            "expected a record timestamp in milliseconds from 1970 to 9999, got "
            f"{timestamp_ms}; a producer may send microseconds",
            code="invalid-record-time",
        )
    return from_timestamp_ms(timestamp_ms) + _AHEAD


def _salvage(record: Record, value: bytes, latest: datetime) -> Decoded:
    """Return the valid events of a record that holds an invalid one, with at most `MAX_LETTERS` + 1 letters."""
    is_batch = value[:1] == b"["
    parts = _split(value) if is_batch else [msgspec.Raw(value)]
    events: list[tuple[int, Event]] = []
    letters: list[DeadLetter] = []
    n_more = 0
    for place, part in enumerate(parts):
        raw = bytes(part)
        if raw == b"null" and is_batch:
            continue  # redacted: the place stays, so that the others keep theirs
        try:
            events.append((place, check_recorded(decode_event(raw), latest)))
        except Exception as error:  # noqa: BLE001 - no record may stop the reader
            if len(letters) == MAX_LETTERS:
                n_more += 1
                continue
            prefix = f"/{place}" if is_batch else ""
            letters.append(dead_letter(record, raw, _as_invalid(error), prefix=prefix))
    if n_more:
        message = (
            f"expected valid events, got {MAX_LETTERS + n_more} invalid ones of {len(parts)}; "
            f"this letter stands for the last {n_more} of them"
        )
        others = dead_letter(record, b"", InvalidEvent(message, code="too-many-invalid"))
        letters.append(msgspec.structs.replace(others, truncated=True))
    return Decoded(events, letters)


def check_recorded(event: Event, latest: datetime) -> Event:
    """Return an event if a worker will fold it, once it is in the log.

    Importers apply the same rules before they append.

    Parameters
    ----------
    latest : datetime
        24 h and `CLOCK_TOLERANCE` after the time of its record.

    Raises
    ------
    InvalidEvent
    """
    check_event(event)
    if not event.id:
        raise InvalidEvent("expected an id in the log", code="missing", pointer="/id")
    if event.ts is not None and event.ts > latest:
        message = f"expected a time at most 24 h after its record's, got {event.ts}"
        raise InvalidEvent(message, code="in-the-future", pointer="/ts")
    return event


def _as_invalid(error: Exception) -> InvalidJson:
    return error if isinstance(error, InvalidJson) else json_error(error, InvalidJson)


def dead_letter(record: Record, raw: bytes, error: InvalidJson, *, prefix: str = "") -> DeadLetter:
    """Return a dead letter: what is wrong with (a part of) a record, and where the record is."""
    text = raw[:MAX_EVENT_BYTES].decode(errors="replace")
    return DeadLetter(
        reason=error.code,
        detail=str(error),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        pointer=prefix + error.pointer,
        value=text[:MAX_LETTER_CHARACTERS],
        truncated=len(text) > MAX_LETTER_CHARACTERS or len(raw) > MAX_EVENT_BYTES,
    )
