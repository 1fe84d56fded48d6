"""Item summaries: the part of a catalogue entry that lists need, and its form in an artifact."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.columns import IdTable
from recstream.core.numeric.arrays import Int64s, UInt8s
from recstream.core.records import Item
from recstream.errors import ArtifactCorrupt

MAX_TEXT = 500
"""Maximum length of a title, a category or a brand."""
MAX_ATTRIBUTES_BYTES = 4_096
"""Maximum size of the attributes as JSON; attributes that do not fit are dropped."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Item).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_NULL = b"null"
_UNAVAILABLE = (b'"available":false',)
_TIMED = (b'"from":', b'"until":')
_CHUNK = 1 << 24
"""Bytes of the block that are searched at a time."""
_ROWS = 1 << 13
"""Rows of the block that are decoded at a time."""


def summarise(item: Item) -> Item:
    """Return an item without description and image, with bounded texts and attributes.

    Attributes are kept in the order of their names while they fit in `MAX_ATTRIBUTES_BYTES`.

    >>> summarise(Item(item="p1", title="Lute", description="Strung by hand."))
    Item(item='p1', title='Lute', category='', brand='', price=None, description='', image='', attributes={}, available=True, from_=None, until=None, vector=())
    """
    attributes = item.attributes
    if attributes and len(_encode(attributes)) > MAX_ATTRIBUTES_BYTES:
        room, kept = MAX_ATTRIBUTES_BYTES, {}
        for name in sorted(attributes):
            size = len(_encode({name: attributes[name]}))
            if size <= room:
                room -= size
                kept[name] = attributes[name]
        attributes = kept
    return Item(
        item=item.item,
        title=item.title[:MAX_TEXT],
        category=item.category[:MAX_TEXT],
        brand=item.brand[:MAX_TEXT],
        price=item.price,
        attributes=attributes,
        available=item.available,
        from_=item.from_,
        until=item.until,
    )


