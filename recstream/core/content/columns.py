"""Step 8 of the flow: the catalogue's facts of a generation's items as columns, for rules to test.

A rule asks one thing of all items: "is the brand Acme?". A column holds each distinct value once and
every item's code, so that the question is asked once a value and the answer is one look-up an item.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.content.tokens import Comparable, comparable, compare
from recstream.core.numeric.arrays import GrowableArray
from recstream.core.records import Item

Bools = NDArray[np.bool_]

KEPT_PAIRS = 100_000
KEPT_TRAITS = 8_192
"""Items whose words are remembered for pairs to come: some 3 KB each."""
_SEPARATORS = (">", "|", "/")


class Column:
    """One value an item: a code into the distinct values; code 0 is the lack of one."""

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
        """Give an item a value; equal keys share a code."""
        code = self._code_of.get(key)
        if code is None:
            code = self._code_of[key] = len(self.values)
            self.values.append(value)
        self._codes.rows[row] = code

    def grow(self, n_items: int) -> None:
        """Make room for items; new ones have no value."""
        self._codes.grow(n_items)

    def where(self, test: Callable[[Any], bool]) -> Bools:
        """Return which items have a value that passes a test; those without one don't."""
        passed = np.array([False, *(test(value) for value in self.values[1:])], np.bool_)
        return passed[self.codes]


class AttributeColumns:
    """Columns of category, brand, price, and of attributes once a rule asks for them.

    Parameters
    ----------
    items : sequence of str
        The generation's, in the order of their rows.
    details : mapping of str to Item
        Both are kept, and read again when a new attribute is asked for.

    Attributes
    ----------
    version : int
        Grows with every change, so that what was made of the facts knows that it is old.
    """

    def __init__(self, items: Sequence[str], details: Mapping[str, Item]) -> None:
        self.category = Column(len(items))
        self.brand = Column(len(items))
        self._price = GrowableArray(np.full(len(items), math.nan))
        self._attributes: dict[str, Column] = {}
        self.version = 0
        self._details = details
        self._items = items
        self._shared: dict[tuple[str, str], tuple[str, ...]] = {}
        self._traits: dict[str, Comparable] = {}
        for row, item in enumerate(items):
            facts = details.get(item)
            if facts is not None:
                self._put(row, facts)

    @property
    def columns(self) -> dict[str, Column]:
        """The columns by which items are alike, by name."""
        return {"category": self.category, "brand": self.brand}

    @property
    def price(self) -> NDArray[np.float64]:
        """Every item's price; NaN for none."""
        price: NDArray[np.float64] = self._price.rows
        return price

    def update(self, rows: Mapping[str, int], changed: Mapping[str, Item | None]) -> None:
        """Take in what the catalogue says now of some items; ``rows`` names all items."""
        if len(rows) > len(self.price) or changed:
            self.version += 1
        if changed:
            self._shared.clear()
        self._price.grow(len(rows), fill=math.nan)
        for column in (self.category, self.brand, *self._attributes.values()):
            column.grow(len(rows))
        for item, facts in changed.items():
            self._traits.pop(item, None)
            self._put(rows[item], facts or Item(item=item))

    def _put(self, row: int, facts: Item) -> None:
        self.category.put(row, facts.category or None, facts.category)
        self.brand.put(row, facts.brand.casefold() or None, facts.brand)
        self._price.rows[row] = math.nan if facts.price is None else facts.price
        for name, column in self._attributes.items():
            _put_attribute(column, row, facts, name)

    def shared(self, item: str, other: str) -> tuple[str, ...]:
        """Return what two items have in common (`recstream.core.content.tokens.shared`), remembered."""
        pair = item, other
        found = self._shared.get(pair)
        if found is None:
            if len(self._shared) >= KEPT_PAIRS:
                self._shared.clear()
            one, two = self._traits_of(item), self._traits_of(other)
            found = () if one is None or two is None else compare(one, two)
            self._shared[pair] = found
        return found

    def _traits_of(self, item: str) -> Comparable | None:
        """Return what an item is compared by, remembered; None without facts."""
        found = self._traits.get(item)
        if found is None and (facts := self._details.get(item)) is not None:
            if len(self._traits) >= KEPT_TRAITS:
                self._traits.clear()
            found = self._traits[item] = comparable(facts)
        return found

    def attribute(self, name: str) -> Column:
        """Return the column of an attribute, made when it is first asked for."""
        column = self._attributes.get(name)
        if column is None:
            column = self._attributes[name] = Column(len(self._items))
            for row, item in enumerate(self._items):
                facts = self._details.get(item)
                if facts is not None and name in facts.attributes:
                    _put_attribute(column, row, facts, name)
        return column


def _put_attribute(column: Column, row: int, facts: Item, name: str) -> None:
    value = facts.attributes.get(name)
    # True == 1 == 1.0 in Python, so the key says the type too.
    column.put(row, None if value is None else (type(value).__name__, repr(value)), value)


def is_within(category: str, prefix: str) -> bool:
    """Return whether a category is another one or below it.

    >>> [is_within(each, "Books") for each in ("Books", "Books > Poetry", "Books|Poetry", "Bookends")]
    [True, True, True, False]
    """
    if not category.startswith(prefix):
        return False
    rest = category[len(prefix) :].lstrip()
    return not rest or rest.startswith(_SEPARATORS) or prefix.rstrip().endswith(_SEPARATORS)
