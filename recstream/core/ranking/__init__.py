"""Ranked lists. In: histories, a generation, a steering document. Out: lists with scores and reasons.

A list passes `rank`, `compiled_arm`, `fatigue` (excluded items), `rerank` with its compiled parts (`batch`,
`neighbour_scores`, `rerank_kernel`, which writes the final order), and `recommendations`.
"""

from __future__ import annotations

from recstream.core.ranking.compiled_arm import compile_arm, steering_warnings
from recstream.core.ranking.explain import Explanation, explain
from recstream.core.ranking.rank import Ranked, rank
from recstream.core.ranking.recommendations import describe, item_ids, recommendations
from recstream.core.ranking.shelves import POOL, Shelf, shelves
from recstream.core.ranking.similar import Neighbour, similar

__all__ = [
    "POOL",
    "Explanation",
    "Neighbour",
    "Ranked",
    "Shelf",
    "compile_arm",
    "describe",
    "explain",
    "item_ids",
    "rank",
    "recommendations",
    "shelves",
    "similar",
    "steering_warnings",
]
