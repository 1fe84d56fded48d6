"""The probability that users come back to an item."""

import numpy as np
import pytest

from scripts.bench.prequential_replay import RepeatTable


def test_returns_are_predicted_by_count_and_age() -> None:
    counts, ages = np.array([1, 5]), np.array([0, 9])
    state = RepeatTable.empty()

    for _ in range(2000):
        state = state.observe(counts, ages, 1)

    assert state.probability(counts, ages) == pytest.approx([0.01, 0.98], abs=0.02)


def test_a_table_of_returns_starts_from_a_small_chance_for_all() -> None:
    chance = RepeatTable.empty().probability(np.array([1, 2, 4, 9]), np.array([0, 1, 5, 5000]))

    assert chance == pytest.approx(np.full(4, 0.001))
