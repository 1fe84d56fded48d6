"""Run one training at a time in the background, and evaluate the candidate.

A small training runs in a thread. A large one would delay the trainer's loop, so it runs in a
process of its own (`recstream.trainer.training.backend`).
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from recstream.core.als import Iteration
from recstream.core.generation import Generation
from recstream.core.records import GateResult, TrainingProgress
from recstream.errors import ModelStoreUnavailable
from recstream.settings import Settings
from recstream.trainer.deltas import Deltas, Publisher, StoredArtifact
from recstream.trainer.training.backend import InProcessBackend, SubprocessBackend, TrainingBackend
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.job import HeldOutTouches, TrainingJob
from recstream.trainer.training.spark import SparkBackend
from recstream.trainer.training.train import Trained, hyperparameters, names_popularity

log = logging.getLogger(__name__)

MAX_FIRST_PRODUCTS = 5_000
"""Maximum products for which the first generation includes item features."""
MAX_FIRST_EVENTS = 100_000
"""With more products or events, the first generation is trained in the background."""
MAX_PRODUCTS_IN_THREAD = 10_000
MAX_EVENTS_IN_THREAD = 200_000
"""With more products or events, a training runs in a process, which takes about 2 s to start."""
STORE_RETRY_S = 1.0
STORE_IS_AWAY = "the model store is away or full"


class Candidate(NamedTuple):
    """A trained generation, and what is needed to announce it.

    Attributes
    ----------
    is_accepted : bool
        Whether it is to serve: the gate accepts it, or it was forced, or it is the first.
    artifact : StoredArtifact or None
        Its stored artifact, if it is accepted.
    """

    trained: Trained
    gate_result: GateResult | None
    held_out: HeldOutTouches
    is_accepted: bool
    deltas: Deltas
    artifact: StoredArtifact | None
    seconds: float


class TrainingExecutor:
    """Runs trainings in the background of the trainer's loop.

    Attributes
    ----------
    waits_for : str
        What the training waits for, for heartbeats; empty: nothing.
    """

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._settings = settings
        self._chosen = hyperparameters(settings)
        self._publisher = publisher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recstream-training")
        self._running: Future[Candidate] | None = None
        self._backend: TrainingBackend = InProcessBackend()
        self._spark = (
            SparkBackend(
                settings.spark_master,
                Path(settings.spark_folder or settings.path("spark")),
                settings=settings if settings.spark_reads_log else None,
            )
            if settings.spark_master
            else None
        )
        self._is_cancelled = threading.Event()
        self.waits_for = ""

    def use(self, tuned: dict[str, Any]) -> None:
        """Train with other hyper-parameters from now on; with none, those of the settings."""
        self._chosen = hyperparameters(self._settings, tuned)

    @property
    def is_busy(self) -> bool:
        """Whether a training runs, or its result has not been discarded yet."""
        return self._running is not None

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self._running is not None and self._running.done()

    def result(self) -> Candidate:
        """Return the candidate, or raise the training's error; available until `discard`."""
        if self._running is None:
            raise RuntimeError("no training was started")
        return self._running.result()

    def discard(self) -> None:
        """Discard the training or its result."""
        self._cancel()
        self._running, self.waits_for = None, ""

    def close(self) -> None:
        """Cancel the training; one that runs in a thread is finished first."""
        self._cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _cancel(self) -> None:
        self._is_cancelled.set()
        self._backend.cancel()

    def pause_while_behind(self, is_behind: bool) -> None:
        """Pause the training while the trainer is behind, where its backend can."""
        self._backend.pause_while_behind(is_behind)

    def start(
        self, snapshot: TrainingSnapshot, parent: Generation, number: int, *, is_forced: bool
    ) -> None:
        """Start training the generation ``number`` after a parent."""
        chosen = self._chosen
        if snapshot.n_events < self._settings.train_min_events:
            chosen = {**chosen, "n_factors": 0}
        may_raise = not names_popularity(self._settings)
        job = TrainingJob(snapshot, parent, number, chosen, self._settings.seed, may_raise)
        detail = f"{snapshot.histories.n_users} users"
        self._publisher.publish_status(
            TrainingProgress(state="training", generation=number, detail=detail)
        )
        self._submit(job, is_forced=is_forced)

    def start_first(self, snapshot: TrainingSnapshot, number: int) -> None:
        """Train a generation without parent and factors; for a small shop it is done on return.

        Its number is 0, unless all announced generations are lost.
        """
        n_products = len(snapshot.catalogue)
        is_small = n_products <= MAX_FIRST_PRODUCTS
        chosen = {**self._chosen, "n_factors": 0, "content": is_small}
        job = TrainingJob(snapshot, None, number, chosen, self._settings.seed)
        if is_small and snapshot.n_events <= MAX_FIRST_EVENTS:
            self._backend = InProcessBackend()
            candidate = self._candidate(self._backend, None, job, is_forced=False)
            self._running = Future()
            self._running.set_result(candidate)
        else:
            self.waits_for = f"the first generation is made, of {n_products:,} products"
            self._submit(job, is_forced=False)

    def _submit(self, job: TrainingJob, *, is_forced: bool) -> None:
        self._is_cancelled = threading.Event()
        self._backend = self._chosen_backend(job)
        self._running = self._thread.submit(
            self._candidate, self._backend, self._is_cancelled, job, is_forced=is_forced
        )

    def _chosen_backend(self, job: TrainingJob) -> TrainingBackend:
        if self._spark is not None and job.chosen["n_factors"]:
            return self._spark
        n_products, n_events = len(job.snapshot.catalogue), job.snapshot.n_events
        if n_products > MAX_PRODUCTS_IN_THREAD or n_events > MAX_EVENTS_IN_THREAD:
            return SubprocessBackend(self._settings.path("training"))
        return InProcessBackend()

    def _candidate(
        self,
        backend: TrainingBackend,
        is_cancelled: threading.Event | None,
        job: TrainingJob,
        *,
        is_forced: bool,
    ) -> Candidate:
        begun = monotonic()
        try:
            done = backend.run(job, self._progress(job, begun))
        finally:
            job.snapshot.histories.close()
        is_accepted = done.gate_result is None or done.gate_result.is_accepted or is_forced
        artifact = None
        if is_accepted:
            artifact = self._store(is_cancelled, done.trained.generation, done.artifact)
        seconds = 0.0 if job.parent is None else monotonic() - begun
        deltas = Deltas(done.trained)
        return Candidate(
            done.trained, done.gate_result, done.held_out, is_accepted, deltas, artifact, seconds
        )

    def _store(
        self,
        is_cancelled: threading.Event | None,
        generation: Generation,
        packed: tuple[str, bytes] | None,
    ) -> StoredArtifact:
        """Store an artifact; in the background, retry while the store is away or full."""
        try:
            while True:
                try:
                    return self._publisher.store_artifact(generation, packed)
                except (ModelStoreUnavailable, OSError) as error:
                    if is_cancelled is None or is_cancelled.is_set():
                        raise
                    log.warning("artifact not stored, trying again: %s", error)
                self.waits_for = STORE_IS_AWAY
                time.sleep(STORE_RETRY_S)
        finally:
            self.waits_for = ""

    def _progress(self, job: TrainingJob, begun: float) -> Callable[[Iteration], None]:
        total = int(self._chosen["iterations"])

        def publish(iteration: Iteration) -> None:
            self._publisher.publish_status(
                TrainingProgress(
                    state="training",
                    generation=job.number,
                    iteration=iteration.number,
                    iterations=total,
                    seconds=round(monotonic() - begun, 3),
                    detail=iteration.note,
                )
            )

        return publish
