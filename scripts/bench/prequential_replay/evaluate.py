"""Prequential evaluation: recommend, check, learn, for each event of a stream.

`evaluate` replays a stream in the order of time. Before an event is counted, its user is folded in from
the history so far, and all known items are scored as in production::

    score_ui = x_u · y_i + w near_ui + β log(prior_i + h_ui)      # not seen, or ρ = 0
    score_ui = ρ log(h_ui n) + w near_ui + β log(prior_i + h_ui)  # seen, ρ > 0

``near`` is the score of behaviour neighbours (`recstream.core.neighbours.behaviour.gather`),
``prior`` is `recstream.core.popularity.popularity.Popularity`, and ``h_ui`` the probability of a repeat,
`RepeatTable`; 0 for items not seen; n is the number of known items. Seen items are ranked with
`ReplayConfig.repeat` only. The rank of the event's item is recorded. Then the event
is counted, and its user and item are folded in. At intervals the model is trained again from the present
factors, and the neighbours are fitted again.

β, ρ and w come from a grid. Every combination ranks every event; the one that was best *so far* is used.
A result therefore never depends on later events.

Fold-in happens every `ReplayConfig.update_every` events, as deltas do in production. Histories,
popularity and seen items are exact at every event.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.als import ALS, ALSModel, typical_score
from recstream.core.neighbours import Neighbours, SeedRule, fit_behaviour
from recstream.core.numeric.arrays import Float32s, Float64s, Int32s
from recstream.errors import InvalidInput

from .config import ReplayConfig
from .interactions import EntryRows, InteractionStore
from .repeats import REPEAT_BINS
from .target_ranks import replay_events

__all__ = ["Prequential", "Stream", "evaluate", "soft_hits", "stream_of"]


@dataclass(frozen=True)
class Stream:
    """Events in the order of time; users and items are numbered by first appearance."""

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
    """The result of a replay.

    Attributes
    ----------
    ranks : (n,) int32
        Rank of each event's item, from 1; 0 if the item was unknown, -1 for events that are not
        evaluated: repeats where `ReplayConfig.repeat` is off.
    grid : (n, n_options) int32
        The same for each of `ReplayConfig.options`.
    beta : float
        β at the end.
    repeat_weight : float
        ρ at the end.
    credit : (K + 1,) float64
        Weights of the popularity memories at the end.
    behaviour_weight : float
        w at the end.
    """

    ranks: Int32s
    grid: Int32s
    beta: float
    repeat_weight: float
    credit: Float64s
    trainings: int
    behaviour_weight: float = 0.0

    def recall(self, k: int) -> float:
        """Return recall@k: the share of events whose item had a rank of at most k."""
        counted = self.ranks[self.ranks >= 0]
        return float(((counted > 0) & (counted <= k)).mean()) if len(counted) else math.nan

    def mrr(self) -> float:
        """Return the mean reciprocal rank; unknown items count as 0."""
        counted = self.ranks[self.ranks >= 0].astype(np.float64)
        return (
            float(np.divide(1.0, counted, where=counted > 0, out=counted).mean())
            if len(counted)
            else math.nan
        )


def soft_hits(ranks: Int32s) -> Float64s:
    """Return ``10 / (9 + rank)``, 0 for unranked events: a smooth form of recall@10."""
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
    config: ReplayConfig,
    *,
    warm_up: float = 0.2,
    train_from: float = 0.5,
    stop: float = 1.0,
    threads: int | None = None,
    progress: Callable[[float], object] | None = None,
) -> Prequential:
    """Replay a stream and return the rank of each event's item.

    Parameters
    ----------
    warm_up, stop : float
        Events before `warm_up` are learned from but not evaluated; events after `stop` are not used.
        Parts of the stream.
    train_from : float
        Part of the warm-up before the first training. The rest of the warm-up is ranked to choose
        β, ρ and w.
    threads : int, optional
        For training; fold-in uses one.
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
    run = _Run(stream, config, n_events, threads)
    run.count_only(0, first)
    options = config.options()
    gains = np.zeros(len(options))
    grid = np.zeros((n_events, len(options)), np.int32)
    ranks = np.zeros(n_events, np.int32)
    best, next_training, trainings = 0, first, 0
    for at in range(first, n_events, config.update_every):
        if at >= next_training:
            run.train()
            trainings += 1
            next_training = at + max(1, int(config.grow * at))
            best = int(np.argmax(gains))
            if progress is not None:
                progress(at / n_events)
        part = slice(at, min(at + config.update_every, n_events))
        grid[part] = run.step(part)
        ranks[part] = grid[part, best]
        gains += soft_hits(grid[part]).sum(axis=0)
    beta, repeat_weight, behaviour_weight = options[int(np.argmax(gains))]
    return Prequential(
        ranks[begin:],
        grid[begin:],
        beta,
        repeat_weight,
        run.prior.credit,
        trainings,
        behaviour_weight,
    )


