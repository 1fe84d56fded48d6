"""Exact top-N search: user factors and an index of item factors in, ranked items and scores out.

Kernels of `recstream.core.ranking` also use the exact score and the keys that order lists.
"""

from recstream.core.search.index import ItemIndex
from recstream.core.search.keys import (
    EMPTY_KEY,
    SORTED,
    exact_score,
    keep,
    key_of,
    row_of,
    score_of,
)
from recstream.core.search.top_n import best_keys, top_n

__all__ = [
    "EMPTY_KEY",
    "SORTED",
    "ItemIndex",
    "best_keys",
    "exact_score",
    "keep",
    "key_of",
    "row_of",
    "score_of",
    "top_n",
]
