"""The popularity prior against sums written out, and its invariants."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.popularity.order import in_order
from recstream.core.popularity.popularity import Popularity, changed_rows, fit_popularity
from recstream.errors import InvalidInput
from scripts.bench.fading import fading_weights


def slow_shares(items: list[int], n_items: int, half_life: float) -> np.ndarray:
    """Each event halved once per half-life of events after it."""
    counts = np.zeros(n_items)
    for age, item in enumerate(reversed(items)):
        counts[item] += 2.0 ** (-age / half_life)
    return counts / counts.sum()


@settings(max_examples=40)
@given(
    items=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    half_life=st.sampled_from([0.5, 1.0, 7.0, math.inf]),
)
def test_a_memory_holds_decayed_counts(items: list[int], half_life: float) -> None:
    state = Popularity.empty(6, (half_life,)).observe(items)

    shares = state.sums[:, 0] / state.totals[0]

    np.testing.assert_allclose(shares, slow_shares(items, 6, half_life), rtol=1e-12, atol=1e-300)


def test_shares_survive_more_half_lives_than_a_float_has_room_for() -> None:
    items = list(np.random.default_rng(0).integers(0, 4, 5000))

    state = Popularity.empty(4, (0.5, 3.0)).observe(items)

    assert np.isfinite(state.sums).all()
    for k, half_life in enumerate((0.5, 3.0)):
        expected = slow_shares(items[-2000:], 4, half_life)
        np.testing.assert_allclose(state.sums[:, k] / state.totals[k], expected, atol=1e-9)


@settings(max_examples=30)
@given(items=st.lists(st.integers(0, 9), max_size=80), cut=st.integers(0, 80))
def test_events_at_once_or_in_parts_leave_the_same_bits(items: list[int], cut: int) -> None:
    whole = Popularity.empty(10).observe(items)
    parts = Popularity.empty(10).observe(items[:cut]).observe(items[cut:])

    for name in ("sums", "totals", "credit", "landmark"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    assert whole.clock == parts.clock == len(items)


def test_observing_leaves_the_old_state_as_it_was() -> None:
    before = Popularity.empty(2).observe([0])
    sums = before.sums.copy()

    before.observe([1, 3])

    np.testing.assert_array_equal(before.sums, sums)
    assert before.n_items == 2


@settings(max_examples=30)
@given(items=st.lists(st.integers(0, 9), min_size=1, max_size=80))
def test_priors_and_credits_add_up_to_one(items: list[int]) -> None:
    state = Popularity.empty(10).observe(items)

    assert state.prior().sum() == pytest.approx(1.0)
    assert state.credit.sum() == pytest.approx(1.0)


def test_credit_goes_to_the_memory_that_predicted_the_event() -> None:
    runs = np.repeat(np.random.default_rng(1).integers(0, 50, 400), 10)
    mixed = np.random.default_rng(1).permutation(runs)

    short = Popularity.empty(50, (2.0, math.inf))

    assert short.observe(runs).credit[0] > 0.5
    assert short.observe(mixed).credit[0] < 0.2


def test_a_bias_ranks_like_the_prior_and_is_zero_at_the_average() -> None:
    state = Popularity.empty(3, (math.inf,)).observe([0, 0, 0, 1, 1, 2, 2, 0])

    bias = state.bias(0.5)

    assert bias.argsort().tolist() == state.prior().argsort().tolist()
    assert bias == pytest.approx(0.5 * np.log(3 * state.prior()), abs=1e-6)


def test_a_state_from_entries_depends_on_their_times_not_on_their_order() -> None:
    items, at_ms = np.array([3, 1, 2, 1]), np.array([40, 10, 30, 20])
    shuffle = np.array([2, 0, 3, 1])

    one = fit_popularity(items, at_ms, 4)
    other = fit_popularity(items[shuffle], at_ms[shuffle], 4)

    np.testing.assert_array_equal(one.sums, other.sums)
    np.testing.assert_array_equal(one.sums, Popularity.empty(4).observe([1, 1, 2, 3]).sums)


def test_entries_of_one_time_give_no_credit_to_short_memories() -> None:
    """Items by row would follow each other, as if each event foretold the next one."""
    generator = np.random.default_rng(0)
    items = generator.zipf(1.4, 4_000) % 50
    at_ms = np.repeat([7, 9], 2_000)

    by_row, spread = (fit_popularity(items, at_ms, 50, version=version) for version in (1, 2))
    shuffled = fit_popularity(items[::-1], at_ms[::-1], 50)

    assert by_row.credit[0] > 0.9
    assert spread.credit[:3].sum() < 0.01
    np.testing.assert_array_equal(shuffled.sums, spread.sums)
    # The last memory never forgets: its counts do not depend on the order.
    np.testing.assert_array_equal(spread.sums[:, -1], by_row.sums[:, -1])


@pytest.mark.parametrize("times", [[5, 3, 3, 3, 8], [5.5, 3.5, 3.5, 3.5, 8.5]])
def test_only_times_with_an_item_twice_are_spread(times: list[float]) -> None:
    at = np.array(times)
    once, twice = np.array([4, 2, 1, 0, 4]), np.array([4, 1, 1, 0, 4])

    assert in_order(once, at).tolist() == [0, 1, 2, 4, 4]
    assert in_order(twice, at, 1).tolist() == [0, 1, 1, 4, 4]
    # 0 at 0 / 1, 1 at .618 / 2 and 1.618 / 2.
    assert in_order(twice, at).tolist() == [0, 1, 1, 4, 4]
    assert in_order(np.array([4, 1, 1, 2, 4]), at).tolist() == [2, 1, 1, 4, 4]
    assert in_order(np.array([4, 1, 1, 5, 4]), at).tolist() == [5, 1, 1, 4, 4]


def test_no_entries_have_an_order() -> None:
    assert in_order(np.array([], np.int64), np.array([], np.int64)).tolist() == []


def test_a_state_from_entries_can_start_with_earlier_credit() -> None:
    credit = np.array([0.0, 1.0, 0.0])

    state = fit_popularity([0], [1], 2, credit, (1.0, math.inf))

    np.testing.assert_array_equal(state.credit, credit)


def test_untouched_items_share_what_items_touched_once_had() -> None:
    # 2 of 8 events are the only ones of their item; 4 items wait. The rest is as popular as before.
    state = Popularity.empty(8).observe([0, 0, 0, 0, 1, 1, 2, 3])

    bias = state.bias(0.5)

    assert state.cold_item_prior() == pytest.approx(2 / 8 / 4)
    assert bias[4:] == pytest.approx(0.5 * np.log(8 * np.maximum(state.prior()[4:], 2 / 8 / 4)))
    assert bias[:2] == pytest.approx(0.5 * np.log(8 * state.prior()[:2]), abs=1e-6)
    assert state.bias(0.5, np.array([99]), 8) == pytest.approx(bias[7:])


def test_no_newcomer_is_worth_more_than_an_average_item() -> None:
    state = Popularity.empty(4).observe([0, 1, 2])

    assert state.cold_item_prior() == pytest.approx(1 / 4)
    assert state.bias(1.0)[3] <= 1e-6
    assert Popularity.empty(4).cold_item_prior() == 0.0
    assert Popularity.empty(4, (2.0,)).observe([0, 1]).cold_item_prior() == 0.0


def test_only_biases_that_moved_are_published() -> None:
    old, new = np.array([0.0, 1.0, 2.0], np.float32), np.array([0.05, 1.5, 2.0, 9.0], np.float32)

    assert changed_rows(old, new, 0.1).tolist() == [1, 3]


def test_weights_fade_by_newer_entries_not_by_hours() -> None:
    assert fading_weights([1000, 1, 2], 1.0).tolist() == [1.0, 0.25, 0.5]
    assert fading_weights([5, 5, 1], 1.0).tolist() == [1.0, 1.0, 0.25]
    assert fading_weights([5, 1], math.inf).tolist() == [1.0, 1.0]
    assert fading_weights([], 3.0).tolist() == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Popularity.empty(3, (0.0,)), "half_lives must be numbers above 0"),
        (lambda: Popularity.empty(3, ()), "half_lives must be numbers above 0"),
        (lambda: Popularity.empty(3).observe([-1]), "items must be a vector of rows"),
        (lambda: Popularity.empty(3).bias(math.nan), "beta must be a finite number"),
        (lambda: fit_popularity([1], [1, 2], 3), "must be of one length"),
        (lambda: fading_weights([1], 0.0), "half_life must be above 0"),
    ],
)
def test_bad_input_names_the_argument(call: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
