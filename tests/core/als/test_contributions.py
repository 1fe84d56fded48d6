"""Shares of a score against the equation written out."""

import itertools

import numpy as np
import pytest

from recstream.core.als.contributions import score_contributions
from recstream.core.numeric.jit import compiled

_compiled = compiled(score_contributions)


def contributions(near, weights, target, diagonal):
    rows = np.arange(len(near) + len(target), dtype=np.int32)
    factors = np.concatenate([near, target])
    return _compiled(factors, rows[: len(near)], weights, rows[len(near) :], diagonal)


def normal(rng, size):
    return rng.standard_normal(size, np.float32)


@pytest.mark.parametrize(("h", "d"), [(0, 3), (1, 1), (5, 8), (40, 6)])
def test_shares_are_those_of_the_normal_equation(h, d):
    rng = np.random.Generator(np.random.PCG64(h + d))
    near, weights = normal(rng, (h, d)), rng.random(h)
    target, diagonal = normal(rng, (4, d)), 0.1 + rng.random(d)

    shares = contributions(near, weights, target, diagonal)

    near, target = near.astype(np.float64), target.astype(np.float64)
    system = np.diag(diagonal) + (near.T * weights) @ near
    expected = target @ np.linalg.inv(system) @ (near.T * weights)
    np.testing.assert_allclose(shares, expected, rtol=1e-9, atol=1e-12)


def test_shares_of_an_item_do_not_depend_on_the_list_it_is_in():
    rng = np.random.Generator(np.random.PCG64(0))
    near, weights = normal(rng, (20, 5)), rng.random(20)
    target, diagonal = normal(rng, (6, 5)), np.ones(5)

    together = contributions(near, weights, target, diagonal)

    for at in range(6):
        alone = contributions(near, weights, target[at : at + 1], diagonal)
        assert alone[0].tobytes() == together[at].tobytes()


def factored(near, weights, diagonal):
    """Return the Cholesky factor of the normal equation, every sum in the order of its index."""
    d, lower = len(diagonal), np.diag(diagonal)
    for i, a in itertools.product(range(len(near)), range(d)):
        for b in range(a + 1):
            lower[a, b] += (weights[i] * near[i, a]) * near[i, b]
    for a in range(d):
        for b in range(a + 1):
            for c in range(b):
                lower[a, b] -= lower[a, c] * lower[b, c]
            lower[a, b] = np.sqrt(lower[a, a]) if a == b else lower[a, b] / lower[b, b]
    return lower


def test_every_sum_of_shares_runs_in_the_order_of_its_index():
    rng = np.random.Generator(np.random.PCG64(3))
    near, weights = normal(rng, (9, 4)), rng.random(9)
    target, diagonal = normal(rng, 4), 0.1 + rng.random(4)
    exact = near.astype(np.float64)
    lower, row = factored(exact, weights, diagonal), target.astype(np.float64)
    for a in range(4):
        for c in range(a):
            row[a] -= lower[a, c] * row[c]
        row[a] /= lower[a, a]
    for a in reversed(range(4)):
        row[a] /= lower[a, a]
        for c in range(a):
            row[c] -= lower[a, c] * row[a]
    expected = np.zeros(9)
    for i, a in itertools.product(range(9), range(4)):
        expected[i] += exact[i, a] * row[a]
    expected *= weights

    shares = contributions(near, weights, target[None], diagonal)

    assert shares[0].tobytes() == expected.tobytes()
