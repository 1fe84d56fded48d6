"""Self-tuning: search hyper-parameters on the log's own events while nothing else is to be done.

The search (`recstream.core.evaluation.tune`, then `tune_weights`) runs in one thread of low priority on one core, and pauses
between trials while events arrive or a training runs. Its choice is a record on the control topic. The trainer then
trains a candidate by it, and the gate decides. Announcements contain the hyper-parameters that they were
trained with, so a replay that trains again agrees.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.control import read_control
from recstream.core.evaluation import tune, tune_weights
from recstream.core.generation import Generation
from recstream.core.records import HyperparametersChosen
from recstream.log import ReadableLog
from recstream.process import lower_priority
from recstream.settings import Settings
from recstream.trainer.training.dataset import TrainingSnapshot, build_dataset
from recstream.trainer.training.train import hyperparameters

log = logging.getLogger(__name__)

MIN_EVENTS = 20_000
"""Events in the log before a search; the next one starts when they have doubled."""
IDLE_S = 10.0
"""Seconds without events before a search starts."""
QUIET_S = 1.0
"""Seconds without events before the next trial of a running search."""
MAX_S = 1_800.0
"""A search that takes longer is given up."""
MAX_USERS = 50_000
"""Users of a search, a sample of all."""
CANDIDATES = 12


class SearchStopped(Exception):
    """A search was cancelled, or took too long."""


class SelfTuning:
    """Searches in the background; all calls come from the trainer's thread.

    Parameters
    ----------
    settings : Settings
        Without ``self_tuning``, or with ``hyperparameters`` that somebody chose, nothing is searched.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._is_on = settings.self_tuning and not settings.hyperparameters
        self._settings = settings
        self._clock = clock
        self._n_events = 0
        self._may_run = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="recstream-tuning", initializer=lower_priority
        )
        self._running: Future[HyperparametersChosen] | None = None
        self._accepted: dict[str, Any] = {}
        self._tried: dict[str, Any] | None = None

    def restore(self, event_log: ReadableLog, serving: Generation) -> dict[str, Any]:
        """Return the newest choice on the control topic if the serving generation follows it."""
        self._accepted = self._followed(event_log, serving)
        return self._accepted

    def _followed(self, event_log: ReadableLog, serving: Generation) -> dict[str, Any]:
        newest: HyperparametersChosen | None = None
        for _, record in read_control(event_log):
            if isinstance(record, HyperparametersChosen):
                newest = record
        if newest is None or not self._is_on:
            return {}
        self._n_events = newest.n_events
        used = serving.hyperparameters
        follows = all(used.get(name) == each for name, each in newest.hyperparameters.items())
        return newest.hyperparameters if follows else {}

    def step(
        self,
        n_events: int,
        quiet_s: float,
        *,
        is_busy: bool,
        snapshot: Callable[[], TrainingSnapshot],
    ) -> HyperparametersChosen | None:
        """Start, pause or continue a search; return its choice until `try_out`, if it is a new one.

        Parameters
        ----------
        is_busy : bool
            Whether none may start: trainings are held.
        snapshot : callable
        """
        if self._running is None:
            is_due = n_events >= max(MIN_EVENTS, 2 * self._n_events)
            if self._is_on and is_due and quiet_s >= IDLE_S and not is_busy:
                self._n_events = n_events
                self._may_run.set()
                self._running = self._thread.submit(self._search, snapshot(), n_events)
            return None
        if quiet_s >= QUIET_S and not is_busy:
            self._may_run.set()
        else:
            self._may_run.clear()
        if not self._running.done() or is_busy:
            return None
        try:
            found = self._running.result()
            if found.hyperparameters != self._accepted:
                return found
        except SearchStopped:
            log.info("hyper-parameters not searched to the end")
        except Exception:
            log.exception("hyper-parameters not searched")
        self._running = None
        return None

    def try_out(self, found: HyperparametersChosen) -> dict[str, Any]:
        """Return the hyper-parameters of a choice, once it is recorded: a candidate is trained by them."""
        self._tried, self._running = found.hyperparameters, None
        return found.hyperparameters

    def pause(self) -> None:
        """Let a search wait behind its trial until the next `step`: a training starts."""
        self._may_run.clear()

    def settle(self, *, is_accepted: bool) -> dict[str, Any]:
        """Return what to train by from now on: what was tried if the gate accepted it, else as before."""
        if self._tried is not None and is_accepted:
            self._accepted = self._tried
        self._tried = None
        return self._accepted

    def _search(self, snapshot: TrainingSnapshot, n_events: int) -> HyperparametersChosen:
        started_s = self._clock()

        def between_trials(*_: object) -> None:
            while not self._may_run.wait(0.2) and not self._is_stopped.is_set():
                pass
            if self._is_stopped.is_set() or self._clock() - started_s > MAX_S:
                raise SearchStopped

        try:
            matrix, at = self._matrix(snapshot)
            result = tune(
                matrix,
                at=at,
                n_factors=self._settings.n_factors,
                iterations=self._settings.iterations,
                candidates=CANDIDATES,
                seed=self._settings.seed,
                threads=1,
                progress=between_trials,
            )
            found = result.als_arguments(matrix)
            used = hyperparameters(self._settings)
            weights = tune_weights(
                matrix,
                at,
                found,
                {name: float(used[name]) for name in ("behaviour_weight", "popularity_weight")},
                seed=self._settings.seed,
                threads=1,
                progress=between_trials,
            )
            if self._settings.popularity_weight is not None:
                weights["popularity_weight"] = self._settings.popularity_weight
        finally:
            snapshot.histories.close()
        seconds = self._clock() - started_s
        log.info(
            "hyper-parameters chosen %s=%.4f trials=%d seconds=%.1f",
            result.metric,
            result.score,
            len(result.trials),
            seconds,
        )
        return HyperparametersChosen(
            hyperparameters=_plain(found | weights),
            n_events=n_events,
            metric=result.metric,
            score=result.score,
            n_trials=len(result.trials),
            seconds=seconds,
        )

    def _matrix(self, snapshot: TrainingSnapshot) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
        """Return the matrix of a training, of at most `MAX_USERS`, and the times of its entries."""
        dataset = build_dataset(snapshot, (), self._settings.half_life_ms)
        users, items, at_ms = dataset.entries
        matrix = dataset.matrix.copy()
        matrix.sort_indices()
        matrix.eliminate_zeros()
        n_users, n_items = matrix.shape
        order = np.lexsort((items, users))
        keys = users[order].astype(np.int64) * n_items + items[order]
        kept = np.repeat(np.arange(n_users), np.diff(matrix.indptr)) * n_items + matrix.indices
        # An entry that faded to zero is no entry of the matrix.
        at = np.asarray(at_ms)[order][np.searchsorted(keys, kept)]
        if n_users > MAX_USERS:
            generator = np.random.Generator(np.random.PCG64(self._settings.seed))
            is_chosen = np.zeros(n_users, np.bool_)
            is_chosen[generator.choice(n_users, MAX_USERS, replace=False)] = True
            at = at[np.repeat(is_chosen, np.diff(matrix.indptr))]
            matrix = matrix[is_chosen]
        return matrix, at

    def close(self) -> None:
        """End a search after its trial."""
        self._is_stopped.set()
        self._thread.shutdown(wait=True, cancel_futures=True)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them: pairs as lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in values.items()
    }