class _Run:
    """The state of one replay."""

    def __init__(
        self, stream: Stream, config: ReplayConfig, n_events: int, threads: int | None
    ) -> None:
        self.stream, self.config = stream, config
        n_users = int(stream.users[:n_events].max()) + 1
        n_items = int(stream.items[:n_events].max()) + 1
        n_memories = len(config.half_lives)
        self.store = InteractionStore(n_users, n_items, n_events, config.history_half_life)
        self.prior = _Prior(
            np.zeros((n_items, n_memories)),
            np.zeros(n_memories),
            np.full(n_memories + 1, 1.0 / (n_memories + 1)),
            np.zeros(n_memories),
            np.asarray(config.half_lives, np.float64),
            np.zeros(REPEAT_BINS),
            np.zeros(REPEAT_BINS),
            np.zeros(n_items, np.bool_),
        )
        self.user_factors = np.zeros((n_users, config.n_factors), np.float32)
        pairs = [pair for *pair, _ in config.options()]
        self.options = np.array(pairs[:: len(config.behaviour_weights)], np.float64)
        self.behaviour_weights = np.array(config.behaviour_weights, np.float64)
        self.near = Neighbours.empty(n_items)
        self.model: ALSModel | None = None
        self.threads = threads
        self.unit = 1.0

    def _known(self, stop: int) -> tuple[int, int]:
        """Return the number of users and items before an event."""
        return (
            int(self.stream.users[:stop].max(initial=-1)) + 1,
            int(self.stream.items[:stop].max(initial=-1)) + 1,
        )

    def count_only(self, first: int, last: int) -> None:
        """Count events without ranking."""
        for at in range(first, last, 128):
            self._rank(slice(at, min(at + 128, last)), None, None)

    def train(self) -> None:
        """Train on the histories so far, warm-started if there is a model."""
        n_users, n_items = self._known(self.prior.clock)
        everyone = np.arange(n_users, dtype=np.int32)
        rows = self.store.user_rows(everyone)
        objective = self.config.proportions.objective(
            n_items=n_items, mean_user_count=len(rows.indices) / n_users
        )
        als = ALS(
            self.config.n_factors,
            regularization=objective.regularization,
            unobserved_weight=objective.unobserved_weight,
            regularization_exponent=objective.regularization_exponent,
            positive_exponents=objective.positive_exponents,
            missing_exponents=objective.missing_exponents,
            iterations=self.config.iterations
            if self.model is None
            else max(2, self.config.iterations // 4),
            seed=self.config.seed,
            threads=self.threads,
        )
        matrix = rows.csr(n_items)
        self.model = als.fit(matrix, init=self.model)
        if self.model.user_factors is not None:
            self.user_factors[:n_users] = self.model.user_factors
        self.unit = typical_score(self.model, matrix)
        if self.behaviour_weights.any():
            self.near = fit_behaviour(
                *self.store.entries(), len(self.near), threads=self.threads or 1
            )

    def step(self, part: slice) -> Int32s:
        """Rank and learn a batch of events; return the ranks for every option."""
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
        self.user_factors[users] = model.fold_in(self.store.user_rows(users).csr(n_items))
        factors = model.fold_in_items(
            self.store.item_rows(items).csr(n_users),
            user_factors=self.user_factors[:n_users],
            user_counts=self.store.user_counts[:n_users],
        )
        self.model = model.with_items(items, factors, counts=self.store.item_counts[items])
        return ranks

    def _rank(self, part: slice, model: ALSModel | None, n_items: int | None) -> Int32s:
        """Count events; with a model, rank their items first."""
        users, items = self.stream.users[part], self.stream.items[part]
        rows = self.store.count(users, items)
        if model is None or n_items is None:
            scores = np.zeros((len(users), 0), np.float32)
        else:
            scores = model.fold_in(rows.csr(n_items)) @ model.item_factors.T
        ranks = np.zeros((len(users), len(self.options), len(self.behaviour_weights)), np.int32)
        grid = _Grid(
            SeedRule(decay=self.config.seed_decay),
            self.options * self.unit,
            self.behaviour_weights * self.unit,
        )
        _replay(self.prior, items, rows, scores, self.near, grid, self.config.repeat, ranks)
        return ranks.reshape(len(users), -1)


class _Grid(NamedTuple):
    """Seeds, and options scaled to this model's scores: pairs of β and ρ, and each w."""

    seeds: SeedRule
    options: Float64s
    behaviour_weights: Float64s


def _replay(
    prior: _Prior,
    items: Int32s,
    rows: EntryRows,
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
