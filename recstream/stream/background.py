"""Step 5 of the flow: one training at a time, in a thread of its own, judged before it may serve."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, perf_counter
from typing import NamedTuple

from recstream.core.als import Iteration
from recstream.core.gate import judge
from recstream.core.model import Generation
from recstream.core.records import Judgement
from recstream.settings import Settings
from recstream.stream.announce import Announcer, Kept
from recstream.stream.deltas import Deltas
from recstream.stream.material import Snapshot
from recstream.stream.training import Trained, hyperparameters, train

MAX_FIRST_PRODUCTS = 5_000
"""A first generation waits for what items are like only if there are at most so many."""


class Candidate(NamedTuple):
    """A generation that was trained, and what is ready if it serves.

    Attributes
    ----------
    trained : Trained
    judgement : Judgement
    is_adopted : bool
        Whether it is to serve: the gate says so, or it was forced.
    deltas : Deltas
    kept : Kept or None
        Its artifact, if it is to serve.
    seconds : float
    """

    trained: Trained
    judgement: Judgement
    is_adopted: bool
    deltas: Deltas
    kept: Kept | None
    seconds: float


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
        self._running = None

    def close(self) -> None:
        """Finish a training under way and throw it away."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def start(self, snapshot: Snapshot, parent: Generation, *, is_forced: bool) -> None:
        """Begin to train the next generation after a parent."""
        number = parent.number + 1
        self._announcer.tell("training", number, detail=f"{len(snapshot.users)} users")
        self._running = self._thread.submit(self._candidate, snapshot, parent, is_forced)

    def first(self, snapshot: Snapshot) -> Trained:
        """Return generation 0, at once: without factors."""
        chosen = {**self._chosen, "n_factors": 0}
        chosen["content"] = len(snapshot.catalogue) <= MAX_FIRST_PRODUCTS
        return train(snapshot, number=0, parent=None, chosen=chosen, seed=self._settings.seed)

    def _candidate(self, snapshot: Snapshot, parent: Generation, is_forced: bool) -> Candidate:
        begun = monotonic()
        trained = self._train(snapshot, parent)
        half_life_ms = float(trained.generation.hyperparameters["half_life_ms"])
        judgement = judge(trained.generation, parent, trained.held, half_life_ms)
        is_adopted = judgement.is_adopted or is_forced
        kept = self._announcer.keep(trained.generation) if is_adopted else None
        seconds = monotonic() - begun
        return Candidate(trained, judgement, is_adopted, Deltas(trained), kept, seconds)

    def _train(self, snapshot: Snapshot, parent: Generation) -> Trained:
        begun = perf_counter()
        chosen = self._chosen
        if snapshot.n_events < self._settings.train_min_events:
            chosen = {**chosen, "n_factors": 0}
        number, total = parent.number + 1, int(self._chosen["iterations"])

        def progress(iteration: Iteration) -> None:
            self._announcer.tell(
                "training",
                number,
                iteration=iteration.number,
                iterations=total,
                seconds=perf_counter() - begun,
                detail=iteration.note,
            )

        return train(
            snapshot,
            number=number,
            parent=parent,
            chosen=chosen,
            seed=self._settings.seed,
            callback=progress,
        )
