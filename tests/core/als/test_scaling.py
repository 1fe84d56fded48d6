"""Objectives and sizes of scores that mean the same on every data set."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als.scaling import Proportions, scaled, typical_score
from recstream.core.als.trainer import ALS
from recstream.errors import InvalidInput


def test_proportions_mean_the_same_mass_and_ridge_at_every_size() -> None:
    proportions = Proportions(unobserved_mass=4.0, ridge=3.0)

    for n_items, mean in ((100, 10.0), (40_000, 27.0)):
        objective = proportions.objective(n_items=n_items, mean_user_count=mean)
        assert objective.unobserved_weight * n_items == pytest.approx(4.0 * mean)
        assert objective.regularization * mean == pytest.approx(3.0)


def test_proportions_of_an_objective_are_those_it_was_made_of() -> None:
    proportions = Proportions(0.4, 0.7, 1.0, (0.1, 0.2), (0.0, 0.3))
    size = {"n_items": 2_753, "mean_user_count": 24.9}

    assert Proportions.of(proportions.objective(**size), **size) == proportions


def test_values_for_one_size_take_precedence_over_proportions() -> None:
    size = {"n_items": 10, "mean_user_count": 5.0}

    assert scaled({"ridge": 1.0, "regularization": 3.0, "alpha": 2.0}, **size) == {
        "regularization": 3.0,
        "alpha": 2.0,
    }
    assert scaled({"ridge": 1.0, "unobserved_mass": 4.0}, **size) == {
        "regularization": 0.2,
        "unobserved_weight": 2.0,
    }


def test_a_typical_score_is_the_mean_over_what_users_have() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 1, 0], [0, 0, 1]], np.float32))
    model = ALS(2, iterations=3, threads=1).fit(matrix)

    scores = model.user_factors @ model.item_factors.T

    expected = (scores[0, 0] + scores[0, 1] + scores[1, 2]) / 3
    assert typical_score(model, matrix) == pytest.approx(expected, rel=1e-5)


def test_a_model_without_users_has_no_typical_score() -> None:
    matrix = sparse.identity(3, np.float32, format="csr")
    model = ALS(2, iterations=1, threads=1).fit(matrix)
    model.user_factors = None

    with pytest.raises(InvalidInput, match="typical_score needs a model with user_factors"):
        typical_score(model, matrix)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Proportions(ridge=0.0), "ridge must be a finite number above 0"),
        (
            lambda: Proportions().objective(n_items=0, mean_user_count=1.0),
            "n_items and mean_user_count must be above 0",
        ),
    ],
)
def test_sizes_that_no_data_has_are_refused(call: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
