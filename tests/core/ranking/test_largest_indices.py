"""The reasons of a list: the largest contributions of each item."""

import numpy as np
import pytest

from recstream.core.ranking.recommendations import largest_indices


@pytest.mark.parametrize("n", [0, 1, 3, 6])
def test_the_largest_places_are_those_of_a_stable_sort(n):
    rng = np.random.Generator(np.random.PCG64(n))
    values = rng.integers(0, 4, size=(50, 6)).astype(np.float64)

    places = largest_indices(values, n)

    assert places.tolist() == np.argsort(-values, axis=1, kind="stable")[:, :n].tolist()
