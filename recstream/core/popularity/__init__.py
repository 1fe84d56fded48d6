"""Popularity, learned from the stream.

In: item rows of events in the order of the log. Out: a bias for every item.
"""

from recstream.core.popularity.order import POPULARITY_VERSION, in_order
from recstream.core.popularity.popularity import (
    HALF_LIVES,
    POPULARITY_WEIGHT,
    TINY,
    Popularity,
    changed_rows,
    count_in_place,
    credit_in_place,
    fit_popularity,
)
from recstream.core.popularity.user_limit import UserLimit
