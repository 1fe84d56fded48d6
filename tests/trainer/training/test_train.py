"""Generations as pure functions of histories."""

import numpy as np
import pytest

from recstream.core.history import matrix_row
from recstream.core.numeric.array_codec import array_digest as digest
from recstream.errors import InvalidSetting
from recstream.settings import Settings
from recstream.trainer.training.train import hyperparameters
from tests.trainer.trainer_world import SETTINGS, follow, history_of, trained_on
from tests.worker.worker_world import event, single


def test_a_generation_is_a_pure_function_of_its_origin(fed):
    first, second = trained_on(fed), trained_on(fed)

    assert digest(first.generation.arrays()) == digest(second.generation.arrays())


def test_a_warm_start_names_its_parent_and_keeps_its_rows(fed):
    parent = trained_on(fed).generation
    fed.feed([single(event(900, "u1", "a-new-item"))])

    child = trained_on(fed, 2, parent)

    assert child.generation.parent == 1
    assert child.generation.items == [*parent.items, "a-new-item"]
    assert child.generation.hyperparameters["iterations"] <= 4


def test_a_parent_of_other_factors_gives_its_items_only(fed):
    parent = trained_on(fed).generation

    child = trained_on(fed, 2, parent, n_factors=6)

    assert child.generation.n_factors == 6
    assert child.generation.hyperparameters["iterations"] == SETTINGS.iterations


def test_a_generation_learns_what_users_like(fed):
    generation = trained_on(fed).generation
    factors = generation.model.item_factors

    parity = np.array([int(item[1:]) % 2 for item in generation.items])
    alike = factors @ factors.T
    assert alike[parity == 0][:, parity == 0].mean() > alike[parity == 0][:, parity == 1].mean()


def test_no_events_make_a_generation_without_items(world):
    trained = trained_on(world, 0, None, n_factors=0)

    assert trained.generation.items == []
    assert trained.generation.model is None


def test_an_unknown_hyperparameter_is_refused():
    with pytest.raises(InvalidSetting, match="hyperparameters"):
        hyperparameters(Settings(hyperparameters={"depth": 3}))


def test_history_rows_of_training_and_fold_in_are_the_same(fed):
    follower = follow(fed)
    trained = trained_on(fed)
    at = trained.users.tolist().index(follower.histories.rows_of(["u3"])[0])

    columns, weights = matrix_row(
        history_of(follower, "u3"), trained.generation.rows, SETTINGS.half_life_ms
    )

    part = slice(trained.matrix.indptr[at], trained.matrix.indptr[at + 1])
    assert trained.matrix.indices[part].tolist() == columns.tolist()
    assert trained.matrix.data[part].tobytes() == weights.tobytes()
