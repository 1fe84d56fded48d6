"""Histories in flat arrays against dictionaries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.bench.prequential_replay.interactions import InteractionStore

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40)


def slow_row(events: list[tuple[int, int]], user: int, half_life: float) -> dict[int, float]:
    """Each event halved once per half-life of newer events of the same user."""
    own = [item for who, item in events if who == user]
    row: dict[int, float] = {}
    for age, item in enumerate(reversed(own)):
        row[item] = row.get(item, 0.0) + 2.0 ** (-age / half_life)
    return row


def columns(events: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(events, np.int32).reshape(-1, 2)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])


@settings(max_examples=50)
@given(events=EVENTS, half_life=st.sampled_from([0.5, 3.0, math.inf]))
def test_a_users_row_holds_faded_sums_of_events(
    events: list[tuple[int, int]], half_life: float
) -> None:
    counted = InteractionStore(4, 5, 40, half_life)
    counted.count(*columns(events))

    matrix = counted.user_rows(np.arange(4, dtype=np.int32)).csr(5).toarray()

    for user in range(4):
        row = slow_row(events, user, half_life)
        for item in range(5):
            assert matrix[user, item] == pytest.approx(row.get(item, 0.0), rel=1e-6)


@settings(max_examples=30)
@given(events=EVENTS)
def test_an_items_row_is_the_matrix_by_columns(events: list[tuple[int, int]]) -> None:
    counted = InteractionStore(4, 5, 40, 2.0)
    counted.count(*columns(events))

    by_user = counted.user_rows(np.arange(4, dtype=np.int32)).csr(5).toarray()
    by_item = counted.item_rows(np.arange(5, dtype=np.int32)).csr(4).toarray()

    np.testing.assert_array_equal(by_user, by_item.T)
    np.testing.assert_array_equal(counted.user_counts, (by_user > 0).sum(axis=1))
    np.testing.assert_array_equal(counted.item_counts, (by_user > 0).sum(axis=0))


@settings(max_examples=30)
@given(events=EVENTS, cut=st.integers(0, 40))
def test_counting_returns_each_users_row_as_it_was_before_the_event(
    events: list[tuple[int, int]], cut: int
) -> None:
    counted = InteractionStore(4, 5, 40, 1.0)
    counted.count(*columns(events[:cut]))

    rows = counted.count(*columns(events[cut:]))

    for place, (user, _) in enumerate(events[cut:]):
        part = slice(rows.indptr[place], rows.indptr[place + 1])
        before = events[: cut + place]
        assert dict(
            zip(rows.indices[part].tolist(), rows.weights[part].tolist(), strict=True)
        ) == pytest.approx(slow_row(before, user, 1.0), rel=1e-6)
        assert rows.counts[part].sum() == sum(who == user for who, _ in before)
