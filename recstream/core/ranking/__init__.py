"""Ranked lists. In: histories, a generation, a steering document. Out: lists with scores and reasons.

A list passes `rank`, `compiled_arm`, `fatigue` (excluded items), `rerank` with its compiled parts (`batch`,
`neighbour_scores`, `rerank_kernel`, which writes the final order), and `recommendations`.
"""

from recstream.core.ranking.compiled_arm import CompiledArm, compile_arm, steering_warnings
from recstream.core.ranking.explain import Explanation, explain
from recstream.core.ranking.rank import DEFAULT_ARM, Ranked, rank
from recstream.core.ranking.reasons import score_terms
from recstream.core.ranking.recommendations import describe, encode_list, item_ids
