"""The weights of behaviour and popularity are chosen by what ranks held-out events best."""

import numpy as np
from scipy import sparse

from recstream.core.evaluation import tune_weights

DEFAULTS = {"behaviour_weight": 10.0, "popularity_weight": 0.2}
N_ITEMS = 60


def chosen(walks: np.ndarray, defaults: dict[str, float]) -> tuple[dict[str, float], int]:
    """Return the weights for users whose events are rows of items, one after another, and the trials."""
    trials: list[None] = []
    n_users, length = walks.shape
    users, items = np.repeat(np.arange(n_users), length), walks.ravel()
    order = np.lexsort((items, users))
    shape = (n_users, N_ITEMS)
    ones = np.ones(len(items), np.float32)
    matrix = sparse.csr_matrix((ones, (users[order], items[order])), shape=shape)
    at = np.tile(np.arange(length), n_users)[order]
    als = {"n_factors": 4, "iterations": 3}
    found = tune_weights(
        matrix, at, als, defaults, k=5, threads=1, progress=lambda: trials.append(None)
    )
    return found, len(trials)


def test_items_that_follow_each_other_ask_for_behaviour():
    starts = np.random.default_rng(0).integers(0, N_ITEMS, 400)
    walks = (starts[:, None] + np.arange(6)) % N_ITEMS

    found, n_trials = chosen(walks, {**DEFAULTS, "behaviour_weight": 0.0})

    assert found["behaviour_weight"] > 0.0
    assert n_trials == 10


def test_items_by_chance_of_unequal_popularity_ask_for_popularity():
    generator = np.random.default_rng(0)
    chances = 1.0 / np.arange(1, N_ITEMS + 1) ** 1.2
    chances /= chances.sum()
    walks = np.stack([generator.choice(N_ITEMS, 6, replace=False, p=chances) for _ in range(400)])

    found, _ = chosen(walks, {"behaviour_weight": 0.0, "popularity_weight": 0.0})

    assert found["popularity_weight"] > 0.0


def test_without_a_clear_gain_the_weights_stay():
    generator = np.random.default_rng(0)
    walks = np.stack([generator.permutation(N_ITEMS)[:6] for _ in range(60)])

    assert chosen(walks, DEFAULTS)[0] == DEFAULTS
