"""Recommend, check, learn: replay a stream of events, and rank each event before it is counted.

In: users and items in the order of time. Out: the rank of each event's item, and the options that were best.
The product evaluates its lists in the stream (`recstream.core.evaluation.online`); this measures the methods.
"""

from __future__ import annotations

from .config import BETAS, ReplayConfig
from .evaluate import Prequential, Stream, evaluate, soft_hits, stream_of
from .search import StreamTuning, tune_stream

__all__ = [
    "BETAS",
    "Prequential",
    "ReplayConfig",
    "Stream",
    "StreamTuning",
    "evaluate",
    "soft_hits",
    "stream_of",
    "tune_stream",
]
