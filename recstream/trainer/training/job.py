"""A training job and its result: the same in a thread and in a process."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from recstream.core.als import Iteration
from recstream.core.evaluation import HeldOut, evaluate_candidate
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.records import GateResult
from recstream.trainer.histories import HistoryColumns
from recstream.trainer.histories.changelog import Touch, UserChanges
from recstream.trainer.training.dataset import TrainingSnapshot, build_dataset
from recstream.trainer.training.train import Build, Trained, train

OnIteration = Callable[[Iteration], object]
"""Called after every ALS iteration."""

POPULARITY_FACTORS = (1, 4, 16, 64)
"""Factors of the weight of popularity that are tried in turn."""


@dataclass(frozen=True)
class TrainingJob:
    """A training to do.

    Attributes
    ----------
    parent : Generation or None
        None for a generation that starts from nothing.
    number : int
        Number of the generation to train.
    chosen : mapping
        Hyper-parameters; see `hyperparameters`.
    may_raise_popularity : bool
        Whether the gate may choose another weight of popularity; not one that the settings name.
    """

    snapshot: TrainingSnapshot
    parent: Generation | None
    number: int
    chosen: Mapping[str, Any]
    seed: int
    may_raise_popularity: bool = True


class HeldOutTouches(NamedTuple):
    """Entries that were held out of a training for its evaluation: the first delta adds them."""

    touches: Mapping[str, tuple[Touch, ...]]

    def of(self, histories: HistoryColumns) -> UserChanges:
        """Return the entries of users who have not been forgotten since."""
        rows = histories.rows_of(list(self.touches)).tolist()
        names = tuple(user for user, row in zip(self.touches, rows, strict=True) if row >= 0)
        return UserChanges(
            names, tuple(sorted(each for user in names for each in self.touches[user]))
        )


class TrainingResult(NamedTuple):
    """Result of a training.

    Attributes
    ----------
    gate_result : GateResult or None
        None for a first generation: there is nothing to compare with.
    artifact : tuple of str and bytes, optional
        The generation's digest and artifact, if the backend made it.
    """

    trained: Trained
    gate_result: GateResult | None
    held_out: HeldOutTouches
    artifact: tuple[str, bytes] | None = None


def run_job(
    job: TrainingJob, on_iteration: OnIteration | None = None, build: Build = build_dataset
) -> TrainingResult:
    """Train and evaluate: a pure function of the job, except for the calls of ``on_iteration``."""
    histories = job.snapshot.histories.columns()
    job = replace(job, snapshot=replace(job.snapshot, histories=histories))
    trained, gate_result = train_and_evaluate(job, on_iteration, build)
    rows = histories.rows_of(list(trained.held.items)).tolist()
    return TrainingResult(
        trained, gate_result, held_out_of(trained.held, histories.histories(rows))
    )


def train_and_evaluate(
    job: TrainingJob, on_iteration: OnIteration | None, build: Build
) -> tuple[Trained, GateResult | None]:
    """Train a generation, and compare it with its parent.

    If popularity alone is clearly better, popularity gets more weight, until it no longer is: there
    are shops where most people buy the same things. A weight that the settings name stays.
    """
    trained = train(
        job.snapshot,
        number=job.number,
        parent=job.parent,
        chosen=job.chosen,
        seed=job.seed,
        callback=on_iteration,
        build=build,
    )
    if job.parent is None:
        return trained, None
    used = trained.generation.hyperparameters
    half_life_ms, weight = float(used["half_life_ms"]), float(used["popularity_weight"])
    results = []
    for factor in POPULARITY_FACTORS:
        if factor > 1:
            trained.set_popularity_weight(weight * factor)
        results.append(
            evaluate_candidate(trained.generation, job.parent, trained.held, half_life_ms)
        )
        if results[-1].is_accepted:
            return trained, results[-1]
        if results[0].candidate >= results[0].popular:
            break
        if not job.may_raise_popularity:
            reason = f"{results[0].reason}; a higher setting popularity_weight may pass"
            return trained, msgspec.structs.replace(results[0], reason=reason)
        if not weight:
            break
    trained.set_popularity_weight(weight)
    return trained, results[0]


def held_out_of(held: HeldOut, originals: Iterable[History]) -> HeldOutTouches:
    """Return the held-out entries of histories that have them still."""
    return HeldOutTouches(
        {
            history.user: tuple(
                Touch(entry.offset, entry.item, history.user, entry.weight > 0.0)
                for entry in history.entries()
                if entry.item in held.items[history.user]
            )
            for history in originals
            if history.user in held.items
        }
    )
