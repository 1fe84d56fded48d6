"""The catalogue as a port: `Catalogue`, a store of items with search, categories and pages.

A catalogue is a view of the topic `recstream.catalogue`: `recstream.catalogue.view` applies the
topic's records to it, and it can be deleted and built again. Two adapters,
`recstream.catalogue.embedded` (SQLite) and `recstream.catalogue.mongo`; one contract suite
(``tests/contracts/test_catalogue.py``) runs against both.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from recstream.core.records import Item


class ViewPosition(NamedTuple):
    """A catalogue's position in its topic: the log's epoch, and the next offset to apply."""

    epoch: str
    offset: int


class Page(NamedTuple):
    """A page of items in order, and the cursor of the next page: ``""`` on the last page."""

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
            The new state of each item, by id.
        position : ViewPosition, optional
            The topic's position after these changes, stored with them. A store that is further ahead
            ignores the changes, so that applying old records again changes nothing.
        """

    def get_many(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items that exist, by id."""

    def search(
        self, text: str = "", *, category: str = "", cursor: str = "", limit: int = 20
    ) -> Page:
        """Return items by title, or those that match a text, best first.

        Case and accents are ignored, and a query word matches every word that begins with it. First
        come titles that begin with the whole query, then titles with each of its words, then items
        with the words in title, brand, category or description; each group is sorted by title.

        Parameters
        ----------
        text : str, optional
            Without any letter or digit it matches every item.
        category : str, optional
            Only items of exactly this category, in any Unicode form.
        cursor : str, optional
            `Page.next` of the page before. Items added or deleted in between cause no repeats and no
            gaps.
        limit : int, optional
            1 to 1000.

        Raises
        ------
        InvalidInput
            The cursor is invalid, or the limit is out of range.
        """

    def categories(self) -> dict[str, int]:
        """Return the categories that have items, by name, with their number of items.

        Both Unicode forms of a name are one category.
        """

    def count(self) -> int:
        """Return the number of items."""

    def position(self) -> ViewPosition | None:
        """Return how far the topic was applied, ``None`` if not at all."""

    def clear(self) -> None:
        """Delete every item and the position."""

    def close(self) -> None:
        """Release files and connections."""
