"""Shares of a score against the equation written out."""

from __future__ import annotations

import numpy as np
import pytest

from recstream.core.kernels.shares import list_shares


@pytest.mark.parametrize(("h", "d"), [(0, 3), (1, 1), (5, 8), (40, 6)])
def test_shares_are_those_of_the_normal_equation(h, d):
    rng = np.random.Generator(np.random.PCG64(h + d))
    near, weights = rng.normal(size=(h, d)), rng.random(h)
    target, diagonal = rng.normal(size=(4, d)), 0.1 + rng.random(d)

    shares = list_shares(near, weights, target, diagonal)

    system = np.diag(diagonal) + (near.T * weights) @ near
    expected = target @ np.linalg.inv(system) @ (near.T * weights)
    np.testing.assert_allclose(shares, expected, rtol=1e-9, atol=1e-12)


def test_shares_of_an_item_do_not_depend_on_the_list_it_is_in():
    rng = np.random.Generator(np.random.PCG64(0))
    near, weights = rng.normal(size=(20, 5)), rng.random(20)
    target, diagonal = rng.normal(size=(6, 5)), np.ones(5)

    together = list_shares(near, weights, target, diagonal)

    for at in range(6):
        alone = list_shares(near, weights, target[at : at + 1], diagonal)
        assert alone[0].tobytes() == together[at].tobytes()
