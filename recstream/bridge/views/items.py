"""The bridge's view of the catalogue, kept current with its topic by a thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from recstream.catalogue import Catalogue, CatalogueView, delete_record, upsert_record
from recstream.core.generation import Generation
from recstream.core.records import Item
from recstream.log import EventLog, Position

CACHED_CATEGORIES = 64
PAGE = 1000

Mask = Callable[[Generation], NDArray[np.bool_] | None]
"""Returns which rows of a generation may be in a list; None for all."""


class Items:
    """Reads items, and changes them through the log.

    Parameters
    ----------
    event_log : EventLog
    catalogue : Catalogue
    """

    def __init__(self, event_log: EventLog, catalogue: Catalogue) -> None:
        self._log = event_log
        self.catalogue = catalogue
        self._view = CatalogueView(event_log, catalogue, on_change=self._changed)
        self._thread = threading.Thread(target=self._view.follow, name="catalogue", daemon=True)
        self._condition = threading.Condition()
        self._categories: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._version = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End the thread and close the store."""
        self._view.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._view.close()
        self.catalogue.close()

    def change(self, name: str, item: Item | None, *, timeout_s: float = 2.0) -> bool:
        """Append an item or its deletion to the log; True once reads return it.

        Raises
        ------
        LogUnavailable
        """
        record = delete_record(name) if item is None else upsert_record(item)
        (position,) = self._log.append([record])

        def is_in() -> bool:
            held = self.catalogue.position()
            return (
                held is not None and held.epoch == self._log.epoch and held.offset > position.offset
            )

        with self._condition:
            return self._condition.wait_for(is_in, timeout_s)

    def put_many(self, items: Sequence[Item]) -> list[Position]:
        """Append items to the log, all or none; reads return them soon.

        Raises
        ------
        LogUnavailable
        """
        return self._log.append([upsert_record(item) for item in items])

    def mask(self, category: str) -> Mask:
        """Return the mask of a category's items, which are read from the catalogue now."""
        items = self._in_category(category)

        def allowed(generation: Generation) -> NDArray[np.bool_]:
            mask = np.zeros(generation.n_items, np.bool_)
            rows = generation.rows
            mask[[rows[item] for item in items if item in rows]] = True
            return mask

        return allowed

    def _in_category(self, category: str) -> frozenset[str]:
        with self._condition:
            if category in self._categories:
                self._categories.move_to_end(category)
                return self._categories[category]
            version = self._version
        found: list[str] = []
        cursor = ""
        while True:
            page = self.catalogue.search(category=category, cursor=cursor, limit=PAGE)
            found += [item.item for item in page.items]
            if not (cursor := page.next):
                break
        items = frozenset(found)
        with self._condition:
            if version != self._version:
                return items  # the catalogue changed while it was read
            self._categories[category] = items
            if len(self._categories) > CACHED_CATEGORIES:
                self._categories.popitem(last=False)
        return items

    def _changed(self, changes: dict[str, Item | None]) -> None:
        del changes
        with self._condition:
            self._version += 1
            self._categories.clear()
            self._condition.notify_all()
