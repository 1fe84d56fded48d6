"""One hour of the pipeline's state, sampled by a thread, and how fresh lists were."""

import logging
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from recstream.bridge.push import Pipeline
from recstream.core.records import list_header
from recstream.errors import LogError
from recstream.log import DEAD_LETTERS, RECOMMENDATIONS, EventLog, Record
from recstream.process import Background

log = logging.getLogger(__name__)

SAMPLE_S = 5.0
KEPT = 720
FRESHNESS_BOUNDS_MS = (5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
MAX_DECODED = 100
"""Lists of one batch whose freshness is measured."""


class PipelinePoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of the pipeline at a time.

    Attributes
    ----------
    ts : int
        Milliseconds since 1970.
    events, lists, dead_letters : int
        Records so far; the difference of two points is a rate.
    lag : int
        Events not folded yet.
    generation, delta : int
        The newest announced; -1 before the first generation.
    hit_10, mrr : float or None
        How well lists predicted the newest events, over all users.
    freshness : tuple of int
        Number of lists since the previous point, by freshness: one count up to each bound, then the
        rest. Only lists of fresh events count. Empty without lists.
    """

    ts: int
    events: int = 0
    lists: int = 0
    dead_letters: int = 0
    lag: int = 0
    connections: int = 0
    generation: int = -1
    delta: int = 0
    hit_10: float | None = None
    mrr: float | None = None
    freshness: tuple[int, ...] = ()


class PipelineHistory(Background):
    """Samples the pipeline every `SAMPLE_S`, and keeps the last `KEPT` points. Thread-safe.

    Parameters
    ----------
    pipeline : callable
        Returns the state of the pipeline.
    """

    def __init__(
        self, event_log: EventLog, pipeline: Callable[[], Pipeline], *, now_ms: Callable[[], int]
    ) -> None:
        super().__init__("pipeline-history")
        self._log = event_log
        self._pipeline = pipeline
        self._now_ms = now_ms
        self._mutex = threading.Lock()
        self._points: deque[PipelinePoint] = deque(maxlen=KEPT)
        self._counts = [0] * (len(FRESHNESS_BOUNDS_MS) + 1)

    def _run(self) -> None:
        while True:
            try:
                self.sample()
            except LogError as error:
                log.debug("pipeline not sampled reason=%s", error)
            if self._stopping.wait(SAMPLE_S):
                return

    def observe(self, records: Iterable[Record]) -> None:
        """Measure the freshness of lists of fresh events: time from the event's append to now."""
        now_ms = self._now_ms()
        newest = [one for one in records if one.topic == RECOMMENDATIONS and one.value is not None]
        for record in newest[-MAX_DECODED:]:
            try:
                origin = list_header(record.value or b"")
            except Exception:  # noqa: BLE001, S112 - the views count unreadable records
                continue
            if origin.source != "refresh" and origin.lineage.is_fresh:
                age_ms = now_ms - origin.lineage.appended_ts
                with self._mutex:
                    self._counts[bisect_left(FRESHNESS_BOUNDS_MS, age_ms)] += 1

    def sample(self) -> None:
        """Add a point."""
        pipeline = self._pipeline()
        score = pipeline.prequential.get("all")
        lists, dead_letters = self._n_records(RECOMMENDATIONS), self._n_records(DEAD_LETTERS)
        with self._mutex:
            counts = tuple(self._counts) if any(self._counts) else ()
            self._counts = [0] * len(self._counts)
            self._points.append(
                PipelinePoint(
                    ts=self._now_ms(),
                    events=pipeline.events,
                    lists=lists,
                    dead_letters=dead_letters,
                    lag=pipeline.lag,
                    connections=pipeline.connections,
                    generation=-1 if pipeline.generation is None else pipeline.generation,
                    delta=pipeline.delta,
                    hit_10=None if score is None else score.hits.get(10),
                    mrr=None if score is None else score.mrr,
                    freshness=counts,
                )
            )

    def _n_records(self, topic: str) -> int:
        partitions = range(self._log.partitions(topic))
        return sum(self._log.high_watermark(topic, each) for each in partitions)

    def points(self, since_ms: int = 0) -> tuple[PipelinePoint, ...]:
        """Return the points after a time, oldest first."""
        with self._mutex:
            return tuple(point for point in self._points if point.ts > since_ms)
