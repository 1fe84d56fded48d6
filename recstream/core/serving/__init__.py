"""What is made for one request: pages of lists, similar items, shelves.

In: a history or an item, a generation, a request. Out: ranked rows, neighbours, shelves.
"""

from __future__ import annotations

from recstream.core.serving.requested import (
    Unranked,
    among,
    next_cursor,
    rank_requested,
    read_cursor,
    unranked,
    visitor_history,
)
from recstream.core.serving.shelves import POOL, Shelf, shelves
from recstream.core.serving.similar import Neighbour, similar_requested

__all__ = [
    "POOL",
    "Neighbour",
    "Shelf",
    "Unranked",
    "among",
    "next_cursor",
    "rank_requested",
    "read_cursor",
    "shelves",
    "similar_requested",
    "unranked",
    "visitor_history",
]
