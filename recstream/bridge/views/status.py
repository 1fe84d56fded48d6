"""State of the roles, collected from their records on topic `recstream.pipeline`."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple, TypeVar

from recstream.bridge.push import Pipeline, Stage
from recstream.core.evaluation import merged, merged_clicks
from recstream.core.events import EVENT_TYPES
from recstream.core.records import (
    GenerationAnnounced,
    ModelRecord,
    PipelineRecord,
    Recommendations,
    TrainerStatus,
    TrainingProgress,
    WorkerStatus,
    decode_dead_letter,
    decode_pipeline,
)
from recstream.log import DEAD_LETTERS, PIPELINE, EventLog, Record, TopicPartition
from recstream.metrics import (
    ARM_ITEMS,
    ARM_RECALL,
    EVENTS_INGESTED,
    FOLD_IN_DURATION,
    FRESHNESS,
    PREQUENTIAL_RECALL,
    TRAINING_DURATION,
)
from recstream.metrics import DEAD_LETTERS as N_DEAD_LETTERS

log = logging.getLogger(__name__)

FORGOTTEN_AFTER_S = 30.0
LOOK_BACK_RECORDS = 500
PUSHES_KEPT = 1000
ROLES_KEPT = 1000
MAX_REASONS = 100
"""Maximum number of dead-letter reasons with a metric of their own; any writer may add one."""

_STAGES = tuple(FRESHNESS.labels(stage) for stage in ("folded", "published", "sent"))
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
    """

    age_ms: int | None = None
    generation: int = -1
    lag: int = 0
    is_active: bool = False
    waits_for: str = ""
    is_compiling: bool = False


