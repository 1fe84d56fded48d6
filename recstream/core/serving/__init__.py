"""What is made for one request: pages of lists, similar items, shelves.

In: a history or an item, a generation, a request. Out: ranked rows, neighbours, shelves.
"""

from recstream.core.serving.event_counts import EventCounts
from recstream.core.serving.requested import (
    Unranked,
    among,
    next_cursor,
    rank_requested,
    read_cursor,
    request_warnings,
    unranked,
    visitor_history,
)
from recstream.core.serving.similar import Neighbour, similar_requested
from recstream.core.serving.taste import Taste, user_taste
from recstream.core.serving.top_items import (
    TopItem,
    compile_for_everybody,
    newest_scores,
    top_items,
)
from recstream.core.serving.viewed_shelves import POOL, Shelf, shelves
