"""A training job and its result: the same in a thread and in a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recstream.core.als import Iteration
from recstream.core.evaluation import evaluate_candidate
from recstream.core.generation import Generation
from recstream.core.records import GateResult
from recstream.trainer.changelog import Touch, UserChanges, UserRows
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.train import Trained, train

OnIteration = Callable[[Iteration], object]
"""Called after every ALS iteration."""


@dataclass(frozen=True)
class Job:
    """A training to do.

    Attributes
    ----------
    snapshot : TrainingSnapshot
    parent : Generation or None
        None for a generation that starts from nothing.
    number : int
        Of the generation to train.
    chosen : mapping
        Hyper-parameters; see `hyperparameters`.
    seed : int
    """

    snapshot: TrainingSnapshot
    parent: Generation | None
    number: int
    chosen: Mapping[str, Any]
    seed: int


class HeldOutTouches(NamedTuple):
    """Entries that were held out of a training for its evaluation: the first delta adds them."""

    touches: Mapping[str, tuple[Touch, ...]]

    def of(self, users: Mapping[str, UserRows]) -> UserChanges:
        """Return the entries of users who have not been forgotten since."""
        names = tuple(user for user in self.touches if user in users)
        return UserChanges(
            names, tuple(sorted(each for user in names for each in self.touches[user]))
        )


class TrainingResult(NamedTuple):
    """Result of a training.

    Attributes
    ----------
    trained : Trained
    gate_result : GateResult or None
        None for a first generation: there is nothing to compare with.
    held_out : HeldOutTouches
    """

    trained: Trained
    gate_result: GateResult | None
    held_out: HeldOutTouches


def run_job(job: Job, on_iteration: OnIteration | None = None) -> TrainingResult:
    """Train and evaluate: a pure function of the job, except for the calls of ``on_iteration``."""
    trained = train(
        job.snapshot,
        number=job.number,
        parent=job.parent,
        chosen=job.chosen,
        seed=job.seed,
        callback=on_iteration,
    )
    gate_result = None
    if job.parent is not None:
        half_life_ms = float(trained.generation.hyperparameters["half_life_ms"])
        gate_result = evaluate_candidate(trained.generation, job.parent, trained.held, half_life_ms)
    return TrainingResult(trained, gate_result, _held_out(trained, job.snapshot.users))


def _held_out(trained: Trained, users: Mapping[str, UserRows]) -> HeldOutTouches:
    return HeldOutTouches(
        {
            user: tuple(
                Touch(entry.offset, entry.item, entry.weight > 0.0)
                for entry in users[user].history(user).entries()
                if entry.item in items
            )
            for user, items in trained.held.items.items()
        }
    )
