"""The product as a method of sessions.py: what it would know after the training sessions."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from fading import fading_weights
from prequential_replay import REPEAT_BINS, RepeatTable, ReplayConfig, count_repeats
from session_peers import Question, Scorer, Training

from recstream.core.als import ALS, typical_score
from recstream.core.history import Row, stack
from recstream.core.history.fold import FADE_ENTRIES
from recstream.core.neighbours import NeighbourScores, SeedRule, fit_behaviour, gather, seed_weights
from recstream.core.popularity import Popularity

DECAYS = (SeedRule().decay, 0.6, 0.4)
"""Grid of seed decays of ours."""


class Known(NamedTuple):
    """The parts of ours for one question, whatever each part is worth."""

    own: np.ndarray
    dots: np.ndarray
    log_prior: np.ndarray
    log_returning: np.ndarray
    near: dict[float, NeighbourScores]


class Ours:
    """What the product would know after the training sessions."""

    def __init__(self, training: Training, proportions: bool) -> None:
        self.n_items = training.n_items
        self.n_known = int((training.counts > 0).sum())
        self._known: dict[int, tuple[list[Question], list[Known]]] = {}
        rows = [entries_of(session.items, session.times) for session in training.sessions]
        matrix = stack(rows, training.n_items)
        options: dict[str, Any] = {}
        if proportions:
            options = (
                ReplayConfig()
                .proportions.objective(
                    n_items=training.n_items, mean_user_count=matrix.nnz / len(rows)
                )
                .as_dict()
            )
        self.model = ALS(64, seed=0, **options).fit(matrix)
        self.unit = typical_score(self.model, matrix)
        clicks = np.concatenate([session.items for session in training.sessions])
        times = np.concatenate([session.times for session in training.sessions])
        self.prior = (
            Popularity.empty(training.n_items)
            .observe(clicks[np.argsort(times, kind="stable")])
            .prior()
        )
        owners = np.repeat(np.arange(len(rows)), [len(columns) for columns, _ in rows])
        newest = [newest_of(session.items, session.times) for session in training.sessions]
        self.near = fit_behaviour(
            owners,
            np.concatenate([columns for columns, _ in rows]),
            np.concatenate(newest) * 1000,
            training.n_items,
        )
        self.returns = RepeatTable(np.zeros(REPEAT_BINS), np.zeros(REPEAT_BINS))
        for session in training.sessions:
            for at in range(1, len(session.items)):
                own, counts, ages = habits_of(session.items[:at])
                came = np.flatnonzero(own == session.items[at])
                count_repeats(
                    self.returns.hits, self.returns.chances, counts, ages,
                    int(came[0]) if len(came) else -1,
                )  # fmt: skip

    def scorer(self, beta: float, weight: float, decay: float, repeat_weight: float) -> Scorer:
        """Return the score of `prequential_replay.evaluate`, in typical scores."""

        def score(asked: list[Question]) -> Iterator[np.ndarray]:
            for known in self._prepared(asked):
                near = known.near[decay]
                scores = known.dots + beta * known.log_prior
                if repeat_weight > 0.0:
                    scores[known.own] += repeat_weight * known.log_returning - known.dots[known.own]
                scores[near.rows] += weight * near.total
                yield scores

        return score

    def _prepared(self, asked: list[Question]) -> list[Known]:
        """Return what scores of these questions are made of, whatever each part is worth."""
        if id(asked) not in self._known:
            rows = [entries_of(each.clicks, each.times) for each in asked]
            factors = self.model.fold_in(stack(rows, self.n_items))
            near = {
                decay: [
                    gather(each[0], seed_weights(*each, SeedRule(decay=decay)), [(self.near, 1.0)])
                    for each in rows
                ]
                for decay in DECAYS
            }
            prepared = []
            for at, (question, user) in enumerate(zip(asked, factors, strict=True)):
                own, counts, ages = habits_of(question.clicks)
                habits = self.returns.probability(counts, ages)
                prior = self.prior.copy()
                prior[own] += habits
                dots = (self.model.item_factors @ user).astype(np.float64) / self.unit
                added = {decay: near[decay][at] for decay in DECAYS}
                log_returning = np.log(habits * self.n_known)
                prepared.append(Known(own, dots, np.log(prior), log_returning, added))
            # The list is kept too, so that no other one can have its id.
            self._known[id(asked)] = asked, prepared
        return self._known[id(asked)][1]


def newest_of(items: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return when each of the distinct items was clicked last."""
    distinct, which = np.unique(items, return_inverse=True)
    newest = np.full(len(distinct), -np.inf)
    np.maximum.at(newest, which, times)
    return newest


def entries_of(items: np.ndarray, times: np.ndarray) -> Row:
    """Return a session as the row that its history would be."""
    distinct, counts = np.unique(items, return_counts=True)
    weights = counts * fading_weights(newest_of(items, times), FADE_ENTRIES)
    return distinct.astype(np.int32), weights.astype(np.float32)


def habits_of(items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distinct items, their clicks, and the clicks since."""
    own, counts = np.unique(items, return_counts=True)
    last = np.array([np.flatnonzero(items == item)[-1] for item in own.tolist()])
    return own, counts.astype(np.int64), (len(items) - 1 - last).astype(np.int64)
