"""Step 5 of the flow: what a training is asked for, and what it gives: the same in any process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from recstream.core.als import Iteration
from recstream.core.evaluation import evaluate_candidate
from recstream.core.generation import Generation
from recstream.core.records import GateResult
from recstream.trainer.changelog import Group, Touch, UserRows
from recstream.trainer.training.dataset import Snapshot
from recstream.trainer.training.train import Trained, train

Tell = Callable[[Iteration], object]


@dataclass(frozen=True)
class Job:
    """A training that is to be done; without a parent, of the first generation."""

    snapshot: Snapshot
    parent: Generation | None
    number: int
    chosen: Mapping[str, Any]
    seed: int


class HeldBack(NamedTuple):
    """What was held out of a training to evaluate_candidate it by: the first delta tells it."""

    touches: Mapping[str, tuple[Touch, ...]]

    def of(self, users: Mapping[str, UserRows]) -> Group:
        """Return what users did who are still there."""
        names = tuple(user for user in self.touches if user in users)
        return Group(names, tuple(sorted(each for user in names for each in self.touches[user])))


class Finished(NamedTuple):
    """What a training gave.

    Attributes
    ----------
    trained : Trained
    gate_result : GateResult or None
        None for a first generation: there is nothing to compare it with.
    held_back : HeldBack
    """

    trained: Trained
    gate_result: GateResult | None
    held_back: HeldBack


def carry_out(job: Job, tell: Tell | None = None) -> Finished:
    """Train and evaluate_candidate: a pure function of the job, but for what is told of its iterations."""
    trained = train(
        job.snapshot,
        number=job.number,
        parent=job.parent,
        chosen=job.chosen,
        seed=job.seed,
        callback=tell,
    )
    gate_result = None
    if job.parent is not None:
        half_life_ms = float(trained.generation.hyperparameters["half_life_ms"])
        gate_result = evaluate_candidate(trained.generation, job.parent, trained.held, half_life_ms)
    return Finished(trained, gate_result, _held_back(trained, job.snapshot.users))


def _held_back(trained: Trained, users: Mapping[str, UserRows]) -> HeldBack:
    return HeldBack(
        {
            user: tuple(
                Touch(entry.offset, entry.item, entry.weight > 0.0)
                for entry in users[user].history(user).entries()
                if entry.item in items
            )
            for user, items in trained.held.items.items()
        }
    )
