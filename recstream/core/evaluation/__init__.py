"""Evaluation of lists and models. In: held-out or following events. Out: metrics and decisions.

Offline: `metrics`, `prequential` replay, `search` of hyper-parameters. In the stream: `acceptance` (the gate
for a new generation) and `online` (hit rates of published lists).
"""

from __future__ import annotations

from recstream.core.evaluation.acceptance import HeldOut, evaluate_candidate, hold_out
from recstream.core.evaluation.metrics import coverage, hits, quality, recall_at
from recstream.core.evaluation.online import (
    COLD_EVENTS,
    RankHistograms,
    is_evaluated,
    merged,
    merged_clicks,
    n_shown,
    rank_of,
)
from recstream.core.evaluation.prequential import (
    Prequential,
    Stream,
    evaluate,
    soft_hits,
    stream_of,
)
from recstream.core.evaluation.replay_config import BEHAVIOUR_WEIGHTS, BETAS, ReplayConfig
from recstream.core.evaluation.search import Progress, tune, tune_stream

__all__ = [
    "BEHAVIOUR_WEIGHTS",
    "BETAS",
    "COLD_EVENTS",
    "HeldOut",
    "Prequential",
    "Progress",
    "RankHistograms",
    "ReplayConfig",
    "Stream",
    "coverage",
    "evaluate",
    "evaluate_candidate",
    "hits",
    "hold_out",
    "is_evaluated",
    "merged",
    "merged_clicks",
    "n_shown",
    "quality",
    "rank_of",
    "recall_at",
    "soft_hits",
    "stream_of",
    "tune",
    "tune_stream",
]
