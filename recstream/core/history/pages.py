"""Pages of a history: entries by item id, distributed by linear hashing (Litwin 1980)."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from recstream.core.numeric.arrays import Int64s


class Page(dict[str, Any]):
    """Entries by item id, in the order of the items' first events. Never changed in place once its history is made.

    Attributes
    ----------
    columns : PageColumns
        The same as arrays, kept by `recstream.core.history.matrix`; not set at first.
    before : (PageColumns, str) or None
        Arrays of the page from which this one differs by an item's entry, and that item.
    """

    __slots__ = ("before", "columns")
    columns: Any
    before: tuple[Any, str] | None


def page_of(item: str, n_pages: int) -> int:
    """Return the page of an item, by a CRC of its id."""
    if n_pages == 1:
        return 0
    half = 1 << (n_pages.bit_length() - 1)
    number = zlib.crc32(item.encode()) & (2 * half - 1)  # `item_hash`
    return number if number < n_pages else number - half


def item_hash(item: str) -> int:
    """Return the hash of an item from which its page follows."""
    return zlib.crc32(item.encode())


def pages_of(hashes: Int64s, n_pages: Int64s) -> Int64s:
    """Return the page of each item, by its hash and the number of pages of its history."""
    half = np.left_shift(1, np.frexp(n_pages)[1] - 1)
    numbers = hashes & (2 * half - 1)
    pages: Int64s = np.where(numbers < n_pages, numbers, numbers - half)
    return pages


def split(pages: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return pages with the next one in turn split in two."""
    n_pages = len(pages)
    number = n_pages - (1 << (n_pages.bit_length() - 1))
    kept, moved = Page(), Page()
    kept.before = moved.before = None
    for item, entry in pages[number].items():
        (moved if page_of(item, n_pages + 1) == n_pages else kept)[item] = entry
    return (*pages[:number], kept, *pages[number + 1 :], moved)
