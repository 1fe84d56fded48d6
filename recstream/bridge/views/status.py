"""State of the roles, collected from their records on topic `recstream.pipeline`."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

from recstream.bridge.push import Pipeline, Stage
from recstream.core.evaluation import merged, merged_clicks
from recstream.core.records import (
    GenerationAnnounced,
    ModelRecord,
    TrainerStatus,
    TrainingProgress,
    WorkerStatus,
    decode_pipeline,
)
from recstream.log import PIPELINE, EventLog, Record, TopicPartition

log = logging.getLogger(__name__)

FORGOTTEN_AFTER_MS = 30_000
LOOK_BACK_RECORDS = 500
PUSHES_KEPT = 1000
ROLES_KEPT = 1000

_Status = TypeVar("_Status", WorkerStatus, TrainerStatus)


class Heartbeat(NamedTuple):
    """The newest heartbeat of a role.

    Attributes
    ----------
    age_ms : int or None
        None: there was none.
    generation : int
        Active generation of the newest of the role's processes; -1 for none.
    lag : int
        Records that the active trainer has not read.
    is_active : bool
        Whether one of the processes that beat lately is the active trainer.
    waits_for : str
        What the active trainer waits for.
    is_compiling : bool
        Whether its kernels are being compiled.
    """

    age_ms: int | None = None
    generation: int = -1
    lag: int = 0
    is_active: bool = False
    waits_for: str = ""
    is_compiling: bool = False


class Status:
    """The newest status of workers, trainers, training and models. Thread-safe.

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
        self._trainers: dict[str, TrainerStatus] = {}
        self._active_trainer = ""
        self._beats: dict[str, int] = {}
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
                elif isinstance(status, WorkerStatus):
                    self._put(self._workers, status.worker, status)
                else:
                    self._take_trainer(status)
            changed = True
        return changed

    def _take_trainer(self, status: TrainerStatus) -> None:
        """Keep a trainer's status; a training of the active trainer before it was given up."""
        if status.is_active:
            active, self._active_trainer = self._active_trainer, status.trainer
            training = self._training
            if active not in {"", status.trainer} and training and training.state == "training":
                self._training = None
        self._put(self._trainers, status.trainer, status)

    def _put(self, statuses: dict[str, _Status], name: str, status: _Status) -> None:
        """Keep a process's newest status; a clock that is ahead makes no heartbeat younger."""
        statuses.pop(name, None)
        statuses[name] = status
        self._beats[name] = min(status.ts, self._now_ms())
        if len(statuses) > ROLES_KEPT:
            oldest = next(iter(statuses))
            del statuses[oldest], self._beats[oldest]

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

    def worker_beat(self) -> Heartbeat:
        """Return the newest heartbeat of any worker."""
        with self._mutex:
            if not self._workers:
                return Heartbeat()
            newest = max(self._workers.values(), key=lambda each: self._beats[each.worker])
            return Heartbeat(
                self._age_ms(newest.worker), newest.generation, is_compiling=newest.is_compiling
            )

    def trainer_beat(self) -> Heartbeat:
        """Return the newest heartbeat of any trainer, with the state of the active one."""
        with self._mutex:
            if not self._trainers:
                return Heartbeat()
            newest = max(self._trainers.values(), key=lambda each: self._beats[each.trainer])
            active = [
                each
                for each in self._trainers.values()
                if each.is_active and self._age_ms(each.trainer) <= FORGOTTEN_AFTER_MS
            ]
            shown = max(active, key=lambda each: self._beats[each.trainer], default=newest)
            return Heartbeat(
                self._age_ms(newest.trainer),
                -1,
                shown.lag,
                bool(active),
                shown.waits_for,
                shown.is_compiling,
            )

    def _age_ms(self, name: str) -> int:
        return max(0, self._now_ms() - self._beats[name])

    def pipeline(self) -> Pipeline:
        """Return the state of the pipeline as its records have it.

        Without a worker that reports, the evaluations are those of the workers that reported last.
        """
        with self._mutex:
            workers = self._reported_since(self._now_ms())
            last_ms = max((self._beats[name] for name in self._workers), default=0)
            evaluated = workers or self._reported_since(last_ms)
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
            prequential=merged(worker.prequential for worker in evaluated),
            clicks=merged_clicks(worker.clicks for worker in evaluated),
            lag=sum(lag for worker in workers for lag in worker.lag.values()),
            connections=self._connections(),
            push=None
            if not pushes
            else Stage(p50_ms=pushes[len(pushes) // 2], p99_ms=pushes[len(pushes) * 99 // 100]),
        )

    def _reported_since(self, now_ms: int) -> tuple[WorkerStatus, ...]:
        """Return the workers that reported in the 30 s before a time."""
        oldest_ms = now_ms - FORGOTTEN_AFTER_MS
        return tuple(each for name, each in self._workers.items() if self._beats[name] >= oldest_ms)
