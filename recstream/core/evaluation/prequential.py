"""Beside the flow: how good lists would have been, event by event: recommend, check, learn.

`evaluate` replays a stream in the order of time. Before an event counts, its user is folded in from
the history so far and all known items are scored as the product scores them::

    score_ui = x_u · y_i + w near_ui + β log(prior_i)                 (items not seen)
    score_ui = g x_u · y_i + w near_ui + β log(prior_i + h_ui)        (seen items, with `repeat`)

``near`` is `recstream.core.neighbours.behaviour.gather` of what comes close to what in histories,
``prior`` is `recstream.core.popularity.popularity.Popularity`, ``h_ui`` the chance of a return,
`recstream.core.popularity.repeats.RepeatTable`. The place of the item
that came is noted; then the event is counted, its user and its item are folded in, and from time
to time the model is trained again from where it stands, and neighbours anew.

β, g and w come from a grid: all are ranked with, and what did best *so far* is in force. A figure
therefore never depends on an event that was still to come.

Folding in happens every `Recipe.update_every` events, as deltas do in the product; histories,
popularity and what is seen are exact at every event.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALS, ALSModel, typical_score
from recstream.core.evaluation.interactions import Rows, Tally
from recstream.core.evaluation.replay_config import Recipe
from recstream.core.evaluation.target_ranks import replay_events
from recstream.core.neighbours import Neighbours, fit_behaviour
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s
from recstream.core.popularity import REPEAT_BINS
from recstream.errors import InvalidInput

__all__ = ["Prequential", "Stream", "evaluate", "soft_hits", "stream_of"]


@dataclass(frozen=True)
class Stream:
    """Events in the order of time, users and items numbered as they first appear."""

    users: Int32s
    items: Int32s

    def __len__(self) -> int:
        return len(self.users)


def stream_of(users: object, items: object, times: object) -> Stream:
    """Return the stream of a table of events; events of one time keep their order.

    >>> stream_of(["b", "a", "b"], [7, 7, 5], [2, 3, 1]).users
    array([0, 0, 1], dtype=int32)
    """
    columns = [np.asarray(column) for column in (users, items, times)]
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        msg = f"users, items and times must be vectors of one length, got {[c.shape for c in columns]}"
        raise InvalidInput(msg)
    order = np.argsort(columns[2], kind="stable")
    return Stream(_numbered(columns[0][order]), _numbered(columns[1][order]))


def _numbered(labels: NDArray[np.generic]) -> Int32s:
    """Return each label as a number, counted in the order of first appearance."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int32)
    number[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return number[which]


@dataclass(frozen=True)
class Prequential:
    """What came of a replay.

    Attributes
    ----------
    ranks : (n,) int32
        Place of each event's item, from 1; 0 where it could not be ranked because nobody had seen
        it yet, -1 for events left out: repeats where `Recipe.repeat` is off.
    grid : (n, n_options) int32
        The same for each of `Recipe.options`.
    beta : float
        In force at the end.
    own_gain : float
        g, likewise.
    credit : (K + 1,) float64
        Of the memories at the end.
    trainings : int
    behaviour_weight : float
        w, likewise.
    """

    ranks: Int32s
    grid: Int32s
    beta: float
    own_gain: float
    credit: Float64s
    trainings: int
    behaviour_weight: float = 0.0

    def recall(self, k: int) -> float:
        """Return the share of events whose item stood in the first k places."""
        counted = self.ranks[self.ranks >= 0]
        return float(((counted > 0) & (counted <= k)).mean()) if len(counted) else math.nan

    def mrr(self) -> float:
        """Return the mean of one over the place; 0 for an item that could not be ranked."""
        counted = self.ranks[self.ranks >= 0].astype(np.float64)
        return (
            float(np.divide(1.0, counted, where=counted > 0, out=counted).mean())
            if len(counted)
            else math.nan
        )


def soft_hits(ranks: Int32s) -> Float64s:
    """Return ``10 / (9 + rank)``, 0 for what was not ranked: recall@10 with less noise."""
    return np.where(ranks > 0, 10.0 / (9.0 + np.maximum(ranks, 1)), 0.0)


@dataclass
class _Prior:
    """The arrays of a `Popularity` and of `RepeatTable`, in place."""

    sums: Float64s
    totals: Float64s
    credit: Float64s
    landmark: Float64s
    half_lives: Float64s
    hits: Float64s
    chances: Float64s
    known: NDArray[np.bool_]
    clock: int = 0


def evaluate(
    stream: Stream,
    recipe: Recipe,
    *,
    warm_up: float = 0.2,
    train_from: float = 0.5,
    stop: float = 1.0,
    threads: int | None = None,
    progress: Callable[[float], object] | None = None,
) -> Prequential:
    """Replay a stream and return the places of the items that came.

    Parameters
    ----------
    stream : Stream
    recipe : Recipe
    warm_up, stop : float
        Events of this part of the stream are learned from without counting in the result; events
        after `stop` are not used at all.
    train_from : float
        Part of the warm-up after which the first model is trained; the rest of the warm-up is
        recommended for and checked like what follows, to choose β.
    threads : int, optional
        For training; fold-in takes one.
    progress : callable, optional
        Called with the part done, after each training.
    """
    if not (0.0 < warm_up < stop <= 1.0 and 0.0 < train_from <= 1.0):
        msg = f"warm_up < stop must lie in (0, 1], train_from too, got {warm_up}, {stop}, {train_from}"
        raise InvalidInput(msg)
    n_events, begin = int(stop * len(stream)), int(warm_up * len(stream))
    first = max(1, int(train_from * begin))
    if begin < 1 or n_events <= begin:
        msg = f"a stream must have events before and after its warm-up, got {len(stream)} events"
        raise InvalidInput(msg)
    run = _Run(stream, recipe, n_events, threads)
    run.count_only(0, first)
    options = recipe.options()
    gains = np.zeros(len(options))
    grid = np.zeros((n_events, len(options)), np.int32)
    ranks = np.zeros(n_events, np.int32)
    best, next_training, trainings = 0, first, 0
    for at in range(first, n_events, recipe.update_every):
        if at >= next_training:
            run.train()
            trainings += 1
            next_training = at + max(1, int(recipe.grow * at))
            best = int(np.argmax(gains))
            if progress is not None:
                progress(at / n_events)
        part = slice(at, min(at + recipe.update_every, n_events))
        grid[part] = run.step(part)
        ranks[part] = grid[part, best]
        gains += soft_hits(grid[part]).sum(axis=0)
    beta, own_gain, behaviour_weight = options[int(np.argmax(gains))]
    return Prequential(
        ranks[begin:],
        grid[begin:],
        beta,
        own_gain,
        run.prior.credit,
        trainings,
        behaviour_weight,
    )


class _Run:
    """The state of one replay."""

    def __init__(self, stream: Stream, recipe: Recipe, n_events: int, threads: int | None) -> None:
        self.stream, self.recipe = stream, recipe
        n_users = int(stream.users[:n_events].max()) + 1
        n_items = int(stream.items[:n_events].max()) + 1
        n_memories = len(recipe.half_lives)
        self.tally = Tally(n_users, n_items, n_events, recipe.history_half_life)
        self.prior = _Prior(
            np.zeros((n_items, n_memories)),
            np.zeros(n_memories),
            np.full(n_memories + 1, 1.0 / (n_memories + 1)),
            np.zeros(n_memories),
            np.asarray(recipe.half_lives, np.float64),
            np.zeros(REPEAT_BINS),
            np.zeros(REPEAT_BINS),
            np.zeros(n_items, np.bool_),
        )
        self.user_factors = np.zeros((n_users, recipe.n_factors), np.float32)
        pairs = [(beta, gain) for beta, gain, weight in recipe.options()]
        self.options = np.array(pairs[:: len(recipe.behaviour_weights)], np.float64)
        self.behaviour_weights = np.array(recipe.behaviour_weights, np.float64)
        self.near = Neighbours.empty(n_items)
        self.model: ALSModel | None = None
        self.threads = threads
        self.unit = 1.0

    def _known(self, stop: int) -> tuple[int, int]:
        """Return how many users and items have appeared before an event."""
        return (
            int(self.stream.users[:stop].max(initial=-1)) + 1,
            int(self.stream.items[:stop].max(initial=-1)) + 1,
        )

    def count_only(self, first: int, last: int) -> None:
        """Learn histories and popularity from events without recommending."""
        for at in range(first, last, 128):
            self._rank(slice(at, min(at + 128, last)), None, None)

    def train(self) -> None:
        """Train on the histories so far, from the present factors if there are any."""
        n_users, n_items = self._known(self.prior.clock)
        everyone = np.arange(n_users, dtype=np.int32)
        rows = self.tally.user_rows(everyone)
        objective = self.recipe.proportions.objective(
            n_items=n_items, mean_user_count=len(rows.indices) / n_users
        )
        als = ALS(
            self.recipe.n_factors,
            regularization=objective.regularization,
            unobserved_weight=objective.unobserved_weight,
            regularization_exponent=objective.regularization_exponent,
            positive_exponents=objective.positive_exponents,
            missing_exponents=objective.missing_exponents,
            iterations=self.recipe.iterations
            if self.model is None
            else max(2, self.recipe.iterations // 4),
            seed=self.recipe.seed,
            threads=self.threads,
        )
        matrix = rows.csr(n_items)
        self.model = als.fit(matrix, init=self.model)
        if self.model.user_factors is not None:
            self.user_factors[:n_users] = self.model.user_factors
        self.unit = typical_score(self.model, matrix)
        if self.behaviour_weights.any():
            self.near = fit_behaviour(
                *self.tally.entries(), len(self.near), threads=self.threads or 1
            )

    def step(self, part: slice) -> Int32s:
        """Recommend, check and learn for a batch of events; return the places for every option."""
        model = self.model
        if model is None:
            msg = "a replay must be trained before its first step"
            raise InvalidInput(msg)
        n_users, n_items = self._known(part.stop)
        if n_items > model.n_items:
            new = np.arange(model.n_items, n_items, dtype=np.int32)
            model = model.with_items(new, np.zeros((len(new), model.n_factors), np.float32))
        ranks = self._rank(part, model, n_items)
        users = np.unique(self.stream.users[part])
        items = np.unique(self.stream.items[part])
        self.user_factors[users] = model.fold_in(self.tally.user_rows(users).csr(n_items))
        factors = model.fold_in_items(
            self.tally.item_rows(items).csr(n_users),
            user_factors=self.user_factors[:n_users],
            user_counts=self.tally.user_counts[:n_users],
        )
        self.model = model.with_items(items, factors, counts=self.tally.item_counts[items])
        return ranks

    def _rank(self, part: slice, model: ALSModel | None, n_items: int | None) -> Int32s:
        """Count events; with a model, find the places of their items first."""
        users, items = self.stream.users[part], self.stream.items[part]
        rows = self.tally.count(users, items)
        if model is None or n_items is None:
            scores = np.zeros((len(users), 0), np.float32)
        else:
            scores = model.fold_in(rows.csr(n_items)) @ model.item_factors.T
        ranks = np.zeros((len(users), len(self.options), len(self.behaviour_weights)), np.int32)
        grid = _Grid(self.options * [self.unit, 1.0], self.behaviour_weights * self.unit)
        _replay(self.prior, items, rows, scores, self.near, grid, self.recipe.repeat, ranks)
        return ranks.reshape(len(users), -1)


class _Grid(NamedTuple):
    """Options in the size of this model's scores: pairs of β and g, and each w."""

    options: Float64s
    behaviour_weights: Float64s


def _replay(
    prior: _Prior,
    items: Int32s,
    rows: Rows,
    scores: Float32s,
    near: Neighbours,
    grid: _Grid,
    repeat: bool,
    ranks: Int32s,
) -> None:
    """Rank and count a batch of events in compiled code."""
    replay_events(
        items, rows.indptr, rows.indices, rows.weights, rows.counts, rows.ages, scores,
        near.rows, near.weights, *grid, repeat,
        prior.sums, prior.totals, prior.credit, prior.landmark, prior.half_lives,
        prior.hits, prior.chances, prior.known, prior.clock, ranks,
    )  # fmt: skip
    prior.clock += len(items)
