"""Recommend, check, learn: replay a stream of events, and rank each event before it is counted.

In: users and items in the order of time. Out: the rank of each event's item, and the options that were best.
The product evaluates its lists in the stream (`recstream.core.evaluation.online`); this measures the methods.
"""

from .config import BETAS, ReplayConfig
from .evaluate import Prequential, Stream, evaluate, soft_hits, stream_of
from .repeats import REPEAT_BINS, RepeatTable, count_repeats
from .search import StreamTuning, tune_stream

__all__ = [
    "BETAS",
    "REPEAT_BINS",
    "Prequential",
    "RepeatTable",
    "ReplayConfig",
    "Stream",
    "StreamTuning",
    "count_repeats",
    "evaluate",
    "soft_hits",
    "stream_of",
    "tune_stream",
]
