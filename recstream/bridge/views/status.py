"""State of the roles, collected from their records on topic `recstream.pipeline`."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

from recstream.bridge.push import Pipeline, Stage
from recstream.core.evaluation import merged, merged_clicks
from recstream.core.records import (
    GenerationAnnounced,
    ModelRecord,
    TrainingProgress,
    WorkerStatus,
    decode_pipeline,
)
from recstream.errors import LogError
from recstream.log import INTERACTIONS, PIPELINE, EventLog, Record, TopicPartition

log = logging.getLogger(__name__)

FORGOTTEN_AFTER_MS = 30_000
LOOK_BACK_RECORDS = 500
PUSHES_KEPT = 1000


class Status:
    """The newest status of workers, training and models. Thread-safe.

    Parameters
    ----------
    event_log : EventLog
    now_ms : callable
        Milliseconds since 1970.
    connections : callable
        Number of clients connected to this bridge.
    """

    def __init__(
        self, event_log: EventLog, *, now_ms: Callable[[], int], connections: Callable[[], int]
    ) -> None:
        self._log = event_log
        self._now_ms = now_ms
        self._connections = connections
        self._mutex = threading.Lock()
        self._model: GenerationAnnounced | None = None
        self._delta = 0
        self._training: TrainingProgress | None = None
        self._workers: dict[str, WorkerStatus] = {}
        self._offset = -1
        self._push_ms: deque[float] = deque(maxlen=PUSHES_KEPT)

    def positions(self) -> dict[TopicPartition, int]:
        """Return the start offset on the pipeline topic: a little before its end."""
        end = self._log.high_watermark(PIPELINE, 0)
        start = max(self._log.earliest(PIPELINE, 0), end - LOOK_BACK_RECORDS)
        return {TopicPartition(PIPELINE, 0): start}

    def take(self, records: Iterable[Record]) -> bool:
        """Process records of the pipeline topic; True if there were any."""
        changed = False
        for record in records:
            if record.topic != PIPELINE or record.value is None:
                continue
            try:
                status = decode_pipeline(record.value)
            except Exception as error:  # noqa: BLE001 - whatever a record's bytes do to a decoder
                log.debug("pipeline record unreadable offset=%d reason=%s", record.offset, error)
                continue
            with self._mutex:
                self._offset = record.offset
                if isinstance(status, TrainingProgress):
                    self._training = status
                else:
                    self._workers[status.worker] = status
            changed = True
        return changed

    def take_models(self, models: Iterable[ModelRecord]) -> None:
        """Process announcements of models."""
        with self._mutex:
            for model in models:
                if isinstance(model, GenerationAnnounced):
                    self._model, self._delta = model, 0
                elif self._model is not None and model.generation == self._model.generation:
                    self._delta = max(self._delta, model.delta)

    def pushed(self, published_ts: int) -> None:
        """Record the latency of a list that was published then and is written to a socket now."""
        if published_ts > 0:
            self._push_ms.append(max(0.0, float(self._now_ms() - published_ts)))

    def worker_silent_s(self) -> float | None:
        """Return the seconds since the newest heartbeat of any worker; None if there was none."""
        with self._mutex:
            newest = max((worker.ts for worker in self._workers.values()), default=None)
        return None if newest is None else max(0.0, (self._now_ms() - newest) / 1000)

    def pipeline(self) -> Pipeline:
        """Return the state of the pipeline."""
        oldest_ts = self._now_ms() - FORGOTTEN_AFTER_MS
        with self._mutex:
            workers = tuple(worker for worker in self._workers.values() if worker.ts >= oldest_ts)
            model, delta, training = self._model, self._delta, self._training
            offset = self._offset
        pushes = sorted(self._push_ms)
        return Pipeline(
            epoch=self._log.epoch,
            offset=offset,
            generation=None if model is None else model.generation,
            delta=delta,
            model=model,
            training=training,
            workers=workers,
            prequential=merged(worker.prequential for worker in workers),
            clicks=merged_clicks(worker.clicks for worker in workers),
            events=self._events(),
            lag=sum(lag for worker in workers for lag in worker.lag.values()),
            connections=self._connections(),
            push=None
            if not pushes
            else Stage(p50_ms=pushes[len(pushes) // 2], p99_ms=pushes[len(pushes) * 99 // 100]),
        )

    def _events(self) -> int:
        try:
            return sum(
                self._log.high_watermark(INTERACTIONS, partition)
                for partition in range(self._log.partitions(INTERACTIONS))
            )
        except LogError as error:
            log.debug("events not counted reason=%s", error)
            return 0
