"""A moment of the log, by offset or by time."""

from datetime import datetime

import msgspec

from recstream.core.events import timestamp_ms
from recstream.errors import InvalidInput
from recstream.log import MAX_OFFSET_DIGITS


class Moment(msgspec.Struct, frozen=True):
    """A point in the log: an offset of the user's partition, a time, or its end if neither."""

    offset: int | None = None
    timestamp_ms: int | None = None


def require_in_log(offset: int, end: int, where: str) -> None:
    """Raise `InvalidInput` for an offset at or after the end of a partition or of the log."""
    if offset >= end:
        raise InvalidInput(
            f"expected an offset before {end}, the end of {where}, got {offset}; say now for the newest"
        )


def moment(text: str) -> Moment:
    """Return the moment that an offset, an RFC 3339 time or ``now`` names.

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
    if text == "now":
        return Moment()
    if text.isdecimal() and len(text) <= MAX_OFFSET_DIGITS:
        return Moment(offset=int(text))
    try:
        parsed_time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        parsed_time = None
    if parsed_time is None or parsed_time.tzinfo is None:
        raise InvalidInput(
            "expected an offset like 1200 or a time with a zone like 2026-11-22T10:42:00Z, or now, "
            f"got {text[:40]!r}"
        )
    return Moment(timestamp_ms=timestamp_ms(parsed_time))
