"""Prequential replay against a slow one, and what it must never do: look ahead."""

import math
from dataclasses import replace

import numpy as np
import pytest

from recstream.core.popularity.popularity import Popularity
from recstream.errors import InvalidInput
from scripts.bench.prequential_replay.config import ReplayConfig
from scripts.bench.prequential_replay.evaluate import Prequential, evaluate, soft_hits, stream_of
from scripts.bench.prequential_replay.repeats import RepeatTable
from scripts.bench.prequential_replay.target_ranks import target_rank

SMALL = ReplayConfig(n_factors=4, iterations=3, update_every=8)
POPULARITY_ONLY = replace(SMALL, betas=(1e12,))


def made_up(n_events: int = 600, seed: int = 0, *, again: bool = False):
    """Two tastes: even users act on even items, odd users on odd ones."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 40, n_events)
    items = rng.integers(0, 30, n_events) * 2 + users % 2
    if not again:
        _, first = np.unique(users * 1000 + items, return_index=True)
        keep = np.sort(first)
        users, items = users[keep], items[keep]
    return stream_of(users, items, np.arange(len(users)))


def prior_and_return(prior: float, chance: float | None, _n_known: int) -> float:
    """Score of an item by popularity alone; the chance of a return is None for items not seen."""
    return prior + (chance or 0.0)


def return_alone(_prior: float, chance: float | None, n_known: int) -> float:
    """Score of an item by the chance of its return alone."""
    return 0.0 if chance is None else math.log(chance * n_known)


def slow_ranks(stream, begin: int, *, repeat: bool, score_of=prior_and_return) -> list[int]:
    """The protocol with dictionaries, for a score without factors and neighbours."""
    state, returns = Popularity.empty(int(stream.items.max()) + 1), RepeatTable.empty()
    history: dict[int, dict[int, list[int]]] = {}
    known: set[int] = set()
    ranks = []
    for e, (user, item) in enumerate(
        zip(stream.users.tolist(), stream.items.tolist(), strict=True)
    ):
        own = history.setdefault(user, {})
        events = sum(len(at) for at in own.values())
        order = list(own)
        counts = np.array([len(own[i]) for i in order], np.int64)
        ages = np.array([events - 1 - own[i][-1] for i in order], np.int64)
        chance = dict(zip(order, returns.probability(counts, ages), strict=True))
        worth = state.credit[:-1] / np.maximum(state.totals, 1e-300)
        prior = state.sums @ worth + state.credit[-1] / max(1, len(known))
        score = {
            i: score_of(prior[i], chance.get(i), len(known))
            for i in known
            if repeat or i not in own
        }
        if item in own and not repeat:
            ranks.append(-1)
        elif item not in known:
            ranks.append(0)
        else:
            ahead = [i for i in score if (-score[i], i) < (-score[item], item)]
            ranks.append(1 + len(ahead))
        returns = returns.observe(counts, ages, order.index(item) if item in own else -1)
        part = prior[item] / (prior[item] + chance[item]) if item in own and repeat else 1.0
        if item in known:
            step = part * max(5e-4, (50.0 + e) ** -0.7)
            expected = np.append(state.credit[:-1] * state.sums[item] / state.totals, 0.0)
            expected[-1] = state.credit[-1] / len(state.sums)
            credit = state.credit + step * (expected / expected.sum() - state.credit)
        else:
            credit = state.credit
        state = replace(state.observe([item]), credit=credit)
        known.add(item)
        own.setdefault(item, []).append(events)
    return ranks[begin:]


@pytest.mark.slow
@pytest.mark.parametrize("repeat", [False, True])
def test_popularity_alone_ranks_as_the_protocol_written_out(repeat: bool) -> None:
    stream = made_up(300, again=True)

    replay = evaluate(stream, replace(POPULARITY_ONLY, repeat=repeat), threads=1)

    expected = slow_ranks(stream, int(0.2 * len(stream)), repeat=repeat)
    assert replay.ranks.tolist() == expected


def test_a_return_is_ranked_by_its_probability_whatever_the_popularity_and_factors() -> None:
    stream = made_up(again=True)
    begin = int(0.2 * len(stream))
    config = replace(
        SMALL, repeat=True, betas=(0.0,), behaviour_weights=(0.0,), repeat_weights=(1e12,)
    )

    replay = evaluate(stream, config, threads=1)

    expected = slow_ranks(stream, begin, repeat=True, score_of=return_alone)
    pairs = list(zip(stream.users.tolist(), stream.items.tolist(), strict=True))
    returns = [e - begin for e in range(begin, len(pairs)) if pairs[e] in pairs[:e]]
    assert len(returns) > 100
    assert replay.ranks[returns].tolist() == [expected[at] for at in returns]


@pytest.mark.slow
def test_what_comes_later_changes_nothing_before() -> None:
    stream = made_up()
    cut = int(0.7 * len(stream))
    other = replace(stream, items=stream.items.copy())
    other.items[cut:] = other.items[cut:][::-1]

    one, two = (evaluate(s, SMALL, threads=1) for s in (stream, other))

    before = cut - int(0.2 * len(stream)) - SMALL.update_every
    np.testing.assert_array_equal(one.ranks[:before], two.ranks[:before])
    assert (one.ranks != two.ranks).any()


def test_events_after_the_stop_are_not_used() -> None:
    stream = made_up()

    part = evaluate(stream, SMALL, stop=0.6, threads=1)

    whole = evaluate(stream, SMALL, threads=1)
    batches = (len(part.ranks) // SMALL.update_every - 1) * SMALL.update_every
    np.testing.assert_array_equal(part.ranks[:batches], whole.ranks[:batches])


def test_tastes_are_found_that_popularity_can_not_know() -> None:
    stream = made_up(1500)

    ours = evaluate(stream, SMALL, threads=1)
    popular = evaluate(stream, POPULARITY_ONLY, threads=1)

    assert ours.recall(20) > 1.3 * popular.recall(20)


def test_the_same_stream_gives_the_same_ranks_again_and_leaves_it_unchanged() -> None:
    stream = made_up()
    users, items = stream.users.copy(), stream.items.copy()

    one, two = (evaluate(stream, SMALL, threads=1) for _ in range(2))

    np.testing.assert_array_equal(one.grid, two.grid)
    np.testing.assert_array_equal(stream.users, users)
    np.testing.assert_array_equal(stream.items, items)


def test_repeats_count_only_where_they_may_be_recommended() -> None:
    stream = made_up(400, again=True)

    without = evaluate(stream, SMALL, threads=1)
    with_them = evaluate(stream, replace(SMALL, repeat=True), threads=1)

    assert (without.ranks == -1).any()
    assert (with_them.ranks >= 0).all()


def test_progress_is_reported_at_each_training() -> None:
    told: list[float] = []

    replay = evaluate(made_up(), SMALL, threads=1, progress=told.append)

    assert len(told) == replay.trainings > 1
    assert told == sorted(told)


def test_recall_and_mrr_leave_out_repeats_and_count_unknown_items_as_misses() -> None:
    ranks = np.array([1, 11, 0, -1, 4], np.int32)
    replay = Prequential(ranks, ranks[:, None], 0.0, 1.0, np.zeros(1), 0)

    assert replay.recall(10) == 0.5
    assert replay.recall(20) == 0.75
    assert replay.mrr() == pytest.approx((1 + 1 / 11 + 0 + 1 / 4) / 4)


def test_nothing_counted_is_not_a_number() -> None:
    ranks = np.array([-1], np.int32)
    replay = Prequential(ranks, ranks[:, None], 0.0, 1.0, np.zeros(1), 0)

    assert math.isnan(replay.recall(10))
    assert math.isnan(replay.mrr())


def test_soft_hits_fall_from_one_and_are_half_at_eleven() -> None:
    assert soft_hits(np.array([1, 11, 0, -1], np.int32)).tolist() == [1.0, 0.5, 0.0, 0.0]


def test_a_stream_is_ordered_by_time_and_numbered_by_first_appearance() -> None:
    stream = stream_of(["b", "a", "b", "c"], [9, 9, 5, 5], [3, 2, 1, 2])

    assert stream.users.tolist() == [0, 1, 2, 0]
    assert stream.items.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stream_of([1], [1, 2], [1]), "must be vectors of one length"),
        (lambda: evaluate(made_up(), SMALL, warm_up=0.9, stop=0.5), "warm_up < stop"),
        (lambda: evaluate(stream_of([1], [1], [1]), SMALL), "before and after its warm-up"),
    ],
)
def test_bad_input_says_what_was_expected(call: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


def made_up_sessions(n_sessions: int = 400, seed: int = 0):
    """Short sessions along a ring of items that are all equally popular."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 60, n_sessions)
    users = np.repeat(np.arange(n_sessions), 3)
    items = (starts[:, None] + np.arange(3)).ravel() % 60
    return stream_of(users, items, np.arange(len(users)))


