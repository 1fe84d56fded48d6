"""The bridge's read models: lists, items, status, recent event ids, lists of the past."""

from __future__ import annotations

from recstream.bridge.views.dedup_window import RecentIds
from recstream.bridge.views.items import Items, Mask
from recstream.bridge.views.lists import Views, without
from recstream.bridge.views.status import Status
from recstream.bridge.views.time_travel import Past

__all__ = ["Items", "Mask", "Past", "RecentIds", "Status", "Views", "without"]
