"""`ColumnMapping` and `EventReader`: which columns of a row make an event, and how to read them."""

import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from recstream.core.events import EVENT_TYPES, MAX_ID_CHARACTERS, MAX_RATING, EventType
from recstream.errors import InvalidInput
from recstream.importers.files.cells import (
    MAX_EXACT,
    is_missing,
    parse_id,
    parse_number,
    parse_time,
)
from recstream.importers.files.source import Row, Source

MAX_COLUMN_DIGITS = 6
MAX_ORDER = 1 << 63
# fmt: off
_ID_NAMES = frozenset([
    "user", "item", "product", "visitor", "customer", "client", "member", "movie", "book", "track",
    "artist", "song", "sku", "asin", "isbn", "id", "uid", "iid", "session", "household", "name",
    "title", "rating", "timestamp", "time", "date", "event", "type",
])
# fmt: on


class ColumnMapping(msgspec.Struct, frozen=True, kw_only=True):
    """Which columns make an event. A column is named by its header, JSON key or number from 1.

    ``a|b`` is the first of two columns that the row has a value in. In JSON rows, ``a.b`` is a key
    within an object, and ``a[].b`` that key of each object of a list.

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
    others : {"refuse", "skip"}
        What to do with rows whose type has no meaning.
    item_suffix : str
        Only items with this ending count; it is cut off.
    time_format : str
        As in `datetime.strptime`; empty: see `recstream.importers.files.cells.parse_time`.
    split : str
        What separates several items in the item column.
    user_prefix, item_prefix : str
        Put before the ids, to tell sources apart.
    session : str
        Column whose value the events of one visit or order share; empty: the rows have none.
    order : str
        Column with a number that orders rows without a time.
    fill : tuple of str
        A column that groups rows, and columns that may be empty below the first row of a group.
    join, on : str
        A file whose columns are added to the rows that have the same value in the column ``on``.
        Its path, or its name if it is beside the file.
    """

    user: str
    item: str
    time: str = ""
    value: str = ""
    type: str = "view"
    types: dict[str, EventType] = {}
    rating_max: float = MAX_RATING
    time_format: str = ""
    others: Literal["refuse", "skip"] = "refuse"
    split: str = ""
    item_suffix: str = ""
    user_prefix: str = ""
    item_prefix: str = ""
    session: str = ""
    order: str = ""
    fill: tuple[str, ...] = ()
    join: str = ""
    on: str = ""

    def __post_init__(self) -> None:
        unknown = sorted({*self.types.values()} - {*EVENT_TYPES})
        if unknown:
            raise InvalidInput(
                f"--types must map to one of {', '.join(EVENT_TYPES)}, got {', '.join(unknown)}"
            )
        if self.user and self.user == self.item:
            raise InvalidInput(f"--user and --item must name two columns, got {self.user!r} twice")
        if not (self.rating_max > 0.0 and math.isfinite(self.rating_max)):
            raise InvalidInput(f"--rating-max must be a number above 0, got {self.rating_max}")
        if "%Z" in self.time_format.replace("%%", ""):
            raise InvalidInput(
                "--time-format can't have %Z: names of zones are ambiguous; use %z for an offset, "
                "or write the name itself, like UTC"
            )
        _check_time_format(self.time_format)
        if bool(self.join) != bool(self.on):
            raise InvalidInput(
                "--join names a file, --on the column that both have: give both or none"
            )

    def columns(self) -> tuple[str, ...]:
        """Return the columns that it names."""
        kind = "" if self.type in EVENT_TYPES else self.type
        named = (self.user, self.item, self.time, self.value, kind, self.order)
        return tuple(filter(None, named))


def _check_time_format(form: str) -> None:
    try:
        datetime.strptime("", form)  # noqa: DTZ007 - only the format counts
    except (ValueError, re.error) as error:
        if not str(error).startswith("time data"):  # else a format that an empty text does not have
            raise InvalidInput(
                f"--time-format must have each part once, like %d.%m.%Y %H:%M, got {form!r}: "
                f"{error}"
            ) from error


