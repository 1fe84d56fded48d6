"""Items as a port: what the bridge and the trainer may ask of a catalogue, whichever adapter serves it.

A catalogue is a view of the topic `recstream.catalogue`: `recstream.catalogue.view` applies the
topic's records to it, and it can be deleted and built again. Two adapters,
`recstream.catalogue.embedded` (rocksdict) and `recstream.catalogue.mongo`; one contract suite
(``tests/contracts/test_catalogue.py``) runs against both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from recstream.core.records import Item


class ViewPosition(NamedTuple):
    """How far a catalogue has followed its topic: the log, and the next offset to apply."""

    epoch: str
    offset: int


class Page(NamedTuple):
    """Some items in order, and the cursor of the page after them: ``""`` on the last page."""

    items: tuple[Item, ...]
    next: str


class Catalogue(Protocol):
    """A store of items. Safe to share between threads.

    Every method raises `CatalogueUnavailable` when the store can't be reached.
    """

    def apply(
        self, changes: Mapping[str, Item | None], position: ViewPosition | None = None
    ) -> None:
        """Upsert items, and delete those whose value is ``None``.

        Parameters
        ----------
        changes : mapping of str to Item or None
            By item id: what each is from now on.
        position : ViewPosition, optional
            The topic's position once the changes are in; stored with them. A store that others have
            brought further keeps what it has: applying an old stretch again changes nothing.
        """

    def get_many(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items that are there, by id."""

    def search(
        self, text: str = "", *, category: str = "", cursor: str = "", limit: int = 20
    ) -> Page:
        """Return items by title, or those that match a text, best first.

        Letter case and accents don't count, and a word of the query stands for every word it
        begins. First come titles that begin with the whole query, then those that hold each of its
        words, then items whose words are in brand, category or description too; titles in
        alphabetical order within each.

        Parameters
        ----------
        text : str, optional
            Without any letter or digit it matches everything.
        category : str, optional
            Only items of exactly this category.
        cursor : str, optional
            `Page.next` of the page before. Items that come or go in between are neither repeated
            nor make others skipped.
        limit : int, optional
            1 to 1000.

        Raises
        ------
        InvalidInput
            The cursor is not one of these, or the limit is out of range.
        """

    def categories(self) -> dict[str, int]:
        """Return the categories that have items, by name, with how many."""

    def count(self) -> int:
        """Return the number of items."""

    def position(self) -> ViewPosition | None:
        """Return how far the topic was applied, ``None`` if nothing was."""

    def clear(self) -> None:
        """Delete every item and the position."""

    def close(self) -> None:
        """Release files and connections."""
