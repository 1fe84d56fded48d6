"""Step 3 of the flow: a record of interactions → events that count, and dead letters for the rest."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

import msgspec

from recstream.core.events import (
    MAX_AHEAD,
    MAX_EVENT_BYTES,
    Event,
    check_event,
    decode_event,
    decode_events,
    from_timestamp_ms,
    json_error,
)
from recstream.core.records import DeadLetter
from recstream.errors import InvalidEvent
from recstream.log.port import Record

MAX_LETTER_CHARACTERS = MAX_EVENT_BYTES
_AHEAD = MAX_AHEAD + timedelta(minutes=5)
"""The edge allows 24 h by its clock; the log's clock may be a little behind it."""

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Decoded(NamedTuple):
    """Events with their place in the record, and what could not be read."""

    events: list[tuple[int, Event]]
    letters: list[DeadLetter]


def decode(record: Record) -> Decoded:
    """Return what a record holds. Nothing is raised: what can't be read becomes a dead letter.

    A record without a value was redacted, and holds nothing.
    """
    value = record.value
    if value is None:
        return Decoded([], [])
    latest = from_timestamp_ms(record.timestamp_ms) + _AHEAD
    try:
        events = decode_events(value)
    except InvalidEvent as error:
        if value[:1] == b"[":
            return _salvage(record, value)
        return Decoded([], [dead_letter(record, value, error)])
    for event in events:
        if not event.id or event.ts is None or event.ts > latest:
            return _salvage(record, value)
    return Decoded(list(enumerate(events)), [])


def _salvage(record: Record, value: bytes) -> Decoded:
    """Return the good events of a record that holds a bad one."""
    try:
        parts = _split(value) if value[:1] == b"[" else [msgspec.Raw(value)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Decoded([], [dead_letter(record, value, json_error(error))])
    latest = from_timestamp_ms(record.timestamp_ms) + _AHEAD
    events: list[tuple[int, Event]] = []
    letters: list[DeadLetter] = []
    for place, part in enumerate(parts):
        raw = bytes(part)
        if raw == b"null" and value[:1] == b"[":
            continue  # redacted: the place stays, so that the others keep theirs
        try:
            event = check_event(decode_event(raw))
            if not event.id:
                raise InvalidEvent("expected an id in the log", code="missing", pointer="/id")  # noqa: TRY301
            if event.ts is not None and event.ts > latest:
                message = f"expected a time at most 24 h after its record's, got {event.ts}"
                raise InvalidEvent(message, code="in-the-future", pointer="/ts")  # noqa: TRY301
        except InvalidEvent as error:
            prefix = f"/{place}" if value[:1] == b"[" else ""
            letters.append(dead_letter(record, raw, error, prefix=prefix))
        else:
            events.append((place, event))
    return Decoded(events, letters)


def dead_letter(record: Record, raw: bytes, error: InvalidEvent, *, prefix: str = "") -> DeadLetter:
    """Return the letter that says what was wrong with (a part of) a record, and where it stands."""
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
