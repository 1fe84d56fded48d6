"""The bridge's view of the catalogue, kept current with its topic by a thread."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from recstream.catalogue import Catalogue, CatalogueView, delete_record, upsert_record
from recstream.core.records import Item
from recstream.errors import CatalogueUnavailable, NotFound
from recstream.log import CATALOGUE, EventLog, Position
from recstream.process import Background

MAX_LIMITED = 100_000
"""Newest changed items with limits that are held; a delta contains older changes long since."""


class Items(Background):
    """Reads items, and changes them through the log.

    Attributes
    ----------
    on_unlisted : callable
        Called with items that lists may no longer hold.
    """

    def __init__(
        self, event_log: EventLog, catalogue: Catalogue, *, now: Callable[[], datetime]
    ) -> None:
        super().__init__("catalogue")
        self._now = now
        self._log = event_log
        self.catalogue = catalogue
        self._view = CatalogueView(event_log, catalogue, on_change=self._changed)
        self._condition = threading.Condition()
        self._modifying = threading.Lock()
        self._limited: dict[str, Item | None] = {}
        self.on_unlisted: Callable[[set[str]], None] = lambda _: None

    def _run(self) -> None:
        self._view.follow(self._stopping)

    def _wake(self) -> None:
        self._view.wake()

    def stop(self) -> None:
        """End the thread and close the store."""
        super().stop()
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
        with self._condition:
            return self._condition.wait_for(
                lambda: self._view.next_offset > position.offset, timeout_s
            )

    def modify(
        self, name: str, change: Callable[[Item], Item], *, timeout_s: float = 2.0
    ) -> tuple[Item, bool]:
        """Change an item as the log has it now; return it, and whether reads return it.

        Changes by this bridge wait for each other. Of two bridges, the later one wins.

        Raises
        ------
        NotFound
        CatalogueUnavailable
            This bridge has not read the newest items yet.
        LogUnavailable
        """
        with self._modifying:
            end = self._log.high_watermark(CATALOGUE, 0)
            with self._condition:
                if not self._condition.wait_for(lambda: self._view.next_offset >= end, timeout_s):
                    raise CatalogueUnavailable("the newest items are not read yet; try again")
            found = self.catalogue.get_many([name]).get(name)
            if found is None:
                raise NotFound(f"the catalogue has no item {name!r}")
            changed = change(found)
            return changed, self.change(name, changed, timeout_s=timeout_s)

    def put_many(self, items: Sequence[Item]) -> list[Position]:
        """Append items to the log, all or none; reads return them soon.

        Raises
        ------
        LogUnavailable
        """
        return self._log.append([upsert_record(item) for item in items])

    def unlisted(self, items: Sequence[str]) -> set[str]:
        """Return which of these items lists may not hold now.

        It knows changes since this bridge started; earlier ones are in the generation.
        """
        limited = self._limited
        if not limited:
            return set()
        now = self._now()
        with self._condition:
            known = {item: limited[item] for item in items if item in limited}
        return {name for name, item in known.items() if item is None or not item.is_listed(now)}

    def _changed(self, changes: dict[str, Item | None]) -> None:
        with self._condition:
            for name, item in changes.items():
                self._limited.pop(name, None)
                if item is None or not item.is_always_listed:
                    self._limited[name] = item
            while len(self._limited) > MAX_LIMITED:
                del self._limited[next(iter(self._limited))]
            self._condition.notify_all()
        if gone := self.unlisted(list(changes)):
            self.on_unlisted(gone)
