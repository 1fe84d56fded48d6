"""Exact top-N search over item factors."""

from __future__ import annotations

from recstream.core.search.keys import NOBODY, SORTED, exact_score, keep, key_of, row_of, score_of
from recstream.core.search.top_n import ItemIndex, best_keys, top_n

__all__ = [
    "NOBODY",
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
