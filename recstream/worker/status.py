"""Counters, latencies and online hit rates of a worker, as metrics and as a status record."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np

from recstream.core.evaluation import RankHistograms
from recstream.core.generation import Generation
from recstream.core.records import ClickCounts, PrequentialScore, WorkerStatus
from recstream.metrics import (
    ARM_ITEMS,
    ARM_RECALL,
    CONSUMER_LAG,
    DEAD_LETTERS,
    EVENTS_INGESTED,
    FRESHNESS,
    PREQUENTIAL_RECALL,
)
from recstream.worker.fold import Folded
from recstream.worker.lists import NewList


class WorkerTotals:
    """Totals since the start; latencies are those of the newest 1,000 lists."""

    def __init__(self) -> None:
        self.events = 0
        self.published = 0
        self.dead_letters = 0
        self.lag: dict[int, int] = {}
        self.fold_in_s: deque[float] = deque(maxlen=1000)
        self.freshness_ms: deque[int] = deque(maxlen=1000)
        self.scores = RankHistograms()
        self._freshness = FRESHNESS.labels("published")

    def count_folded(self, folded: Folded) -> None:
        """Count events and dead letters of a committed group, and evaluate the users' lists."""
        self.events += sum(folded.outcomes.values())
        self.dead_letters += len(folded.letters)
        for (kind, outcome), n in folded.outcomes.items():
            EVENTS_INGESTED.labels(kind, outcome).inc(n)
        for letter in folded.letters:
            DEAD_LETTERS.labels(letter.reason).inc()
        for before, event in folded.evaluated:
            self.scores.evaluate(folded.listed.get(before.user), before, event)

    def count_lists(self, lists: Sequence[NewList], now_ms: int) -> None:
        """Count published lists, and the age of the events that triggered them."""
        self.published += len(lists)
        for each in lists:
            if each.appended_ts:
                age_ms = max(0, now_ms - each.appended_ts)
                self.freshness_ms.append(age_ms)
                self._freshness.observe(age_ms / 1000.0)

    def record(
        self,
        worker: str,
        generation: Generation | None,
        now_ms: int,
        *,
        is_compiling: bool = False,
    ) -> WorkerStatus:
        """Return the status record of the pipeline topic, and set the gauges."""
        scores, clicks = self.scores.recent(), self.scores.clicks()
        _set_gauges(scores, clicks)
        for partition, lag in self.lag.items():
            CONSUMER_LAG.labels("ingest", partition).set(lag)
        fold_in_ms = _percentiles([1000.0 * each for each in self.fold_in_s])
        freshness_ms = _percentiles(list(self.freshness_ms))
        return WorkerStatus(
            worker=worker,
            events=self.events,
            published=self.published,
            dead_letters=self.dead_letters,
            lag={str(partition): lag for partition, lag in self.lag.items()},
            generation=-1 if generation is None else generation.number,
            delta=0 if generation is None else generation.delta,
            fold_in_ms_p50=fold_in_ms[0],
            fold_in_ms_p99=fold_in_ms[1],
            freshness_ms_p50=freshness_ms[0],
            freshness_ms_p99=freshness_ms[1],
            prequential=scores,
            clicks=clicks,
            is_compiling=is_compiling,
            ts=now_ms,
        )


def _set_gauges(scores: Mapping[str, PrequentialScore], clicks: Mapping[str, ClickCounts]) -> None:
    for name, score in scores.items():
        arm = name.removeprefix("arm:")
        for cut, share in score.hits.items():
            if name == "all":
                PREQUENTIAL_RECALL.labels(cut).set(share)
            elif arm != name:
                ARM_RECALL.labels(arm, cut).set(share)
    for name, counts in clicks.items():
        if (arm := name.removeprefix("arm:")) != name:
            ARM_ITEMS.labels(arm, "shown").set(counts.shown)
            ARM_ITEMS.labels(arm, "taken").set(counts.clicked)


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    p50, p99 = np.percentile(np.array(values, np.float64), [50, 99]).tolist()
    return round(p50, 3), round(p99, 3)
