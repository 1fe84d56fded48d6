"""Popularity and repeats, learned from the stream.

In: item rows of events in the order of the log. Out: a bias for every item, and a bonus for repeats.
"""

from __future__ import annotations

from recstream.core.popularity.popularity import (
    HALF_LIVES,
    TINY,
    Popularity,
    changed_rows,
    count_in_place,
    credit_in_place,
    fit_popularity,
)
from recstream.core.popularity.repeats import (
    REPEAT_BINS,
    RepeatTable,
    count_repeats,
    repeat_probability,
)
from recstream.core.popularity.user_limit import UserLimit

__all__ = [
    "HALF_LIVES",
    "REPEAT_BINS",
    "TINY",
    "Popularity",
    "RepeatTable",
    "UserLimit",
    "changed_rows",
    "count_in_place",
    "count_repeats",
    "credit_in_place",
    "fit_popularity",
    "repeat_probability",
]
