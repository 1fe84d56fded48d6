"""Ranked lists: scores, exclusions, reranking by rules, reasons and explanations."""

from __future__ import annotations

from recstream.core.ranking.compiled_arm import steered, warnings_of
from recstream.core.ranking.explain import Explanation, explain
from recstream.core.ranking.rank import Ranked, describe, item_ids, rank
from recstream.core.ranking.recommendations import recommendations
from recstream.core.ranking.shelves import POOL, Shelf, shelves
from recstream.core.ranking.similar import Neighbour, similar

__all__ = [
    "POOL",
    "Explanation",
    "Neighbour",
    "Ranked",
    "Shelf",
    "describe",
    "explain",
    "item_ids",
    "rank",
    "recommendations",
    "shelves",
    "similar",
    "steered",
    "warnings_of",
]
