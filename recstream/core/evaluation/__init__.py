"""Evaluation: metrics, prequential replay, hyper-parameter search, the gate, online hit rates."""

from __future__ import annotations

from recstream.core.evaluation.acceptance import HeldOut, hold_out, judge
from recstream.core.evaluation.metrics import coverage, hits, quality, recall_at
from recstream.core.evaluation.online import (
    COLD_EVENTS,
    Scoreboard,
    is_asked,
    merged,
    merged_clicks,
    n_shown,
    rank_in,
)
from recstream.core.evaluation.prequential import (
    Prequential,
    Stream,
    evaluate,
    soft_hits,
    stream_of,
)
from recstream.core.evaluation.replay_config import BEHAVIOUR_WEIGHTS, BETAS, Recipe
from recstream.core.evaluation.search import Progress, tune, tune_stream

__all__ = [
    "BEHAVIOUR_WEIGHTS",
    "BETAS",
    "COLD_EVENTS",
    "HeldOut",
    "Prequential",
    "Progress",
    "Recipe",
    "Scoreboard",
    "Stream",
    "coverage",
    "evaluate",
    "hits",
    "hold_out",
    "is_asked",
    "judge",
    "merged",
    "merged_clicks",
    "n_shown",
    "quality",
    "rank_in",
    "recall_at",
    "soft_hits",
    "stream_of",
    "tune",
    "tune_stream",
]
