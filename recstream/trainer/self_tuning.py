"""Self-tuning: search hyper-parameters on the log's own events while nothing else is to be done.

A quick search of a few seconds follows the first training. A long one waits for a time without
events. Both (`recstream.core.evaluation.tune`) run in one thread of low priority on one core, and
pause between trials while a training runs. A choice is a record on the control topic, made only if
its lists of held-back events are better than those of the hyper-parameters in force. The trainer
then trains a candidate by it, and the gate decides. Announcements contain the hyper-parameters that
they were trained with, so a replay that trains again agrees.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.control import read_control
from recstream.core.als import Objective, Proportions
from recstream.core.evaluation import TuningResult, tune
from recstream.core.generation import Generation
from recstream.core.records import HyperparametersChosen
from recstream.log import ReadableLog
from recstream.process import lower_priority
from recstream.settings import Settings
from recstream.trainer.training.dataset import TrainingSnapshot, build_dataset
from recstream.trainer.training.job import POPULARITY_FACTORS
from recstream.trainer.training.train import als_options, hyperparameters, names_popularity

log = logging.getLogger(__name__)


class Effort(NamedTuple):
    """Cost of a search.

    Attributes
    ----------
    min_events : int
        Events in the log before a search; the next one starts when they have doubled.
    idle_s : float
        Seconds without events before a search starts.
    quiet_s : float
        Seconds without events before the next trial of a running search.
    max_s : float
        A search that takes longer is given up.
    max_entries : int
        Entries of a search; of more, users are sampled.
    max_users : int
        Users whose lists are evaluated.
    candidates, n_rungs : int
        Of `tune`.
    """

    min_events: int
    idle_s: float
    quiet_s: float
    max_s: float
    max_entries: int
    max_users: int
    candidates: int
    n_rungs: int


QUICK = Effort(2_000, 0.0, 0.0, 60.0, 100_000, 1_000, 4, 1)
LONG = Effort(20_000, 10.0, 1.0, 1_800.0, 2_000_000, 10_000, 12, 3)


class SearchStopped(Exception):
    """A search was cancelled, or took too long."""


class SelfTuning:
    """Searches in the background; all calls come from the trainer's thread.

    Parameters
    ----------
    settings : Settings
        Without ``self_tuning``, or with ``hyperparameters`` that somebody chose, nothing is
        searched.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._is_on = settings.self_tuning and not settings.hyperparameters
        self._settings = settings
        self._clock = clock
        self._searched = {QUICK: 0, LONG: 0}
        self._effort = QUICK
        self._may_run = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="recstream-tuning", initializer=lower_priority
        )
        self._running: Future[HyperparametersChosen | None] | None = None
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
                self._note(QUICK if record.is_quick else LONG, record.n_events)
        if newest is None or not self._is_on:
            return {}
        used = serving.hyperparameters
        follows = all(
            used.get(name) in _trained_with(name, each)
            for name, each in newest.hyperparameters.items()
            if not (name == "popularity_weight" and names_popularity(self._settings))
        )
        return newest.hyperparameters if follows else {}

    def _note(self, effort: Effort, n_events: int) -> None:
        """Record that so many events were searched; a long search includes a quick one."""
        for each in {QUICK, effort}:
            self._searched[each] = n_events

    def _due(self, n_events: int, quiet_s: float) -> Effort | None:
        for effort, before in reversed(self._searched.items()):
            if n_events >= max(effort.min_events, 2 * before) and quiet_s >= effort.idle_s:
                return effort
        return None

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
        """
        if self._running is None:
            effort = self._due(n_events, quiet_s)
            if self._is_on and effort is not None and not is_busy:
                self._effort = effort
                self._note(effort, n_events)
                self._may_run.set()
                self._running = self._thread.submit(self._search, snapshot(), n_events, effort)
            return None
        if quiet_s >= self._effort.quiet_s and not is_busy:
            self._may_run.set()
        else:
            self._may_run.clear()
        if not self._running.done() or is_busy:
            return None
        try:
            if (found := self._running.result()) is not None:
                return found
        except SearchStopped:
            log.info("hyper-parameters not searched to the end")
        except Exception:
            log.exception("hyper-parameters not searched")
        self._running = None
        return None

    def try_out(self, found: HyperparametersChosen) -> dict[str, Any]:
        """Return the hyper-parameters of a recorded choice, to train a candidate by."""
        self._tried, self._running = found.hyperparameters, None
        return found.hyperparameters

    def pause(self) -> None:
        """Let a search wait behind its trial until the next `step`: a training starts."""
        self._may_run.clear()

    def settle(self, *, is_accepted: bool) -> dict[str, Any]:
        """Return what to train by: the choice if the gate accepted it, else as before."""
        if self._tried is not None and is_accepted:
            self._accepted = self._tried
        self._tried = None
        return self._accepted

    def _search(
        self, snapshot: TrainingSnapshot, n_events: int, effort: Effort
    ) -> HyperparametersChosen | None:
        started_s = self._clock()

        def between_trials(*_: object) -> None:
            while not self._may_run.wait(0.2) and not self._is_stopped.is_set():
                pass
            if self._is_stopped.is_set() or self._clock() - started_s > effort.max_s:
                raise SearchStopped

        try:
            matrix, at = search_matrix(snapshot, self._settings, effort.max_entries)
            result = search_hyperparameters(
                matrix,
                at,
                hyperparameters(self._settings, self._accepted),
                self._settings,
                candidates=effort.candidates,
                n_rungs=effort.n_rungs,
                max_users=effort.max_users,
                threads=1,
                progress=between_trials,
            )
        finally:
            snapshot.histories.close()
        seconds = self._clock() - started_s
        log.info(
            "hyper-parameters searched %s=%.4f gain=%.4f error=%.4f trials=%d seconds=%.1f",
            result.metric,
            result.score,
            result.gain,
            result.error,
            len(result.trials),
            seconds,
        )
        if not result.is_better:
            return None
        return HyperparametersChosen(
            hyperparameters=result.hyperparameters(),
            n_events=n_events,
            metric=result.metric,
            score=result.score,
            n_trials=len(result.trials),
            seconds=seconds,
            is_quick=effort is QUICK,
        )

    def close(self) -> None:
        """End a search after its trial."""
        self._is_stopped.set()
        self._thread.shutdown(wait=True, cancel_futures=True)


def _trained_with(name: str, chosen: Any) -> list[Any]:
    """Return the values that a training by a choice can have; the gate may raise one."""
    factors = POPULARITY_FACTORS if name == "popularity_weight" else (1,)
    return [chosen if factor == 1 else chosen * factor for factor in factors]


def search_hyperparameters(
    matrix: sparse.csr_matrix,
    at: NDArray[np.int64],
    used: Mapping[str, Any],
    settings: Settings,
    **options: Any,
) -> TuningResult:
    """Return the result of `tune`, compared with the hyper-parameters of a training.

    Parameters
    ----------
    matrix, at
        From `search_matrix`.
    used : mapping
        From `hyperparameters`.
    settings : Settings
        A ``popularity_weight`` stays as it is.
    **options
        Of `tune`.
    """
    n_active = int(np.count_nonzero(np.diff(matrix.indptr)))
    sizes = {"n_items": matrix.shape[1], "mean_user_count": matrix.nnz / max(1, n_active)}
    loss = {
        name: value
        for name, value in als_options(used, **sizes).items()
        if name in Objective().as_dict()
    }
    return tune(
        matrix,
        at=at,
        n_factors=settings.n_factors,
        iterations=settings.iterations,
        present=Proportions.of(Objective(**loss), **sizes),
        weights={name: float(used[name]) for name in ("behaviour_weight", "popularity_weight")},
        fixed=() if settings.popularity_weight is None else ("popularity_weight",),
        seed=settings.seed,
        **options,
    )


def search_matrix(
    snapshot: TrainingSnapshot, settings: Settings, max_entries: int
) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """Return a training's matrix, of about `max_entries` at most, and its entries' times."""
    dataset = build_dataset(snapshot, (), settings.half_life_ms)
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
    if matrix.nnz > max_entries:
        generator = np.random.Generator(np.random.PCG64(settings.seed))
        n_chosen = max(1, n_users * max_entries // matrix.nnz)
        is_chosen = np.zeros(n_users, np.bool_)
        is_chosen[generator.choice(n_users, n_chosen, replace=False)] = True
        at = at[np.repeat(is_chosen, np.diff(matrix.indptr))]
        matrix = matrix[is_chosen]
        used = np.flatnonzero(np.bincount(matrix.indices, minlength=n_items))
        matrix = matrix[:, used]
    return matrix, at
