"""Published lists as a bridge answers and sends them: without what was seen or withdrawn since."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from recstream.bridge.active_generation import ActiveGeneration
from recstream.bridge.views import CountsFeed, Items, Views, without
from recstream.control import SteeringFeed
from recstream.core.events import timestamp_ms
from recstream.core.history import History, seen_items
from recstream.core.records import Recommendations, decode_recommendations
from recstream.log import Record


@dataclass(frozen=True, kw_only=True)
class ListInputs:
    """What lists are made from when they are asked for.

    Attributes
    ----------
    items : Items
        Items that left the catalogue or are not available, before a delta contains that.
    """

    views: Views
    active: ActiveGeneration
    steering: SteeringFeed
    items: Items
    counts: CountsFeed
    now: Callable[[], datetime]

    def now_ms(self) -> int:
        """Return the time of a request, in whole seconds."""
        return timestamp_ms(self.now()) // 1000 * 1000

    def history(self, user: str) -> History:
        """Return a user's history; empty for an unknown user."""
        return self.views.history(user) or History(user)


class PublishedLists:
    """The newest published list of each user."""

    def __init__(self, sources: ListInputs) -> None:
        self._sources = sources

    def of(self, user: str) -> Recommendations | None:
        """Return a user's published list without items seen or withdrawn since."""
        stored = self._sources.views.latest(user)
        if stored is None:
            return None
        unwanted = self._withdrawn([entry.item for entry in stored.items])
        # The list excludes what its history contained; without newer events there is nothing to add.
        if stored.as_of is None or stored.as_of.offset != self._sources.views.newest_offset(user):
            history = self._sources.views.history(user)
            unwanted |= set() if history is None else seen_items(history)
        found = without(stored, unwanted)
        generation = self._sources.active.generation
        return found if generation is None else generation.columns.with_common_features(found)

    def newest(self, user: str, record: Record) -> Recommendations | None:
        """Return what `of` returns of a user whose newest list is this record, in less time."""
        views, generation = self._sources.views, self._sources.active.generation
        value = record.value
        if value is None or value[:1] == b"{":
            return self.of(user)
        try:
            stored = decode_recommendations(
                value,
                None if generation is None else generation.columns.common_features,
                epoch=views.epoch,
                partition=record.partition,
                offset=record.offset,
            )
        except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
            return self.of(user)
        is_newest = stored.as_of is not None and stored.as_of.offset == views.newest_offset(user)
        if not is_newest or self._withdrawn([entry.item for entry in stored.items]):
            return self.of(user)
        return stored

    def in_force(self, user: str) -> Recommendations | None:
        """Return the published list, None if it does not follow the newest steering document.

        Pushed lists are not checked: this bridge may not know the newest rules yet, and the next
        list follows.
        """
        stored = self.of(user)
        if stored is None or not self._sources.steering.is_current(stored.control):
            return None
        return None if self._is_outdated(stored) else stored

    def _is_outdated(self, stored: Recommendations) -> bool:
        """Return whether a list depends on the time, and would be another one now."""
        generation = self._sources.active.generation
        if not stored.now or generation is None:
            return False
        _, steering = self._sources.steering.document()
        if steering is not None and steering.arm_of(stored.user).uses_now:
            return True
        boundaries = generation.columns.boundaries
        passed = np.searchsorted(boundaries, [stored.now, self._sources.now_ms()], side="right")
        return bool(passed[0] != passed[1])

    def _withdrawn(self, listed: Sequence[str]) -> set[str]:
        """Return the listed items that lists may no longer hold: withdrawn, not available, or over."""
        generation = self._sources.active.generation
        gone = self._sources.items.unlisted(listed)
        if generation is None:
            return gone
        listable, columns = generation.listable, generation.columns
        has_times = len(columns.boundaries) > 0
        if listable is None and not has_times:
            return gone
        now_ms = self._sources.now_ms()
        for item, row in zip(listed, generation.items.rows_of(listed).tolist(), strict=True):
            if row < 0:
                continue
            is_gone = has_times and not columns.is_in_time(row, now_ms)
            # A delta may add items meanwhile.
            is_known = listable is not None and row < len(listable)
            if is_gone or (is_known and not listable[row]):  # type: ignore[index]
                gone.add(item)
        return gone
