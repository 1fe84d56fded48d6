"""Step 5 of the flow: one training at a time, beside the trainer's loop, judged before it may serve.

A small one runs in a thread. A large one, whose Python would keep the loop waiting and whose kernels
would take its processors, runs in a process of its own (`recstream.trainer.training.subprocess`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple

from recstream.core.als import Iteration
from recstream.core.generation import Generation
from recstream.core.records import GateResult
from recstream.errors import TrainingDied
from recstream.settings import Settings
from recstream.trainer.deltas import Announcer, Deltas, Kept
from recstream.trainer.training.dataset import Snapshot
from recstream.trainer.training.job import Finished, HeldBack, Job, Tell, carry_out
from recstream.trainer.training.subprocess import Trainee
from recstream.trainer.training.train import Trained, hyperparameters

log = logging.getLogger(__name__)

MAX_FIRST_PRODUCTS = 5_000
"""A first generation waits for what items are like only if there are at most so many."""
MAX_FIRST_EVENTS = 100_000
"""With more of either, a first generation is made beside the loop."""
MAX_PRODUCTS_HERE = 10_000
MAX_EVENTS_HERE = 200_000
"""With more of either, a training has a process of its own, which takes some 2 s to start."""
PAUSE_S = 3.0
GO_ON_S = 1.0
"""A training whose trainer is behind is stopped for so long at most, then goes on for so long."""
TRIES = 2
"""How often a training is begun whose process ended before it was done."""


class Candidate(NamedTuple):
    """A generation that was trained, and what is ready if it serves.

    Attributes
    ----------
    trained : Trained
    gate_result : GateResult or None
    held_back : HeldBack
    is_accepted : bool
        Whether it is to serve: the gate says so, or it was forced, or it is the first.
    deltas : Deltas
    kept : Kept or None
        Its artifact, if it is to serve.
    seconds : float
    """

    trained: Trained
    gate_result: GateResult | None
    held_back: HeldBack
    is_accepted: bool
    deltas: Deltas
    kept: Kept | None
    seconds: float


class _Run:
    """A training under way, which may be given up from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trainee: Trainee | None = None
        self._is_given_up = False
        self._turns_at = 0.0
        self._is_paused = False

    def reserve_cold_start_slots(self, is_behind: bool) -> None:
        """Stop its process while the trainer is behind, but not for ever."""
        with self._lock:
            if self._trainee is None or monotonic() < self._turns_at:
                return
            if self._is_paused:
                if is_behind and monotonic() < self._turns_at + PAUSE_S:
                    return
                self._turns_at = monotonic() + GO_ON_S
            elif not is_behind:
                return
            else:
                self._turns_at = monotonic()
            self._is_paused = not self._is_paused
            self._trainee.pause(self._is_paused)

    def give_up(self) -> None:
        """End its process, now and from now on."""
        with self._lock:
            self._is_given_up = True
            if self._trainee is not None:
                self._trainee.kill()

    def carry_out(self, job: Job, tell: Tell) -> tuple[Finished, tuple[str, bytes]]:
        """Return what a process of its own makes of a job; if it dies, a second one is asked."""
        for left in reversed(range(TRIES)):
            with self._lock:
                if self._is_given_up:
                    break
                trainee = self._trainee = Trainee()
            try:
                return trainee.carry_out(job, tell)
            except TrainingDied as error:
                if not left:
                    raise
                if not self._is_given_up:
                    log.warning("training begins once more: %s", error)
        raise TrainingDied("the training was given up")


class Background:
    """Trains beside the trainer's loop.

    Parameters
    ----------
    settings : Settings
    announcer : Announcer
        Tells how far a training is.
    """

    def __init__(self, settings: Settings, announcer: Announcer) -> None:
        self._settings = settings
        self._chosen = hyperparameters(settings)
        self._announcer = announcer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recstream-training")
        self._running: Future[Candidate] | None = None
        self._run = _Run()

    @property
    def is_busy(self) -> bool:
        """Whether a training runs, or its result was not taken yet."""
        return self._running is not None

    @property
    def is_done(self) -> bool:
        """Whether there is a result to take."""
        return self._running is not None and self._running.done()

    def result(self) -> Candidate:
        """Return what a training gave, or raise what stopped it; it stays until `drop`."""
        if self._running is None:
            raise RuntimeError("no training was started")
        return self._running.result()

    def drop(self) -> None:
        """Let go of a training: its result is taken, or nobody wants it."""
        self._run.give_up()
        self._running = None

    def close(self) -> None:
        """Throw a training under way away; a small one is finished first."""
        self._run.give_up()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def reserve_cold_start_slots(self, is_behind: bool) -> None:
        """Let a training that has a process of its own pause while products wait."""
        self._run.reserve_cold_start_slots(is_behind)

    def start(self, snapshot: Snapshot, parent: Generation, *, is_forced: bool) -> None:
        """Begin to train the next generation after a parent."""
        chosen = self._chosen
        if snapshot.n_events < self._settings.train_min_events:
            chosen = {**chosen, "n_factors": 0}
        job = Job(snapshot, parent, parent.number + 1, chosen, self._settings.seed)
        self._announcer.tell("training", job.number, detail=f"{len(snapshot.users)} users")
        self._begin(job, is_forced=is_forced)

    def start_first(self, snapshot: Snapshot) -> None:
        """Begin generation 0, without factors; of a small shop it is there at once."""
        n_products = len(snapshot.catalogue)
        is_small = n_products <= MAX_FIRST_PRODUCTS
        chosen = {**self._chosen, "n_factors": 0, "content": is_small}
        job = Job(snapshot, None, 0, chosen, self._settings.seed)
        if is_small and snapshot.n_events <= MAX_FIRST_EVENTS:
            self._running = Future()
            self._running.set_result(self._candidate(None, job, is_forced=False))
        else:
            self._begin(job, is_forced=False)

    def _begin(self, job: Job, *, is_forced: bool) -> None:
        self._run = _Run()
        run = self._run if _is_long(job.snapshot) else None
        self._running = self._thread.submit(self._candidate, run, job, is_forced=is_forced)

    def _candidate(self, run: _Run | None, job: Job, *, is_forced: bool) -> Candidate:
        begun = monotonic()
        tell = self._progress(job, begun)
        packed = None
        if run is None:
            done = carry_out(job, tell)
        else:
            done, packed = run.carry_out(job, tell)
        trained, gate_result, held_back = done
        is_accepted = gate_result is None or gate_result.is_accepted or is_forced
        kept = self._announcer.keep(trained.generation, packed) if is_accepted else None
        seconds = 0.0 if job.parent is None else monotonic() - begun
        deltas = Deltas(trained)
        return Candidate(trained, gate_result, held_back, is_accepted, deltas, kept, seconds)

    def _progress(self, job: Job, begun: float) -> Callable[[Iteration], None]:
        total = int(self._chosen["iterations"])

        def tell(iteration: Iteration) -> None:
            self._announcer.tell(
                "training",
                job.number,
                iteration=iteration.number,
                iterations=total,
                seconds=monotonic() - begun,
                detail=iteration.note,
            )

        return tell


def _is_long(snapshot: Snapshot) -> bool:
    """Return whether a training of this is not one for a thread of this process."""
    return len(snapshot.catalogue) > MAX_PRODUCTS_HERE or snapshot.n_events > MAX_EVENTS_HERE