class SkippedRow(ValueError):
    """A row of another kind of event, which the mapping skips."""


class EventReader:
    """Takes the fields of an event out of a row; each raises ValueError for a bad cell.

    Raises
    ------
    InvalidInput
        The source has no such column.
    """

    def __init__(self, mapping: ColumnMapping, source: Source) -> None:
        self._mapping = mapping
        self._source = source
        user = self._cell(mapping.user, "--user")
        self.user: Callable[[Any], str] = lambda row: (
            mapping.user_prefix + parse_id(user(row), "a user id")
        )
        self.items = self._items()
        self.time = self._time()
        self.value = self._value()
        self.type = self._type()
        self.session = self._session()
        self.order: Callable[[Row], int] | None = None
        if mapping.order:
            number = self._cell(mapping.order, "--order")
            self.order = lambda row: _whole(number(row))

    def _cell(self, column: str, option: str, *, may_lack: bool = False) -> Callable[[Any], str]:
        """Return a function that reads a column; ``may_lack``: JSON rows without the key are empty."""
        if self._source.is_json:
            return _json_cell(column, may_lack=may_lack)
        if "|" in column and column not in self._source.columns:
            named = [each for each in column.split("|") if each in self._source.columns]
            cells = [self._cell(each, option) for each in named]
            if cells:
                return lambda row: next(
                    (text for cell in cells if not is_missing(text := cell(row))), ""
                )
        n_named = self._source.columns.count(column)
        if n_named > 1:
            raise InvalidInput(
                f"{option} must name one column of {self._source.path}, got {column!r}, which "
                f"{n_named} columns are called; name it by its number, from 1"
            )
        if n_named:
            at = self._source.columns.index(column)
        elif number := _column_number(column):
            at = number - 1
        else:
            known = self._source.shown_columns or "none: name columns by number, from 1"
            hint = ""
            if self._source.columns and not any(map(_is_name, self._source.columns)):
                hint = "; if its first line is data, use --no-header and numbers from 1"
            also = f" or be one of {', '.join(EVENT_TYPES)}" if option == "--type" else ""
            raise InvalidInput(
                f"{option} must name a column of {self._source.path}{also}, got {column!r}; "
                f"its columns: {known}{hint}"
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
        if column.endswith("+") and (number := _column_number(column[:-1])):
            if self._source.is_json:
                raise InvalidInput(f"--item {column} needs columns; JSON rows have keys: name one")
            start = number - 1
            self._source.may_be_longer = True
            return lambda row: [
                prefix + parse_id(text, "an item id")
                for cell in row[start:]
                if (text := cell.strip())
            ]
        if self._source.is_json and "[]" in column:
            cells = _json_cells(column)
            return lambda row: [
                prefix + parse_id(text, "an item id") for text in _named(cells(row))
            ]
        cell = self._cell(column, "--item")
        if split:
            by = None if split.isspace() else split
            suffix = self._mapping.item_suffix
            return lambda row: [
                prefix + parse_id(text.strip().removesuffix(suffix), "an item id")
                for text in cell(row).split(by)
                if text.strip() and text.strip().endswith(suffix)
            ]
        return lambda row: [prefix + parse_id(cell(row), "an item id")]

    def _time(self) -> Callable[[Row], int] | None:
        if not self._mapping.time:
            return None
        cell = self._cell(self._mapping.time, "--time")
        form = self._mapping.time_format
        return lambda row: parse_time(cell(row), form)

    def _value(self) -> Callable[[Row], float] | None:
        if not self._mapping.value:
            return None
        cell = self._cell(self._mapping.value, "--value", may_lack=True)
        return lambda row: parse_number(cell(row))

    def _session(self) -> Callable[[Row], str | None]:
        if not self._mapping.session:
            return lambda _: None
        cell = self._cell(self._mapping.session, "--session", may_lack=True)

        def session(row: Row) -> str | None:
            text = cell(row)
            if is_missing(text):
                return None
            found = parse_id(text, "a session")
            if len(found) > MAX_ID_CHARACTERS:
                raise ValueError(
                    f"expected a session of at most {MAX_ID_CHARACTERS} characters, got "
                    f"{len(found)}"
                )
            return found

        return session

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
                if self._mapping.others == "skip":
                    raise SkippedRow from None
                raise ValueError(
                    f"expected a type of events, got {text[:40]!r}; say what it means with --types"
                ) from None

        return kind


def _whole(text: str) -> int:
    try:
        number = int(text.removesuffix(".0"))
    except ValueError:
        number = MAX_ORDER
    if abs(number) >= MAX_ORDER:
        raise ValueError(f"expected a whole number as order, below 2**63, got {text[:40]!r}")
    return number


def _column_number(column: str) -> int:
    """Return a column's number from 1; 0 if it is named otherwise."""
    return int(column) if column.isdecimal() and len(column) <= MAX_COLUMN_DIGITS else 0


def is_header(row: Sequence[str], following: Sequence[str], reader: EventReader) -> bool:
    """Whether a first row names columns: its values are not what the columns should hold.

    Parameters
    ----------
    row, following : sequence of str
        The first and the second row; the second may be empty.
    reader : EventReader
        Reader of a mapping that names its columns by number.
    """
    for read in (reader.time, reader.value):
        if read is not None:
            try:
                read(row)
            except ValueError:
                return True
    if reader.time is not None or reader.value is not None:
        return False
    if any(map(_is_name, row)):
        return True
    pairs = list(zip(row, following, strict=False))
    return any(_is_number(below) for _, below in pairs) and not any(
        _is_number(cell) for cell, below in pairs if _is_number(below)
    )


def _is_name(cell: str) -> bool:
    words = "".join(c if c.isalpha() else " " for c in cell.casefold()).split()
    has_digits = any(c.isdigit() for c in cell)
    return not has_digits and any(
        word in _ID_NAMES or (word.endswith("id") and len(word) > len("void")) for word in words
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return not is_missing(cell.strip())


def _json_cell(column: str, *, may_lack: bool) -> Callable[[Any], str]:
    """Return a function that reads the text under a key; see `ColumnMapping` for keys."""
    cells = _json_cells(column)

    def cell(row: Any) -> str:
        found = cells(row)
        if len(found) > 1 or not (found or may_lack):
            raise ValueError(
                f"expected a text or number under {column!r}, got {len(found) or 'none'}"
            )
        return found[0] if found else ""

    return cell


def _named(ids: list[str]) -> list[str]:
    """Return the ids without those that mean no value, unless all do."""
    return [each for each in ids if not is_missing(each)] or ids


def _json_cells(column: str) -> Callable[[Any], list[str]]:
    """Return a function that reads the texts under a key, none if the row lacks it."""
    paths = [(each, each.split(".")) for each in column.split("|")]

    def cells(row: Any) -> list[str]:
        for name, path in paths:
            found = [row[name]] if name in row else _values(row, path)
            texts = [_json_text(each, name) for each in found if each is not None]
            if texts:
                return texts
        return []

    return cells


def _values(row: Any, path: Sequence[str]) -> list[Any]:
    """Return the values at a path of keys; ``key[]`` means each entry of a list."""
    found = [row]
    for key in path:
        name = key.removesuffix("[]")
        found = [each[name] for each in found if isinstance(each, dict) and name in each]
        if name != key:
            found = [entry for each in found if isinstance(each, list) for entry in each]
    return found


def _json_text(value: Any, column: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        kinds: dict[type, str] = {dict: "an object", list: "a list"}
        kind = kinds.get(type(value), repr(value)[:40])
        raise ValueError(f"expected a text or number under {column!r}, got {kind}")  # noqa: TRY004 - as for cells
    if isinstance(value, float) and abs(value) >= MAX_EXACT and value.is_integer():
        raise ValueError(
            f"expected a number below 2**53 under {column!r}, got {value:g}; write it as a text"
        )
    return str(value).strip()
