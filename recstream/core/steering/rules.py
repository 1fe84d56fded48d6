"""Rules of a steering document: which items, and what to do with them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from recstream.core.events import MAX_ID_CHARACTERS

MAX_VALUES = 1_000
MAX_BOOST = 10.0
MAX_POSITION = 500
MAX_NAME = 64

Scalar = bool | int | float | str
Texts = str | tuple[str, ...]
Bound = int | float | str
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a document; unknown fields are errors."""


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
        Numbers compare with numbers, text with text (dates as ``2026-11-22`` in order).
    exists : bool
        Whether the item has the attribute at all.
    """

    __test__ = False  # nothing for pytest

    eq: Scalar | None = None
    one_of: Annotated[tuple[Scalar, ...], msgspec.Meta(max_length=MAX_VALUES)] | None = None
    min: Bound | None = None
    max: Bound | None = None
    exists: bool | None = None


class Condition(Strict, frozen=True, rename={"not_": "not"}):
    """Which items: all fields given must hold.

    Attributes
    ----------
    category : text or tuple of text
        The category or one below it: ``Books`` covers ``Books > Poetry`` and ``Books|Poetry``.
    brand : text or tuple of text
    price : Range
        Items without a price are outside every span.
    attributes : dict of str to AttributeTest
    items : tuple of str
        Ids.
    users : Range
        Users with the item in their history: ``{"max": 0}`` matches cold items.
    all, any, not_ : conditions
        Every one, at least one, or not this one (``not`` in JSON).
    """

    category: Annotated[Texts, msgspec.Meta()] | None = None
    brand: Annotated[Texts, msgspec.Meta()] | None = None
    price: Range | None = None
    attributes: dict[str, AttributeTest] | None = None
    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=MAX_VALUES)] | None = None
    users: Range | None = None
    all: tuple[Condition, ...] | None = None
    any: tuple[Condition, ...] | None = None
    not_: Condition | None = None


class Exclude(Strict, frozen=True, kw_only=True, tag="exclude", tag_field="action"):
    """Exclude these items from every list."""

    name: Name
    where: Condition


class Only(Strict, frozen=True, kw_only=True, tag="only", tag_field="action"):
    """Exclude all other items from every list."""

    name: Name
    where: Condition


class Boost(Strict, frozen=True, kw_only=True, tag="boost", tag_field="action"):
    """Add to the score of these items.

    ``by`` is in units of the generation's typical score, the mean over the items of histories. Below 0
    it lowers the score.
    """

    name: Name
    where: Condition
    by: Annotated[float, msgspec.Meta(ge=-MAX_BOOST, le=MAX_BOOST)]


class Pin(Strict, frozen=True, kw_only=True, tag="pin", tag_field="action"):
    """Put items at fixed positions of every list: the first at ``at``, the others after it.

    Users who have an item in their history do not get it pinned. Excluded items are never pinned.
    """

    name: Name
    items: Annotated[tuple[ItemId, ...], msgspec.Meta(min_length=1, max_length=50)]
    at: Annotated[int, msgspec.Meta(ge=1, le=MAX_POSITION)] = 1


Rule = Exclude | Only | Boost | Pin


def as_texts(texts: Texts) -> tuple[str, ...]:
    """Return one text or several as several.

    >>> as_texts("Books"), as_texts(("Books", "Toys"))
    (('Books',), ('Books', 'Toys'))
    """
    return (texts,) if isinstance(texts, str) else texts
