"""Beside the flow: the ladder of rungs that tuning climbs, and the points it tries on each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from recstream.core.als import Proportions

_KEEP = 3
# A small dense catalogue, a large sparse one, and between: random choices rarely fall near enough.
_STARTS = (
    Proportions(),
    Proportions(60.0, 1.0, 1.0, (0.25, 0.5), (0.1, 0.1)),
    Proportions(200.0, 3.0, 1.0, (0.5, 0.5), (0.3, 0.3)),
    Proportions(15.0, 1.0, 1.0, (0.3, 0.3), (0.1, 0.1)),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One point of the search.

    Attributes
    ----------
    proportions : Proportions
    history_half_life : float
        In events of the same user; only `tune_stream` moves it.
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
class Progress:
    """What `progress` receives after every trial: how far the search is, and the best so far."""

    done: int
    total: int
    trial: Trial
    best: Trial


@dataclass(frozen=True, slots=True)
class Rung:
    """What a trial costs on one step of the ladder, and how many are made there.

    `stages` are the iterations after which a model is checked; the best stage counts. With
    `with_starts` the known starting points are tried again, whatever they scored below: what is
    best with many factors can be poor with few.
    """

    number: int
    n_factors: int
    stages: tuple[int, ...]
    candidates: int
    stop: float = 1.0
    with_starts: bool = False


def climb(
    rungs: list[Rung],
    score: Callable[[Choice, Rung], tuple[float, int]],
    generator: np.random.Generator,
    progress: Callable[[Progress], object] | None,
    *,
    moves_half_life: bool,
) -> list[Trial]:
    """Run the ladder; the best trial of the last rung comes last."""
    total = sum(rung.candidates + len(_STARTS) * rung.with_starts for rung in rungs)
    trials: list[Trial] = []
    best: list[Choice] = []
    for rung in rungs:
        todo = (
            _first(rung.candidates, generator, moves_half_life)
            if not best
            else _next(best, rung.candidates, generator, moves_half_life)
        )
        if rung.with_starts:
            todo += [start for start in _starts(moves_half_life) if start not in todo]
        total += len(todo) - rung.candidates - len(_STARTS) * rung.with_starts
        here: list[Trial] = []
        for choice in todo:
            value, iterations = score(choice, rung)
            trial = Trial(rung.number, choice, rung.n_factors, iterations, value)
            here.append(trial)
            if progress is not None:
                leader = max(here, key=lambda t: t.score)
                progress(Progress(len(trials) + len(here), total, trial, leader))
        # Stable: of equal scores the earlier candidate stays ahead.
        here.sort(key=lambda t: t.score)
        trials += here
        best = [trial.choice for trial in reversed(here)]
    return trials


def _starts(moves_half_life: bool) -> list[Choice]:
    """Return the known starting points."""
    half_life = 10.0 if moves_half_life else math.inf
    return [Choice(proportions, half_life) for proportions in _STARTS]


def _first(n: int, generator: np.random.Generator, moves_half_life: bool) -> list[Choice]:
    """Return known starting points and random choices."""
    known = _starts(moves_half_life)[:n]
    return known + [_random(generator, moves_half_life) for _ in range(n - len(known))]


def _next(
    best: list[Choice], n: int, generator: np.random.Generator, moves_half_life: bool
) -> list[Choice]:
    """Return the better candidates of a rung and neighbours of the best."""
    kept = best[: max(1, (n + 1) // 2)]
    near = [
        _near(kept[i % min(len(kept), _KEEP)], generator, moves_half_life)
        for i in range(n - len(kept))
    ]
    return kept + near


def _random(generator: np.random.Generator, moves_half_life: bool) -> Choice:
    """Return a choice from the whole space."""
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


def _near(choice: Choice, generator: np.random.Generator, moves_half_life: bool) -> Choice:
    """Return a choice not far from another."""
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
