"""Successive halving: rungs of rising cost, and the candidates tried on each."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recstream.core.als import Proportions

_KEEP = 3
# Known good points for a small dense catalogue, a large sparse one, and between.
_STARTS = (
    Proportions(),
    Proportions(0.1, 1.0, 1.0, (0.3, 0.1), (0.05, 0.1)),
    Proportions(3.0, 2.5, 1.0, (0.3, 0.1), (0.05, 0.1)),
    Proportions(15.0, 1.0, 1.0, (0.3, 0.3), (0.1, 0.1)),
    Proportions(60.0, 1.0, 1.0, (0.25, 0.5), (0.1, 0.1)),
    Proportions(200.0, 3.0, 1.0, (0.5, 0.5), (0.3, 0.3)),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate of the search.

    Attributes
    ----------
    history_half_life : float
        In events of the same user; varied only where streams are replayed (`scripts/bench/prequential_replay`).
    """

    proportions: Proportions = field(default_factory=Proportions)
    history_half_life: float = math.inf


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate's score on one rung."""

    rung: int
    choice: Choice
    n_factors: int
    iterations: int
    score: float


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """Progress of the search after a trial, and the best trial so far."""

    done: int
    total: int
    trial: Trial
    best: Trial


@dataclass(frozen=True, slots=True)
class Rung:
    """The cost of a trial on one rung, and the number of trials.

    Attributes
    ----------
    stages : tuple of int
        Iterations after which a model is evaluated; the best stage counts.
    stop : float
        Part of the stream that is replayed.
    with_starts : bool
        Whether the known starting points are tried again: a point that is best with many factors can
        be poor with few.
    """

    number: int
    n_factors: int
    stages: tuple[int, ...]
    candidates: int
    stop: float = 1.0
    with_starts: bool = False


def successive_halving(
    rungs: list[Rung],
    score: Callable[[Choice, Rung], tuple[float, int]],
    generator: np.random.Generator,
    progress: Callable[[SearchProgress], object] | None,
    *,
    present: Proportions,
    moves_half_life: bool,
) -> list[Trial]:
    """Run all rungs; the best trial of the last rung comes last.

    Parameters
    ----------
    score : callable
        Returns a candidate's score on a rung, and the iterations of its best stage.
    present : Proportions
        In force; a starting point as well.
    moves_half_life : bool
        Whether candidates differ in the half-life of histories.
    """
    starts = _starts(present, moves_half_life)
    total = sum(rung.candidates + len(starts) * rung.with_starts for rung in rungs)
    trials: list[Trial] = []
    best: list[Choice] = []
    for rung in rungs:
        todo = (
            _first(starts, rung.candidates, generator, moves_half_life)
            if not best
            else _next(best, rung.candidates, generator, moves_half_life)
        )
        if rung.with_starts:
            todo += [start for start in starts if start not in todo]
        total += len(todo) - rung.candidates - len(starts) * rung.with_starts
        here: list[Trial] = []
        for choice in todo:
            value, iterations = score(choice, rung)
            trial = Trial(rung.number, choice, rung.n_factors, iterations, value)
            here.append(trial)
            if progress is not None:
                leader = max(here, key=lambda t: t.score)
                progress(SearchProgress(len(trials) + len(here), total, trial, leader))
        # A stable sort: of equal scores the earlier candidate is the best.
        here.sort(key=lambda t: t.score, reverse=True)
        trials += reversed(here)
        best = [trial.choice for trial in here]
    return trials


def _starts(present: Proportions, moves_half_life: bool) -> list[Choice]:
    """Return the point in force and the known starting points, each once."""
    half_life = 10.0 if moves_half_life else math.inf
    return [Choice(proportions, half_life) for proportions in dict.fromkeys((present, *_STARTS))]


def _first(
    starts: list[Choice], n: int, generator: np.random.Generator, moves_half_life: bool
) -> list[Choice]:
    """Return starting points and random candidates."""
    known = starts[:n]
    return known + [_random(generator, moves_half_life) for _ in range(n - len(known))]


def _next(
    best: list[Choice], n: int, generator: np.random.Generator, moves_half_life: bool
) -> list[Choice]:
    """Return the better half of a rung's candidates, and variations of the best."""
    kept = best[: max(1, (n + 1) // 2)]
    near = [
        _variation(kept[i % min(len(kept), _KEEP)], generator, moves_half_life)
        for i in range(n - len(kept))
    ]
    return kept + near


def _random(generator: np.random.Generator, moves_half_life: bool) -> Choice:
    """Return a random candidate."""
    return Choice(
        Proportions(
            unobserved_mass=float(np.exp(generator.uniform(math.log(0.5), math.log(1000.0)))),
            ridge=float(np.exp(generator.uniform(math.log(0.05), math.log(30.0)))),
            positive_exponents=as_pair(generator.uniform(0.0, 0.6, 2)),
            missing_exponents=as_pair(generator.uniform(0.0, 0.4, 2)),
        ),
        float(np.exp(generator.uniform(math.log(3.0), math.log(100.0))))
        if moves_half_life
        else math.inf,
    )


def _variation(choice: Choice, generator: np.random.Generator, moves_half_life: bool) -> Choice:
    """Return a variation of a candidate."""
    old = choice.proportions

    def stretch(value: float) -> float:
        return value * float(np.exp(generator.normal(0.0, 0.4)))

    def shift(pair: tuple[float, float]) -> tuple[float, float]:
        return as_pair(np.clip(np.array(pair) + generator.normal(0.0, 0.07, 2), 0.0, 0.8))

    return Choice(
        replace(
            old,
            unobserved_mass=stretch(old.unobserved_mass),
            ridge=stretch(old.ridge),
            positive_exponents=shift(old.positive_exponents),
            missing_exponents=shift(old.missing_exponents),
        ),
        stretch(choice.history_half_life) if moves_half_life else choice.history_half_life,
    )


def as_pair(values: Any) -> tuple[float, float]:
    """Return two numbers."""
    first, second = values
    return float(first), float(second)
