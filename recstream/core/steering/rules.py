"""Rules of a steering document: which items, and what to do with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from recstream.core.events import MAX_ID_CHARACTERS, timestamp_ms

MAX_VALUES = 1_000
MAX_BOOST = 10.0
MAX_POSITION = 500
MAX_NAME = 64
_SHORTEST_INSTANT = len("2026-11-22T10:00Z")

Scalar = bool | int | float | str
Texts = str | tuple[str, ...]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a document; unknown fields are errors."""


class Now(Strict, frozen=True):
    """Time ``now`` seconds after the list's own time: ``{"now": -604800}`` is a week ago."""

    now: Annotated[float, msgspec.Meta(ge=-1e11, le=1e11)]


Bound = int | float | str | Now


class Moments(Strict, frozen=True):
    """Times from ``min`` to ``max``, both included: RFC 3339 texts, or relative to now."""

    min: str | Now | None = None
    max: str | Now | None = None


class Range(Strict, frozen=True):
    """Numbers from ``min`` to ``max``, both included; either may be absent."""

    min: float | None = None
    max: float | None = None


class AttributeTest(Strict, frozen=True, rename={"one_of": "in"}):
    """Test of an attribute: all fields given must hold. A list passes if one of its values does.

    Attributes
    ----------
    eq : scalar
    one_of : tuple of scalar
        ``in`` in JSON.
    min, max : number or text
        Numbers compare with numbers, times with a zone as times, other text with text (dates as
        ``2026-11-22`` in order). ``{"now": s}`` compares with times: texts as RFC 3339 or dates,
        numbers as milliseconds since 1970.
    exists : bool
        Whether the item has the attribute at all.
    """

    __test__ = False  # nothing for pytest

    eq: Scalar | None = None
    one_of: Annotated[tuple[Scalar, ...], msgspec.Meta(max_length=MAX_VALUES)] | None = None
    min: Bound | None = None
    max: Bound | None = None
    exists: bool | None = None


class Condition(Strict, frozen=True, rename={"not_": "not", "from_": "from"}):
    """Item condition. All given fields must match.

    Attributes
    ----------
    category : text or tuple of text
        The category or one below it: ``Books`` covers ``Books > Poetry`` and ``Books|Poetry``.
    brand : text or tuple of text
    price : Range
        Items without a price are outside every span.
    items : tuple of str
        Ids.
    users : Range
        Users with the item in their history: ``{"max": 0}`` matches cold items.
    from_, until : Moments
        When the item enters lists (``from`` in JSON) and leaves them; items without are outside.
    all, any, not_ : conditions
        Every one, at least one, or not this one (``not`` in JSON).
    """

    category: Annotated[Texts, msgspec.Meta()] | None = None
    brand: Annotated[Texts, msgspec.Meta()] | None = None
    price: Range | None = None
    attributes: dict[str, AttributeTest] | None = None
    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=MAX_VALUES)] | None = None
    users: Range | None = None
    from_: Moments | None = None
    until: Moments | None = None
    all: tuple[Condition, ...] | None = None
    any: tuple[Condition, ...] | None = None
    not_: Condition | None = None


class Audience(Strict, frozen=True):
    """Audience of a rule or arm. All tests must pass.

    Attributes
    ----------
    user : dict of str to AttributeTest
        Tests of the user's properties.
    context : dict of str to AttributeTest
        Tests of the request's context; for a published list, of the context of the newest event.
    """

    user: dict[str, AttributeTest] | None = None
    context: dict[str, AttributeTest] | None = None


class Exclude(Strict, frozen=True, kw_only=True, tag="exclude", tag_field="action"):
    """Exclude these items from every list."""

    name: Name
    where: Condition
    when: Audience | None = None


class Only(Strict, frozen=True, kw_only=True, tag="only", tag_field="action"):
    """Exclude all other items from every list."""

    name: Name
    where: Condition
    when: Audience | None = None


class Boost(Strict, frozen=True, kw_only=True, tag="boost", tag_field="action"):
    """Add to the score of these items.

    ``by`` is in units of the generation's typical score, the mean over the items of histories.
    Below 0 it lowers the score.
    """

    name: Name
    where: Condition
    by: Annotated[float, msgspec.Meta(ge=-MAX_BOOST, le=MAX_BOOST)]
    when: Audience | None = None


class Pin(Strict, frozen=True, kw_only=True, tag="pin", tag_field="action"):
    """Put items at fixed positions of every list: the first at ``at``, the others after it.

    Users who have an item in their history do not get it pinned. Excluded items are never pinned.
    """

    name: Name
    items: Annotated[tuple[ItemId, ...], msgspec.Meta(min_length=1, max_length=50)]
    at: Annotated[int, msgspec.Meta(ge=1, le=MAX_POSITION)] = 1
    when: Audience | None = None


Rule = Exclude | Only | Boost | Pin


def inner_conditions(condition: Condition) -> tuple[Condition, ...]:
    """Return the conditions inside one."""
    negated = () if condition.not_ is None else (condition.not_,)
    return (*(condition.all or ()), *(condition.any or ()), *negated)


def uses_now(condition: Condition) -> bool:
    """Return whether a condition depends on the time at which a list is made."""
    bounds = [
        bound
        for test in (condition.from_, condition.until, *(condition.attributes or {}).values())
        if test is not None
        for bound in (test.min, test.max)
    ]
    return any(isinstance(bound, Now) for bound in bounds) or any(
        map(uses_now, inner_conditions(condition))
    )


def moment_ms(value: object) -> float | None:
    """Return a time in ms since 1970: of an RFC 3339 text, a date (UTC) or such a number.

    >>> moment_ms("1970-01-01T00:00:01Z"), moment_ms("1970-01-02"), moment_ms(5), moment_ms("soon")
    (1000.0, 86400000.0, 5.0, None)
    >>> moment_ms(10**400) is None
    True
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return None
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        return None
    return float(timestamp_ms(found if found.tzinfo else found.replace(tzinfo=UTC)))


def instant(text: str) -> datetime | None:
    """Return the time that an RFC 3339 text with its zone names; None for other texts.

    >>> instant("2026-11-22T12:00:00+02:00") == instant("2026-11-22T10:00:00Z")
    True
    >>> instant("2026-11-22") is None
    True
    """
    if len(text) < _SHORTEST_INSTANT:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def as_texts(texts: Texts) -> tuple[str, ...]:
    """Return one text or several as several.

    >>> as_texts("Books"), as_texts(("Books", "Toys"))
    (('Books',), ('Books', 'Toys'))
    """
    return (texts,) if isinstance(texts, str) else texts
