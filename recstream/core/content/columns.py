"""Attributes of a generation's items as columns, for rules to test.

A column holds each distinct value once and a code for every item. A condition such as "brand is Acme" is
tested once a value, and looked up once an item.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.content.categories import CATEGORY_GRAMMAR
from recstream.core.content.summary import ItemDetails
from recstream.core.content.tokens import Comparable, comparable, compare
from recstream.core.events import timestamp_ms
from recstream.core.numeric.arrays import GrowableArray
from recstream.core.records import Item, Recommendations, RecommendedItem

Bools = NDArray[np.bool_]

MAX_PAIRS = 100_000
MAX_ATTRIBUTES = 64
"""Attributes whose columns are cached, four bytes an item each; the one used longest ago is evicted."""
MAX_COMPARABLES = 8_192
"""Items whose `Comparable` is cached, some 3 KB each."""


class Column:
    """One value an item, as a code into the distinct values; code 0 is no value."""

    def __init__(self, n_items: int) -> None:
        self._codes = GrowableArray(np.zeros(n_items, np.int32))
        self.values: list[Any] = [None]
        self._code_of: dict[Hashable, int] = {None: 0}

    @property
    def codes(self) -> NDArray[np.int32]:
        """Every item's code."""
        codes: NDArray[np.int32] = self._codes.rows
        return codes

    def put(self, row: int, key: Hashable, value: Any) -> None:
        """Set the value of an item; equal keys share a code."""
        code = self._code_of.get(key)
        if code is None:
            code = self._code_of[key] = len(self.values)
            self.values.append(value)
        self._codes.rows[row] = code

    def grow(self, n_items: int) -> None:
        """Grow to a number of items; new ones have no value."""
        self._codes.grow(n_items)

    def where(self, test: Callable[[Any], bool]) -> Bools:
        """Return which items have a value that passes a test."""
        passed = np.array([False, *(test(value) for value in self.values[1:])], np.bool_)
        return passed[self.codes]