class ItemDetails(MutableMapping[str, Item]):
    """Summaries by item id: one block of JSON, decoded when an item is read, and what changed since.

    Parameters
    ----------
    items : IdTable
        Ids of the items in the order of the block; it may grow.
    block : (n,) uint8
    ends : (m,) int64
        The end of each item's JSON; an item without details has none.
    unavailable, timed : (k,) int64, optional
        Rows of the block whose items may be unavailable, or have times; searched if not given.
    """

    def __init__(
        self,
        items: IdTable,
        block: UInt8s,
        ends: Int64s,
        unavailable: Int64s | None = None,
        timed: Int64s | None = None,
    ) -> None:
        self._items, self.block, self.ends = items, block, ends
        self._unavailable, self._timed = unavailable, timed
        self._changed: dict[str, Item | None] = {}
        self._n = int(np.count_nonzero(np.diff(ends, prepend=0)))

    @classmethod
    def of(cls, details: Mapping[str, Item], items: IdTable) -> ItemDetails:
        """Return the details of items as of now; later changes of either do not affect the other."""
        if isinstance(details, ItemDetails) and details._is_of(items):  # noqa: SLF001 - its own
            made = copy.copy(details)
            made._items, made._changed = items, dict(details._changed)  # noqa: SLF001 - likewise
            return made
        found = (details.get(item) for item in items)
        return cls(items, *_joined(b"" if each is None else _encode(each) for each in found))

    def _is_of(self, items: IdTable) -> bool:
        ends = self._items.ends[: len(self.ends)]
        return np.array_equal(ends, items.ends[: len(ends)]) and np.array_equal(
            self._items.block[: ends[-1]] if len(ends) else items.block[:0],
            items.block[: ends[-1]] if len(ends) else items.block[:0],
        )

    def _json(self, row: int) -> bytes:
        """Return the JSON of a row of the block; empty without details."""
        if not 0 <= row < len(self.ends):
            return b""
        return self.block[self.ends[row - 1] if row else 0 : self.ends[row]].tobytes()

    def __getitem__(self, item: str) -> Item:
        if item in self._changed:
            found = self._changed[item]
        else:
            content = self._json(int(self._items.rows_of([item])[0]))
            found = _decode(content) if content else None
        if found is None:
            raise KeyError(item)
        return found

    def __setitem__(self, item: str, details: Item) -> None:
        self.update_all({item: details})

    def __delitem__(self, item: str) -> None:
        if item not in self:
            raise KeyError(item)
        self.update_all({item: None})

    def update_all(self, changes: Mapping[str, Item | None]) -> None:
        """Set the details of items; None removes them."""
        rows = self._items.rows_of(list(changes)).tolist()
        for row, (item, details) in zip(rows, changes.items(), strict=True):
            before = self._changed[item] if item in self._changed else self._json(row)
            self._n += (details is not None) - bool(before)
            if details is not None or before:
                self._changed[item] = details

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[str]:
        return (self._items[row] for row, _ in self.by_row())

    def by_row(self) -> Iterator[tuple[int, Item]]:
        """Yield each item's row and details, in the order of the rows."""
        for rows, found in self.decoded(Item):
            yield from zip(rows, found, strict=True)

    def decoded(self, kind: type[Any]) -> Iterator[tuple[list[int], list[Any]]]:
        """Yield rows and their details, in the order of the rows, some thousand at a time.

        Parameters
        ----------
        kind : type
            `Item`, or a struct with some of its fields: the others are not decoded. Details that changed
            are an `Item` in any case.
        """
        decode = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
        changed = self._changed_by_row()
        for first in range(0, len(self._items), _ROWS):
            ends = self.ends[first : first + _ROWS].tolist()
            start = at = int(self.ends[first - 1]) if first and ends else 0
            content = self.block[start : ends[-1] if ends else 0].tobytes()
            rows, parts = [], []
            for row, end in enumerate(ends, first):
                if end > at and row not in changed:
                    rows.append(row)
                    parts.append(content[at - start : end - start])
                at = end
            found = decode(b"[%b]" % b",".join(parts))
            if changed:
                last = min(first + _ROWS, len(self._items))
                of_row = dict(zip(rows, found, strict=True))
                of_row |= {
                    row: each for row, each in changed.items() if first <= row < last and each
                }
                rows = sorted(of_row)
                found = [of_row[row] for row in rows]
            yield rows, found

    def described(self) -> NDArray[np.bool_]:
        """Return which items have details."""
        found = np.zeros(len(self._items), np.bool_)
        found[: len(self.ends)] = np.diff(self.ends, prepend=0) > 0
        for row, item in self._changed_by_row().items():
            found[row] = item is not None
        return found

    @property
    def unavailable(self) -> Int64s:
        """Rows of the block whose items may be unavailable."""
        if self._unavailable is None:
            self._unavailable = self._rows_with(_UNAVAILABLE)
        return self._unavailable

    @property
    def timed(self) -> Int64s:
        """Rows of the block whose items may have ``from`` or ``until``."""
        if self._timed is None:
            self._timed = self._rows_with(_TIMED)
        return self._timed

    def unavailable_rows(self) -> list[int]:
        """Return the rows of items that are not available."""
        return [row for row, item in self._among(self.unavailable) if not item.available]

    def timed_rows(self) -> Iterator[tuple[int, Item]]:
        """Return rows and details of items that have ``from`` or ``until``."""
        found = self._among(self.timed)
        return ((row, item) for row, item in found if item.from_ or item.until)

    def _rows_with(self, marks: Sequence[bytes]) -> Int64s:
        """Return the rows of the block that contain one of some texts, ascending."""
        places = []
        for first in range(0, len(self.block), _CHUNK):
            content = self.block[first : first + _CHUNK + max(map(len, marks)) - 1].tobytes()
            for mark in marks:
                at = content.find(mark)
                while at >= 0:
                    places.append(first + at)
                    at = content.find(mark, at + 1)
        return np.unique(np.searchsorted(self.ends, places, side="right")).astype(np.int64)

    def _among(self, rows: Int64s) -> Iterator[tuple[int, Item]]:
        """Yield rows and details of some rows of the block, and of all items that changed."""
        changed = self._changed_by_row()
        for row in sorted({*rows.tolist(), *changed}):
            found = changed[row] if row in changed else _decode(self._json(row))
            if found is not None:
                yield row, found

    def _changed_by_row(self) -> dict[int, Item | None]:
        rows = self._items.rows_of(list(self._changed)).tolist()
        changed = zip(rows, self._changed.values(), strict=True)
        return {row: item for row, item in changed if row >= 0}

    def _parts(self) -> Iterator[tuple[bytes, Item | None]]:
        """Yield each row's JSON, and the details that replace it."""
        changed = self._changed_by_row()
        for row in range(len(self._items)):
            if row in changed:
                yield b"", changed[row]
            else:
                yield self._json(row), None

    def encoded(self) -> UInt8s:
        """Return all details in the order of the rows, as bytes of a JSON list."""
        parts = (
            content or (_NULL if changed is None else _encode(changed))
            for content, changed in self._parts()
        )
        return np.frombuffer(b"[" + b",".join(parts) + b"]", np.uint8)

    @classmethod
    def from_encoded(cls, encoded: NDArray[Any], items: IdTable) -> ItemDetails:
        """Return the details that `encoded` encoded.

        Raises
        ------
        ArtifactCorrupt
            They are not the details of these items.
        """
        try:
            parts = _split(encoded.tobytes())
            if len(parts) != len(items):
                raise ArtifactCorrupt(f"summaries must be of {len(items)} items, got {len(parts)}")
            return cls(items, *_joined(map(_checked, items, parts)))
        except msgspec.DecodeError as error:
            raise ArtifactCorrupt(f"item summaries can't be read: {error}") from error


def _checked(item: str, part: msgspec.Raw) -> bytes:
    """Return the JSON of an item's details; empty for ``null``."""
    content = bytes(part)
    if content == _NULL:
        return b""
    if _decode(content).item != item:
        raise ArtifactCorrupt("item summaries are not in the order of the items")
    return content


def _joined(parts: Iterable[bytes]) -> tuple[UInt8s, Int64s]:
    """Return parts as one block, and the end of each."""
    block = bytearray()
    ends = []
    for part in parts:
        block += part
        ends.append(len(block))
    return np.frombuffer(block, np.uint8), np.array(ends, np.int64)
