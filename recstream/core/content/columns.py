"""Attributes of a generation's items as columns, for rules to test.

A column holds each distinct value once and a code for every item. A condition such as "brand is Acme" is
tested once a value, and looked up once an item.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.columns import IdRows
from recstream.core.content.categories import CATEGORY_GRAMMAR, canonical
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

    def put(self, rows: Sequence[int], keys: Iterable[Hashable], values: Iterable[Any]) -> None:
        """Set the values of items; equal keys share a code, and the value of the first of them."""
        code_of, codes = self._code_of, []
        for key, value in zip(keys, values, strict=True):
            code = code_of.get(key)
            if code is None:
                code = code_of[key] = len(self.values)
                self.values.append(value)
            codes.append(code)
        self._codes.rows[rows] = codes

    def grow(self, n_items: int) -> None:
        """Grow to a number of items; new ones have no value."""
        self._codes.grow(n_items)

    def where(self, test: Callable[[Any], bool]) -> Bools:
        """Return which items have a value that passes a test."""
        passed = np.array([False, *(test(value) for value in self.values[1:])], np.bool_)
        return passed[self.codes]


class _Facts(msgspec.Struct, gc=False):
    """What every catalogue entry has a column for."""

    category: str = ""
    brand: str = ""
    price: float | None = None


class _Attributes(msgspec.Struct, gc=False):
    """The attributes of a catalogue entry alone."""

    attributes: dict[str, Any] = {}


class _FactColumns:
    """Columns of category, brand and price."""

    def __init__(self, n_items: int, grammar: int) -> None:
        self.grammar = grammar
        self.category, self.brand = Column(n_items), Column(n_items)
        self.price = GrowableArray(np.full(n_items, math.nan))

    def grow(self, n_items: int) -> None:
        self.category.grow(n_items)
        self.brand.grow(n_items)
        self.price.grow(n_items, fill=math.nan)

    def put(self, rows: Sequence[int], facts: Sequence[_Facts | Item]) -> None:
        categories = [each.category for each in facts]
        keys = (canonical(each, self.grammar) or None for each in categories)
        self.category.put(rows, keys, categories)
        brands = [each.brand for each in facts]
        keys = (canonical(each, self.grammar).casefold() or None for each in brands)
        self.brand.put(rows, keys, brands)
        self.price.rows[rows] = [math.nan if each.price is None else each.price for each in facts]


class _Times:
    """``from`` and ``until`` of the items that have any."""

    def __init__(self) -> None:
        self.limits: dict[int, tuple[float, float]] = {}
        self._boundaries: NDArray[np.float64] | None = None
        self._in_time: tuple[int, Bools] | None = None

    def put(self, row: int, item: Item) -> None:
        had_limits = self.limits.pop(row, None) is not None
        if item.from_ is not None or item.until is not None:
            start, end = (
                math.nan if at is None else float(timestamp_ms(at))
                for at in (item.from_, item.until)
            )
            self.limits[row] = (start, end)
        elif not had_limits:
            return
        self._boundaries = self._in_time = None

    @property
    def boundaries(self) -> NDArray[np.float64]:
        if self._boundaries is None:
            found = np.array(list(self.limits.values()), np.float64).ravel()
            self._boundaries = np.sort(found[~np.isnan(found)])
        return self._boundaries

    def table(self, n_items: int) -> NDArray[np.float64]:
        times = np.full((n_items, 2), math.nan)
        if self.limits:
            times[list(self.limits)] = list(self.limits.values())
        return times

    def in_time(self, n_items: int, now_ms: float) -> Bools:
        # Nothing changes between two boundaries.
        at = int(np.searchsorted(self.boundaries, now_ms, side="right"))
        if self._in_time is None or self._in_time[0] != at or len(self._in_time[1]) != n_items:
            start, end = self.table(n_items).T
            self._in_time = at, ~((start > now_ms) | (end <= now_ms))
        return self._in_time[1]


class _Built:
    """Columns made so far, shared by an `AttributeColumns` and its `scratch` copies."""

    facts: _FactColumns | None = None
    times: _Times | None = None


class AttributeColumns:
    """Columns of the catalogue, each made when it is first asked for.

    Category, brand and price are made together, in one pass over all items; so is each further attribute.
    Times are read from the items that have any.

    Parameters
    ----------
    items : sequence of str
        Item ids of the generation, in the order of their rows.
    details : ItemDetails
        Of the same items. Both are kept.
    grammar : int, optional
        Version of the grammar of categories, and of the comparison of texts.

    Attributes
    ----------
    version : int
        Grows with every change, so that compiled rules can tell that they are stale.
    """

    def __init__(
        self, items: Sequence[str], details: ItemDetails, grammar: int = CATEGORY_GRAMMAR
    ) -> None:
        self._built = _Built()
        self._attributes: dict[str, Column] = {}
        self._names: set[str] | None = None
        self.version = 0
        self.grammar = grammar
        self._details = details
        self._items, self._n_items = items, len(items)
        self._common: dict[tuple[str, str], tuple[str, ...]] = {}
        self._comparables: dict[str, Comparable] = {}

    def scratch(self) -> AttributeColumns:
        """Return columns for a trial: new attributes are added to the copy alone; the rest is shared."""
        other = copy.copy(self)
        other._attributes = dict(self._attributes)  # noqa: SLF001 - its own class
        return other

    @property
    def _facts(self) -> _FactColumns:
        if self._built.facts is None:
            facts = _FactColumns(len(self._items), self.grammar)
            for rows, found in self._details.decoded(_Facts):
                facts.put(rows, found)
            self._built.facts = facts
        return self._built.facts

    @property
    def _times(self) -> _Times:
        if self._built.times is None:
            times = _Times()
            for row, item in self._details.timed_rows():
                times.put(row, item)
            self._built.times = times
        return self._built.times

    @property
    def category(self) -> Column:
        """Every item's category."""
        return self._facts.category

    @property
    def brand(self) -> Column:
        """Every item's brand; equal if they differ in case or Unicode form alone."""
        return self._facts.brand

    @property
    def price(self) -> NDArray[np.float64]:
        """Every item's price; NaN for none."""
        price: NDArray[np.float64] = self._facts.price.rows
        return price

    @property
    def times(self) -> NDArray[np.float64]:
        """``from`` and ``until`` of every item, (m, 2) in ms since 1970; NaN for none."""
        return self._times.table(len(self._items))

    def is_in_time(self, row: int, now_ms: float) -> bool:
        """Return whether an item's times allow it in a list made now."""
        start, end = self._times.limits.get(row, (math.nan, math.nan))
        return not (start > now_ms or end <= now_ms)

    def in_time(self, now_ms: float) -> Bools:
        """Return the items whose times allow them in a list made now, (m,) bool."""
        return self._times.in_time(len(self._items), now_ms)

    @property
    def boundaries(self) -> NDArray[np.float64]:
        """All times at which an item enters or leaves lists, ascending."""
        return self._times.boundaries

    def update(self, rows: IdRows, changed: Mapping[str, Item | None]) -> None:
        """Replace the attributes of some items; ``rows`` holds all items, and the details their new state."""
        if len(rows) > self._n_items or changed:
            self.version += 1
        self._n_items = len(rows)
        if changed:
            self._common.clear()
        for item in changed:
            self._comparables.pop(item, None)
        found = [attributes or Item(item=item) for item, attributes in changed.items()]
        if self._names is not None:
            self._names.update(*(each.attributes for each in found))
        at = rows.rows_of(list(changed)).tolist()
        if (facts := self._built.facts) is not None:
            facts.grow(len(rows))
            facts.put(at, found)
        if (times := self._built.times) is not None:
            for row, each in zip(at, found, strict=True):
                times.put(row, each)
        for name, column in self._attributes.items():
            column.grow(len(rows))
            _put_attribute(column, at, found, name)

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

        items = []
        for each in body.items:
            for reason in each.why:
                if reason.kind == "content":
                    items.append(described(each))
                    break
            else:
                items.append(each)
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
            for rows, found in self._details.decoded(_Attributes):
                names.update(*(each.attributes for each in found))
                _put_attribute(column, rows, found, name)
            self._names = names
            if name not in names:
                return column
        self._attributes.pop(name, None)
        while len(cached := list(self._attributes)) >= MAX_ATTRIBUTES:
            self._attributes.pop(cached[0], None)
        self._attributes[name] = column
        return column


def _put_attribute(
    column: Column, rows: Sequence[int], found: Sequence[_Attributes | Item], name: str
) -> None:
    values = [each.attributes.get(name) for each in found]
    # True == 1 == 1.0 in Python, so the key says the type too.
    keys = (None if value is None else (type(value).__name__, repr(value)) for value in values)
    column.put(rows, keys, values)
