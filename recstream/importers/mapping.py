"""Step 1 of the flow: which columns of a row make an event, and how their texts are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from recstream.core.events import EVENT_TYPES, MAX_RATING, EventType, timestamp_ms
from recstream.errors import InvalidInput
from recstream.importers.source import Row, Source

SECONDS_BELOW = 1e11
MILLISECONDS_BELOW = 1e14
"""A number below this counts milliseconds since 1970, one above microseconds."""
LATEST_MS = 7_258_118_400_000
"""The year 2200: a time after it was read in the wrong unit."""


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns make an event. A column is named by its header, JSON key or number from 1.

    Attributes
    ----------
    user, item : str
        ``item`` may be ``"2+"``: each column from the second on is an item.
    time, value : str
        Empty: the rows have none.
    type : str
        An event type, which all rows then have, or a column.
    types : dict of str to str
        What the type column's texts mean, e.g. ``{"addtocart": "cart"}``.
    rating_max : float
        The best rating of the source; ratings are scaled linearly so that it becomes 5.
    time_format : str
        As in `datetime.strptime`; empty: a number since 1970 (seconds, milliseconds or
        microseconds by its size) or an ISO 8601 text. Without a zone, UTC.
    split : str
        What separates several items in the item column.
    user_prefix, item_prefix : str
        Put before the ids, to tell sources apart.
    """

    user: str
    item: str
    time: str = ""
    value: str = ""
    type: str = "view"
    types: dict[str, EventType] = {}
    rating_max: float = MAX_RATING
    time_format: str = ""
    split: str = ""
    user_prefix: str = ""
    item_prefix: str = ""

    def __post_init__(self) -> None:
        unknown = sorted({*self.types.values()} - {*EVENT_TYPES})
        if unknown:
            raise InvalidInput(
                f"--types must map to one of {', '.join(EVENT_TYPES)}, got {', '.join(unknown)}"
            )
        if not self.rating_max > 0.0:
            raise InvalidInput(f"--rating-max must be above 0, got {self.rating_max}")


class Reader:
    """Takes the fields of an event out of a row.

    Raises
    ------
    InvalidInput
        The source has no such column.
    """

    def __init__(self, mapping: ColumnMapping, source: Source) -> None:
        self._mapping = mapping
        self._source = source
        self.user = self._cell(mapping.user, "--user")
        self.items = self._items()
        self.time = self._time()
        self.value = self._value()
        self.type = self._type()

    def _cell(self, column: str, option: str) -> Callable[[Any], str]:
        if self._source.is_json:
            return _json_cell(column)
        if column in self._source.columns:
            at = self._source.columns.index(column)
        elif column.isdecimal() and int(column) >= 1:
            at = int(column) - 1
        else:
            known = ", ".join(self._source.columns) or "none: name columns by number, from 1"
            raise InvalidInput(
                f"{option} must name a column of {self._source.path}, got {column!r}; "
                f"its columns: {known}"
            )

        def cell(row: Sequence[str]) -> str:
            try:
                return row[at].strip()
            except IndexError:
                raise ValueError(f"expected column {column}, got {len(row)} columns") from None

        return cell

    def _items(self) -> Callable[[Any], list[str]]:
        column, split = self._mapping.item, self._mapping.split
        prefix = self._mapping.item_prefix
        if column.endswith("+") and column[:-1].isdecimal():
            start = int(column[:-1]) - 1
            return lambda row: [prefix + text for cell in row[start:] if (text := cell.strip())]
        cell = self._cell(column, "--item")
        if split:
            by = None if split.isspace() else split
            return lambda row: [prefix + text for text in cell(row).split(by)]
        return lambda row: [prefix + cell(row)]

    def _time(self) -> Callable[[Row], int] | None:
        if not self._mapping.time:
            return None
        cell = self._cell(self._mapping.time, "--time")
        form = self._mapping.time_format
        if form:
            return lambda row: timestamp_ms(datetime.strptime(cell(row), form).replace(tzinfo=UTC))
        return lambda row: parse_time(cell(row))

    def _value(self) -> Callable[[Row], float] | None:
        if not self._mapping.value:
            return None
        cell = self._cell(self._mapping.value, "--value")

        def value(row: Row) -> float:
            text = cell(row)
            try:
                return float(text)
            except ValueError:
                raise ValueError(f"expected a number as value, got {text[:40]!r}") from None

        return value

    def _type(self) -> Callable[[Row], EventType]:
        const = self._mapping.type
        for known in EVENT_TYPES:
            if const == known:
                return lambda _: known
        cell = self._cell(const, "--type")
        meanings: dict[str, EventType] = {known: known for known in EVENT_TYPES}
        meanings |= self._mapping.types

        def kind(row: Row) -> EventType:
            text = cell(row)
            try:
                return meanings[text]
            except KeyError:
                raise ValueError(
                    f"expected a type of events, got {text[:40]!r}; say what it means with --types"
                ) from None

        return kind


def _json_cell(column: str) -> Callable[[Any], str]:
    path = column.split(".")

    def cell(row: Any) -> str:
        for key in path:
            row = row.get(key) if isinstance(row, dict) else None
        if row is None or isinstance(row, dict | list):
            raise ValueError(f"expected a text or number under {column!r}")
        return str(row)

    return cell


def parse_time(text: str) -> int:
    """Return milliseconds since 1970 from a number or an ISO 8601 text; no zone means UTC.

    >>> parse_time("1260759144"), parse_time("1260759144000"), parse_time("2009-12-14 02:52:24")
    (1260759144000, 1260759144000, 1260759144000)
    """
    try:
        number = float(text)
    except ValueError:
        moment = _iso(text)
        milliseconds = timestamp_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    else:
        if not math.isfinite(number):
            raise ValueError(f"expected a time, got {text!r}")
        if number < SECONDS_BELOW:
            number *= 1000.0
        elif number >= MILLISECONDS_BELOW:
            number /= 1000.0
        milliseconds = int(number)
    if not 0 <= milliseconds < LATEST_MS:
        raise ValueError(f"expected a time from 1970 to 2200, got {text!r}")
    return milliseconds


def _iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"expected a time as a number since 1970 or like 2026-11-22T10:00:00Z, got {text[:40]!r}"
        ) from None
