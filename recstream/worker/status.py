"""Counters, latencies and online hit rates of a worker, for its status record.

The bridge serves them as metrics (`recstream.bridge.views.status`).
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from recstream.core.evaluation import RankHistograms
from recstream.core.generation import Generation
from recstream.core.records import WorkerStatus
from recstream.worker.fold import Folded
from recstream.worker.lists import NewList


class WorkerTotals:
    """Totals since the start; latencies are those of the newest 1,000 lists."""

    def __init__(self) -> None:
        self.events = 0
        self.outcomes: dict[str, dict[str, int]] = {}
        self.published = 0
        self.dead_letters = 0
        self.lag: dict[int, int] = {}
        self.fold_in_s: deque[float] = deque(maxlen=1000)
        self.freshness_ms: deque[int] = deque(maxlen=1000)
        self.scores = RankHistograms()

    def count_folded(self, folded: Folded) -> None:
        """Count events and dead letters of a committed group, and evaluate the users' lists."""
        self.events += sum(folded.outcomes.values())
        self.dead_letters += len(folded.letters)
        for (kind, outcome), n in folded.outcomes.items():
            of_type = self.outcomes.setdefault(kind, {})
            of_type[outcome] = of_type.get(outcome, 0) + n
        for each in folded.evaluated:
            self.scores.evaluate(*each)

    def count_lists(self, lists: Sequence[NewList], now_ms: int) -> None:
        """Count published lists, and the age of the fresh events that triggered them."""
        self.published += len(lists)
        for each in lists:
            if each.lineage.is_fresh:
                self.freshness_ms.append(max(0, now_ms - each.lineage.appended_ts))

    def record(
        self, worker: str, generation: Generation | None, now_ms: int, *, is_compiling: bool = False
    ) -> WorkerStatus:
        """Return the status record of the pipeline topic."""
        fold_in_ms = _percentiles([1000.0 * each for each in self.fold_in_s])
        freshness_ms = _percentiles(list(self.freshness_ms))
        return WorkerStatus(
            worker=worker,
            events=self.events,
            outcomes=self.outcomes,
            published=self.published,
            dead_letters=self.dead_letters,
            lag={str(partition): lag for partition, lag in self.lag.items()},
            generation=-1 if generation is None else generation.number,
            delta=0 if generation is None else generation.delta,
            fold_in_ms_p50=fold_in_ms[0],
            fold_in_ms_p99=fold_in_ms[1],
            freshness_ms_p50=freshness_ms[0],
            freshness_ms_p99=freshness_ms[1],
            prequential=self.scores.recent(),
            clicks=self.scores.clicks(),
            is_compiling=is_compiling,
            ts=now_ms,
        )


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    p50, p99 = np.percentile(np.array(values, np.float64), [50, 99]).tolist()
    return round(p50, 3), round(p99, 3)
