"""Read fields of a product row that few sources have: times, a vector, attributes."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

ATTRIBUTE = "attributes."
"""Begins the name of a field that is one attribute."""
MAX_VECTOR = 4_096
MAX_ATTRIBUTES = 100
MAX_VALUE = 2_000
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?")
"""Numbers whose text says nothing more: no leading zeros, as article numbers have."""


class ProductFields(NamedTuple):
    """Values of the fields, and what could not be read."""

    from_: datetime | None
    until: datetime | None
    vector: tuple[float, ...]
    attributes: dict[str, Any]
    unread: tuple[str, ...]


def read_product_fields(found: Mapping[str, Any]) -> ProductFields:
    """Return the fields of a row.

    Parameters
    ----------
    found : mapping
        The row's values by name: ``from``, ``until``, ``vector``, ``attributes``, and in
        ``attributes.`` those of columns that are one attribute each.

    Examples
    --------
    >>> read_product_fields({"vector": "[0.5, 1]", "attributes": {"size": "42"}})[2:4]
    ((0.5, 1.0), {'size': '42'})
    """
    from_, until = _time(found.get("from")), _time(found.get("until"))
    unread = [
        f"{name} could not be read; expected a time like 2026-11-22T10:42:00Z"
        for name, time in (("from", from_), ("until", until))
        if time is None and name in found
    ]
    if from_ is not None and until is not None and until <= from_:
        until = None
        unread.append("until is not after from")
    vector = _vector(found.get("vector", ()))
    if vector is None:
        unread.append(f"vector could not be read; expected at most {MAX_VECTOR} numbers")
    given = found.get("attributes", {})
    if not isinstance(given, dict):
        given = {}
        unread.append(
            "attributes could not be read; expected a JSON object; in CSV map columns: "
            "--column attributes.size=Size"
        )
    given = given | found.get(ATTRIBUTE, {})
    first = dict(list(given.items())[:MAX_ATTRIBUTES])
    attributes = {str(name): value for name, value in first.items() if _is_attribute(value)}
    if len(first) < len(given):
        unread.append(
            f"more than {MAX_ATTRIBUTES} attributes; the first {MAX_ATTRIBUTES} were read"
        )
    if len(attributes) < len(first):
        unread.append(
            "an attribute was left out; expected a text, number, boolean or list of texts"
        )
    return ProductFields(from_, until, vector or (), attributes, tuple(unread))


def _time(value: object) -> datetime | None:
    """Return a time of ISO 8601, UTC without a zone; None for other values."""
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _vector(value: object) -> tuple[float, ...] | None:
    """Return numbers, also of a text with brackets, commas or spaces; None for other values."""
    if isinstance(value, str):
        value = re.split(r"[\s,;]+", value.strip("[]() \t"))
    if not isinstance(value, list | tuple) or len(value) > MAX_VECTOR:
        return None
    try:
        numbers = tuple(float(each) for each in value)
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _is_attribute(value: object) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= MAX_ATTRIBUTES and all(isinstance(each, str) for each in value)
    return isinstance(value, str | bool | int) or (
        isinstance(value, float) and math.isfinite(value)
    )


def cell_value(cell: object) -> object:
    """Return a table's cell as an attribute: a text that is a number becomes one, for rules to compare.

    >>> cell_value("42"), cell_value("0.5"), cell_value("007"), cell_value(" red ")
    (42, 0.5, '007', 'red')
    """
    if not isinstance(cell, str):
        return cell
    text = cell.strip()[:MAX_VALUE]
    if _NUMBER.fullmatch(text) is None:
        return text
    return float(text) if "." in text else int(text)