def test_what_follows_what_in_sessions_is_found() -> None:
    stream = made_up_sessions()

    ours = evaluate(stream, SMALL, threads=1)
    without = evaluate(stream, replace(SMALL, behaviour_weights=(0.0,)), threads=1)

    assert ours.behaviour_weight > 0.0
    assert ours.mrr() > 1.3 * without.mrr()


def test_a_weight_of_none_is_a_score_without_neighbours() -> None:
    stream = made_up_sessions(100)
    both = replace(SMALL, betas=(0.1, 0.2), behaviour_weights=(0.0, 3.0))

    with_them = evaluate(stream, both, threads=1)
    without = evaluate(stream, replace(both, behaviour_weights=(0.0,)), threads=1)

    assert both.options() == [(0.1, 0.0, 0.0), (0.1, 0.0, 3.0), (0.2, 0.0, 0.0), (0.2, 0.0, 3.0)]
    np.testing.assert_array_equal(with_them.grid[:, [0, 2]], without.grid)
    assert (with_them.grid[:, 1] != with_them.grid[:, 0]).any()


def test_places_are_those_of_sorting_the_score_written_out() -> None:
    rng = np.random.default_rng(7)
    n = 30
    dots, prior = rng.integers(0, 4, n) / 4, rng.random(n)
    seen = rng.random(n) < 0.3
    new_dots, returning = np.where(seen, 0.0, dots), np.where(seen, rng.random(n), 0.0)
    near = np.where(rng.random(n) < 0.5, rng.integers(0, 4, n) / 4, 0.0)
    allowed = rng.random(n) < 0.8
    options = np.array([[0.0, 1.0], [0.5, 0.0], [1e12, 2.0]])
    weights = np.array([0.0, 0.5, 8.0])

    for item in np.flatnonzero(allowed).tolist():
        ranks = np.zeros((3, 3), np.int32)
        target_rank(
            item, n, dots, new_dots, returning, near, prior, allowed, options, weights, ranks
        )  # fmt: skip

        for b, (beta, rho) in enumerate(options):
            for w, weight in enumerate(weights):
                own = new_dots if rho > 0 else dots
                score = own + beta * np.log(prior) + weight * near + rho * returning
                order = sorted(np.flatnonzero(allowed).tolist(), key=lambda i: (-score[i], i))
                assert ranks[b, w] == 1 + order.index(item)