class AttributeColumns:
    """Columns of category, brand and price, and of other attributes once a rule asks for them.

    Parameters
    ----------
    items : sequence of str
        Item ids of the generation, in the order of their rows.
    details : mapping of str to Item
        By item id. Both are kept, and read again for a new attribute.
    grammar : int, optional
        Version of the grammar of categories.

    Attributes
    ----------
    version : int
        Grows with every change, so that compiled rules can tell that they are stale.
    """

    def __init__(
        self,
        items: Sequence[str],
        details: Mapping[str, Item],
        grammar: int = CATEGORY_GRAMMAR,
    ) -> None:
        self.category = Column(len(items))
        self.brand = Column(len(items))
        self._price = GrowableArray(np.full(len(items), math.nan))
        self._limits: dict[int, tuple[float, float]] = {}
        self._boundaries: NDArray[np.float64] | None = None
        self._attributes: dict[str, Column] = {}
        self._names: set[str] | None = None
        self.version = 0
        self.grammar = grammar
        self._details = details
        self._items = items
        self._common: dict[tuple[str, str], tuple[str, ...]] = {}
        self._comparables: dict[str, Comparable] = {}
        for row, attributes in _by_row(details, items):
            self._put(row, attributes)

    def scratch(self) -> AttributeColumns:
        """Return columns for a trial: new attributes are added to the copy alone; the rest is shared."""
        other = copy.copy(self)
        other._attributes = dict(self._attributes)  # noqa: SLF001 - its own class
        return other

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that diversity compares, by name."""
        return {"category": self.category, "brand": self.brand}

    @property
    def price(self) -> NDArray[np.float64]:
        """Every item's price; NaN for none."""
        price: NDArray[np.float64] = self._price.rows
        return price

    @property
    def times(self) -> NDArray[np.float64]:
        """``from`` and ``until`` of every item, (m, 2) in ms since 1970; NaN for none."""
        times = np.full((len(self.price), 2), math.nan)
        for row, limits in self._limits.items():
            times[row] = limits
        return times

    def is_in_time(self, row: int, now_ms: float) -> bool:
        """Return whether an item's times allow it in a list made now."""
        start, end = self._limits.get(row, (math.nan, math.nan))
        return not (start > now_ms or end <= now_ms)

    @property
    def boundaries(self) -> NDArray[np.float64]:
        """All times at which an item enters or leaves lists, ascending."""
        if self._boundaries is None:
            found = np.array(list(self._limits.values()), np.float64).ravel()
            self._boundaries = np.sort(found[~np.isnan(found)])
        return self._boundaries

    def update(self, rows: Mapping[str, int], changed: Mapping[str, Item | None]) -> None:
        """Replace the attributes of some items; ``rows`` holds all items."""
        if len(rows) > len(self.price) or changed:
            self.version += 1
        if changed:
            self._common.clear()
        self._price.grow(len(rows), fill=math.nan)
        for column in (self.category, self.brand, *self._attributes.values()):
            column.grow(len(rows))
        for item, attributes in changed.items():
            self._comparables.pop(item, None)
            self._put(rows[item], attributes or Item(item=item))

    def _put(self, row: int, attributes: Item) -> None:
        self.category.put(row, attributes.category or None, attributes.category)
        self.brand.put(row, attributes.brand.casefold() or None, attributes.brand)
        self._price.rows[row] = math.nan if attributes.price is None else attributes.price
        had_limits = self._limits.pop(row, None) is not None
        if attributes.from_ is not None or attributes.until is not None:
            start, end = (
                math.nan if at is None else float(timestamp_ms(at))
                for at in (attributes.from_, attributes.until)
            )
            self._limits[row] = (start, end)
        if had_limits or row in self._limits:
            self._boundaries = None
        for name, column in self._attributes.items():
            _put_attribute(column, row, attributes, name)
        if self._names is not None:
            self._names.update(attributes.attributes)

    def common_features(self, item: str, other: str) -> tuple[str, ...]:
        """Return what two items have in common (see `recstream.core.content.tokens.common_features`), cached."""
        pair = item, other
        found = self._common.get(pair)
        if found is None:
            if len(self._common) >= MAX_PAIRS:
                self._common.clear()
            one, two = self._comparable(item), self._comparable(other)
            found = () if one is None or two is None else compare(one, two)
            self._common[pair] = found
        return found

    def with_common_features(self, body: Recommendations) -> Recommendations:
        """Return a list of the log with the texts that its content reasons leave out."""

        def described(each: RecommendedItem) -> RecommendedItem:
            why = [
                msgspec.structs.replace(reason, shared=self.common_features(reason.item, each.item))
                if reason.kind == "content" and not reason.shared
                else reason
                for reason in each.why
            ]
            return msgspec.structs.replace(each, why=tuple(why))

        items = [
            described(each) if any(reason.kind == "content" for reason in each.why) else each
            for each in body.items
        ]
        return msgspec.structs.replace(body, items=tuple(items))

    def _comparable(self, item: str) -> Comparable | None:
        """Return the `Comparable` of an item, cached; None without attributes."""
        found = self._comparables.get(item)
        if found is None and (attributes := self._details.get(item)) is not None:
            if len(self._comparables) >= MAX_COMPARABLES:
                self._comparables.clear()
            found = self._comparables[item] = comparable(attributes, self.grammar)
        return found

    def attribute(self, name: str) -> Column:
        """Return the column of an attribute, built on first use.

        Not cached for a name that no item has, so that requests cannot fill memory with names.
        """
        column = self._attributes.get(name)
        if column is None:
            column = Column(len(self._items))
            if self._names is not None and name not in self._names:
                return column
            names: set[str] = set()
            for row, attributes in _by_row(self._details, self._items):
                names.update(attributes.attributes)
                if name in attributes.attributes:
                    _put_attribute(column, row, attributes, name)
            self._names = names
            if name not in names:
                return column
        self._attributes.pop(name, None)
        while len(cached := list(self._attributes)) >= MAX_ATTRIBUTES:
            self._attributes.pop(cached[0], None)
        self._attributes[name] = column
        return column


def _by_row(details: Mapping[str, Item], items: Sequence[str]) -> Iterator[tuple[int, Item]]:
    """Yield the row and the details of each item that has any."""
    if isinstance(details, ItemDetails):
        yield from details.by_row()
        return
    for row, item in enumerate(items):
        found = details.get(item)
        if found is not None:
            yield row, found


def _put_attribute(column: Column, row: int, attributes: Item, name: str) -> None:
    value = attributes.attributes.get(name)
    # True == 1 == 1.0 in Python, so the key says the type too.
    column.put(row, None if value is None else (type(value).__name__, repr(value)), value)
