"""A training and its evaluation, as one pure function."""

import numpy as np
import pytest

from recstream.core.numeric.array_codec import array_digest as digest
from recstream.trainer.training.job import TrainingJob, run_job
from recstream.trainer.training.train import hyperparameters
from tests.trainer.trainer_world import SETTINGS, follow, snapshot_of, trained_on
from tests.worker.worker_world import event, single

N_USERS, N_ITEMS, N_EACH = 400, 60, 10
BARELY_POPULAR = {
    "popularity_weight": 0.005,
    "behaviour_weight": 0.0,
    # A loss whose factors hold little of popularity.
    "unobserved_weight": 0.5,
    "positive_exponents": [0.5, 0.5],
    "missing_exponents": [0.3, 0.3],
}


@pytest.fixture
def alike(world):
    """Return a world where everybody views the same few items, and what else is chance."""
    rng = np.random.default_rng(0)
    chances = 0.9 ** np.arange(N_ITEMS)
    orders = [
        rng.choice(N_ITEMS, N_EACH, replace=False, p=chances / chances.sum())
        for _ in range(N_USERS)
    ]
    world.feed(
        [
            single(event(at * N_USERS + user, f"u{user}", f"p{orders[user][at]}"))
            for at in range(N_EACH)
            for user in range(N_USERS)
        ]
    )
    return world


def run(world, *, may_raise_popularity=True, **more):
    chosen = hyperparameters(SETTINGS) | {"n_factors": 16, "regularization": 0.01} | more
    first = trained_on(world, 0, None, n_factors=0).generation
    return run_job(
        TrainingJob(snapshot_of(follow(world)), first, 1, chosen, 0, may_raise_popularity)
    )


def test_popularity_gets_more_weight_where_it_is_clearly_better(alike):
    result = run(alike, **BARELY_POPULAR)
    used = result.trained.generation.hyperparameters

    assert result.gate_result.is_accepted
    assert used["popularity_weight"] in {0.02, 0.08, 0.32}
    again = run(alike, **BARELY_POPULAR | {"popularity_weight": used["popularity_weight"]})
    assert digest(again.trained.generation.arrays()) == digest(result.trained.generation.arrays())


def test_a_weight_of_popularity_that_the_settings_name_is_not_raised(alike):
    result = run(alike, may_raise_popularity=False, **BARELY_POPULAR)

    assert result.trained.generation.hyperparameters["popularity_weight"] == 0.005
    assert not result.gate_result.is_accepted
    assert "of popularity alone" in result.gate_result.reason
    assert "setting popularity_weight" in result.gate_result.reason


def test_a_generation_that_stays_clearly_worse_is_refused_with_its_own_weight(alike):
    result = run(alike, **BARELY_POPULAR | {"popularity_weight": 1e-6})

    assert not result.gate_result.is_accepted
    assert "of popularity alone" in result.gate_result.reason
    assert result.trained.generation.hyperparameters["popularity_weight"] == 1e-6
