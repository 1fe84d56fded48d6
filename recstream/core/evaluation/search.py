"""Hyper-parameter search on held-out events, by successive halving.

Many candidates are tried at low cost: few factors, few iterations. The better third and variations of
the best are tried again at higher cost, rung by rung. Candidates are proportions
(`recstream.core.als.scaling`), which do not depend on the size of the data.

Every trial evaluates whole lists (`HeldOutLists`), with several weights of behaviour and popularity. The newest
events are held back from all trials. On them the lists of the winner are compared with those of the configuration in
force.
"""

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from recstream.core.als import ALS, Proportions, scaled
from recstream.core.evaluation.held_out_lists import HeldOutLists
from recstream.core.evaluation.successive_halving import (
    Choice,
    Rung,
    SearchProgress,
    Trial,
    successive_halving,
)
from recstream.core.neighbours import BEHAVIOUR_WEIGHT
from recstream.core.numeric.arrays import Float64s
from recstream.core.popularity import POPULARITY_WEIGHT

DEFAULT_WEIGHTS: Mapping[str, float] = {
    "behaviour_weight": BEHAVIOUR_WEIGHT,
    "popularity_weight": POPULARITY_WEIGHT,
}
GRID: Mapping[str, Sequence[float]] = {
    "behaviour_weight": (0.0, 3.0, 10.0, 25.0),
    "popularity_weight": (0.0, 0.1, 0.2, 0.4, 0.8),
}
"""Weights to try: every trial changes one at a time, the winner both."""
MAX_TRIAL_USERS = 2_000
"""Users whose lists a trial evaluates."""
MIN_ERRORS = 2.0
"""The winner's lists must be better than those in force by so many standard errors."""


@dataclass(frozen=True)
class TuningResult:
    """The best candidate of the last rung, and all trials.

    Attributes
    ----------
    metric : str
        Name of the metric of `score`, `gain` and `error`.
    score : float
        Of the winner's lists, on the events that were held back from all trials.
    weights : mapping of str to float
        ``behaviour_weight`` and ``popularity_weight``, in typical scores.
    gain, error : float
        Difference from the configuration in force on the same events, and its standard error by user.
    """

    choice: Choice
    n_factors: int
    iterations: int
    metric: str
    score: float
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    gain: float = 0.0
    error: float = 0.0
    trials: tuple[Trial, ...] = field(default=(), repr=False)

    @property
    def is_better(self) -> bool:
        """Whether the winner's lists are better than those in force beyond noise."""
        return self.gain > MIN_ERRORS * self.error

    def hyperparameters(self) -> dict[str, Any]:
        """Return the choice as hyper-parameters of a training, in values of JSON."""
        return {"iterations": self.iterations, **self.choice.proportions.as_dict(), **self.weights}


def tune(
    interactions: Any,
    *,
    at: Any = None,
    k: int = 20,
    n_factors: int = 128,
    iterations: int = 8,
    candidates: int = 36,
    n_rungs: int = 3,
    present: Proportions = Proportions(),  # noqa: B008 - immutable
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
    fixed: Collection[str] = (),
    seed: int = 0,
    threads: int | None = None,
    max_users: int = 10_000,
    progress: Callable[[SearchProgress], object] | None = None,
) -> TuningResult:
    """Return the proportions and weights whose lists have the best NDCG@k of held-out entries.

    Parameters
    ----------
    interactions : scipy sparse, (n, m)
        The training part alone.
    at : (nnz,) sortable, optional
        Times of the entries in CSR order; with them the newest fifth of each user is held back for
        the comparison with the configuration in force, and the newest fifth of the rest for the trials.
        Otherwise random fifths.
    n_factors, iterations : int
        Values of the last rung; lower rungs use a quarter and a half of the factors, and half the
        iterations.
    candidates : int
        Number of candidates on the lowest rung, known starting points first.
    n_rungs : int
        3, or 1: try all candidates at full cost.
    weights : mapping of str to float
        With ``present``, the configuration in force.
    fixed : collection of str
        Weights that stay.
    max_users : int
        Largest number of users whose lists are compared at the end.
    progress : callable, optional
        Called with a `SearchProgress` after every trial.
    """
    generator = np.random.Generator(np.random.PCG64(seed))

    def hold_out(matrix: Any, times: Any, max_users: int) -> HeldOutLists:
        return HeldOutLists(
            matrix, times, k=k, generator=generator, max_users=max_users, threads=threads or 1
        )

    def ndcg(
        lists: HeldOutLists, choice: Choice, rung: Rung, each: Sequence[Mapping[str, float]]
    ) -> Iterator[tuple[int, Float64s]]:
        options = scaled(
            asdict(choice.proportions),
            n_items=lists.matrix.shape[1],
            mean_user_count=lists.mean_user_count,
        )
        model, spent = None, 0
        for stage in rung.stages:
            als = ALS(
                rung.n_factors, iterations=stage - spent, seed=seed, threads=threads, **options
            )
            model, spent = als.fit(lists.matrix, init=model), stage
            yield stage, lists.ndcg(model, each)

    newest = hold_out(interactions, at, max_users)
    trial_lists = hold_out(newest.matrix, newest.at, min(max_users, MAX_TRIAL_USERS))
    grid = {name: GRID[name] for name in GRID if name not in fixed}
    one_changed = [{**weights, name: value} for name in grid for value in grid[name]]
    products = itertools.product(*grid.values())
    several = [{**weights, **dict(zip(grid, each, strict=True))} for each in products]

    def score(choice: Choice, rung: Rung) -> tuple[float, int]:
        best, iterations = -math.inf, 0
        for stage, found in ndcg(trial_lists, choice, rung, [weights, *one_changed]):
            value = float(found.mean(axis=1).max())
            if value > best:
                best, iterations = value, stage
        return best, iterations

    rungs = (
        [Rung(0, n_factors, (iterations,), candidates)]
        if n_rungs == 1
        else _rungs(n_factors, iterations, candidates)
    )
    trials = successive_halving(
        rungs, score, generator, progress, present=present, moves_half_life=False
    )
    best = trials[-1]
    tried = [weights, *several]
    winning = replace(rungs[-1], stages=(best.iterations,))
    (_, found), *_ = ndcg(trial_lists, best.choice, winning, tried)
    chosen = tried[int(found.mean(axis=1).argmax())]
    (_, ours), *_ = ndcg(newest, best.choice, winning, [chosen])
    in_force = replace(rungs[-1], stages=(iterations,))
    (_, theirs), *_ = ndcg(newest, Choice(present), in_force, [weights])
    more = ours[0] - theirs[0]
    return TuningResult(
        best.choice,
        best.n_factors,
        best.iterations,
        f"ndcg@{k}",
        float(ours.mean()),
        chosen,
        gain=float(more.mean()),
        error=float(more.std() / math.sqrt(len(more))),
        trials=tuple(trials),
    )


def _rungs(n_factors: int, iterations: int, candidates: int) -> list[Rung]:
    short = max(2, iterations // 2)
    return [
        Rung(0, max(8, n_factors // 4), (short,), candidates),
        Rung(1, max(8, n_factors // 2), (short,), max(4, candidates // 3)),
        Rung(
            2,
            n_factors,
            tuple(sorted({short, iterations})),
            max(2, candidates // 9),
            with_starts=True,
        ),
    ]