class Status:
    """The newest status of workers, trainers, training and models; sets their metrics. Thread-safe.

    Parameters
    ----------
    connections : callable
        Number of clients connected to this bridge.
    """

    def __init__(
        self,
        event_log: EventLog,
        *,
        now_ms: Callable[[], int],
        connections: Callable[[], int],
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._log = event_log
        self._now_ms = now_ms
        self._now_s = now_s
        self._connections = connections
        self._mutex = threading.Lock()
        self._model: GenerationAnnounced | None = None
        self._delta = 0
        self._training: TrainingProgress | None = None
        self._workers: dict[str, WorkerStatus] = {}
        self._trainers: dict[str, TrainerStatus] = {}
        self._active_trainer = ""
        # Apart: in containers that share a host's name, a worker and a trainer can have one name.
        self._worker_beats: dict[str, float] = {}
        self._trainer_beats: dict[str, float] = {}
        self._offset = self._start = -1
        self._reasons: set[str] = set()
        self._push_ms: deque[float] = deque(maxlen=PUSHES_KEPT)

    def positions(self) -> dict[TopicPartition, int]:
        """Return start offsets: shortly before the pipeline topic's end, the end of dead letters.

        What came before the end was counted by the bridge before, or by none: metrics count from
        here.
        """
        end = self._start = self._log.high_watermark(PIPELINE, 0)
        start = max(self._log.earliest(PIPELINE, 0), end - LOOK_BACK_RECORDS)
        letters = (
            TopicPartition(DEAD_LETTERS, n) for n in range(self._log.partitions(DEAD_LETTERS))
        )
        return {tp: self._log.high_watermark(*tp) for tp in letters} | {
            TopicPartition(PIPELINE, 0): start
        }

    def take(self, records: Iterable[Record]) -> bool:
        """Process records of the pipeline topic, count dead letters; True if the status changed."""
        changed = False
        for record in records:
            if record.topic == DEAD_LETTERS:
                self._count_dead_letter(record)
            elif record.topic == PIPELINE and record.value is not None:
                try:
                    self._take(decode_pipeline(record.value), record.offset)
                except Exception as error:  # noqa: BLE001 - whatever a record's content does
                    log.debug("pipeline record unusable offset=%d reason=%s", record.offset, error)
                else:
                    changed = True
        return changed

    def _take(self, status: PipelineRecord, offset: int) -> None:
        is_counted = offset >= self._start
        with self._mutex:
            self._offset = offset
            if isinstance(status, TrainingProgress):
                self._training = status
                if is_counted and status.state == "done" and status.generation > 0:
                    TRAINING_DURATION.observe(status.seconds)
            elif isinstance(status, WorkerStatus):
                before = self._workers.get(status.worker)
                self._put(
                    self._workers, self._worker_beats, status.worker, status, is_new=is_counted
                )
                if is_counted:
                    _count_events(before, status)
                self._set_gauges()
            else:
                self._take_trainer(status, is_new=is_counted)

    def _take_trainer(self, status: TrainerStatus, *, is_new: bool) -> None:
        """Keep a trainer's status; a training of the active trainer before it was given up."""
        if status.is_active:
            active, self._active_trainer = self._active_trainer, status.trainer
            training = self._training
            if active not in {"", status.trainer} and training and training.state == "training":
                self._training = None
        self._put(self._trainers, self._trainer_beats, status.trainer, status, is_new=is_new)

    def _put(
        self,
        statuses: dict[str, _Status],
        beats: dict[str, float],
        name: str,
        status: _Status,
        *,
        is_new: bool,
    ) -> None:
        """Keep a process's newest status, and when it came.

        Clocks differ between machines, so age counts from arrival. Only statuses written before
        this bridge started are aged by their own time.
        """
        statuses.pop(name, None)
        statuses[name] = status
        age_s = 0.0 if is_new else max(0, self._now_ms() - status.ts) / 1000.0
        beat_s = self._now_s() - age_s
        beats[name] = max(beat_s, beats.get(name, beat_s))
        if len(statuses) > ROLES_KEPT:
            oldest = next(iter(statuses))
            del statuses[oldest], beats[oldest]

    def take_models(self, models: Iterable[ModelRecord]) -> None:
        """Process announcements of models."""
        with self._mutex:
            for model in models:
                if isinstance(model, GenerationAnnounced):
                    self._model, self._delta = model, 0
                elif self._model is not None and model.generation == self._model.generation:
                    self._delta = max(self._delta, model.delta)

    def pushed(self, made: Recommendations) -> None:
        """Record the latencies of a list that is written to a socket now."""
        at, sent_ts = made.lineage, self._now_ms()
        if at.published_ts > 0:
            self._push_ms.append(max(0.0, float(sent_ts - at.published_ts)))
        if at.is_fresh and made.source == "fold-in":
            for stage, ts in zip(_STAGES, (at.folded_ts, at.published_ts, sent_ts), strict=True):
                stage.observe(max(0, ts - at.appended_ts) / 1000.0)

    def worker_beat(self) -> Heartbeat:
        """Return the newest heartbeat of any worker."""
        with self._mutex:
            if not self._workers:
                return Heartbeat()
            newest = max(self._workers.values(), key=lambda each: self._worker_beats[each.worker])
            return Heartbeat(
                self._age_ms(self._worker_beats[newest.worker]),
                newest.generation,
                is_compiling=newest.is_compiling,
            )

    def trainer_beat(self) -> Heartbeat:
        """Return the newest heartbeat of any trainer, with the state of the active one."""
        with self._mutex:
            if not self._trainers:
                return Heartbeat()
            beats = self._trainer_beats
            newest = max(self._trainers.values(), key=lambda each: beats[each.trainer])
            active = [
                each
                for each in self._trainers.values()
                if each.is_active and self._age_ms(beats[each.trainer]) <= FORGOTTEN_AFTER_S * 1000
            ]
            shown = max(active, key=lambda each: beats[each.trainer], default=newest)
            return Heartbeat(
                self._age_ms(beats[newest.trainer]),
                -1,
                shown.lag,
                bool(active),
                shown.waits_for,
                shown.is_compiling,
            )

    def _age_ms(self, beat_s: float) -> int:
        return round(max(0.0, self._now_s() - beat_s) * 1000)

    def pipeline(self) -> Pipeline:
        """Return the state of the pipeline as its records have it.

        Without a worker that reports, the evaluations are those of the workers that reported last.
        """
        with self._mutex:
            workers = self._reported_since(self._now_s())
            last_s = max(self._worker_beats.values(), default=0.0)
            evaluated = workers or self._reported_since(last_s)
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

    def _reported_since(self, now_s: float) -> tuple[WorkerStatus, ...]:
        """Return the workers that reported in the 30 s before a time."""
        oldest_s = now_s - FORGOTTEN_AFTER_S
        beats = self._worker_beats
        return tuple(each for name, each in self._workers.items() if beats[name] >= oldest_s)

    def _set_gauges(self) -> None:
        """Set the gauges of the workers that reported lately."""
        workers = self._reported_since(self._now_s())
        times_ms = [(each.fold_in_ms_p50, each.fold_in_ms_p99) for each in workers]
        for quantile, found in zip(("0.5", "0.99"), zip(*times_ms, strict=True), strict=False):
            FOLD_IN_DURATION.labels(quantile).set(max(found) / 1000.0)
        for name, score in merged(each.prequential for each in workers).items():
            arm = name.removeprefix("arm:")
            for cut, share in score.hits.items():
                if name == "all":
                    PREQUENTIAL_RECALL.labels(cut).set(share)
                elif arm != name:
                    ARM_RECALL.labels(arm, cut).set(share)
        for name, counts in merged_clicks(each.clicks for each in workers).items():
            if (arm := name.removeprefix("arm:")) != name:
                ARM_ITEMS.labels(arm, "shown").set(counts.shown)
                ARM_ITEMS.labels(arm, "taken").set(counts.clicked)

    def _count_dead_letter(self, record: Record) -> None:
        try:
            reason = decode_dead_letter(record.value or b"").reason
        except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
            reason = "unreadable"
        if len(self._reasons) < MAX_REASONS:
            self._reasons.add(reason)
        N_DEAD_LETTERS.labels(reason if reason in self._reasons else "other").inc()


def _count_events(before: WorkerStatus | None, now: WorkerStatus) -> None:
    """Count the events between two statuses of a worker; a lower count is one since a restart."""
    for kind in EVENT_TYPES:
        old = {} if before is None else before.outcomes.get(kind, {})
        new = now.outcomes.get(kind, {})
        for outcome in {"folded", "ignored"} & new.keys():
            n, n_before = new[outcome], old.get(outcome, 0)
            EVENTS_INGESTED.labels(kind, outcome).inc(n - n_before if n >= n_before else n)
