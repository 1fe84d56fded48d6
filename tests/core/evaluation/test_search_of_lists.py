"""The search evaluates whole lists: factors, behaviour and popularity together, as they are served."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als import ALS, Proportions
from recstream.core.evaluation import TuningResult, tune
from recstream.core.evaluation.held_out_lists import HeldOutLists
from scripts.bench.list_metrics import hits, ndcg_at

N_ITEMS = 60
SMALL = {"k": 5, "n_factors": 4, "iterations": 3, "candidates": 4, "n_rungs": 1, "threads": 1}
FACTORS_ALONE = {"behaviour_weight": 0.0, "popularity_weight": 0.0}


def of_walks(walks: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return a matrix whose rows are users with the items of a walk, one after another, and the times."""
    n_users, length = walks.shape
    users, items = np.repeat(np.arange(n_users), length), walks.ravel()
    order = np.lexsort((items, users))
    ones = np.ones(len(items), np.float32)
    matrix = sparse.csr_matrix((ones, (users[order], items[order])), shape=(n_users, N_ITEMS))
    return matrix, np.tile(np.arange(length), n_users)[order]


def chains(n_users: int = 400) -> tuple[sparse.csr_matrix, np.ndarray]:
    starts = np.random.default_rng(0).integers(0, N_ITEMS, n_users)
    return of_walks((starts[:, None] + np.arange(6)) % N_ITEMS)


def by_chance(exponent: float, n_users: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    generator = np.random.default_rng(0)
    chances = 1.0 / np.arange(1, N_ITEMS + 1) ** exponent
    chances /= chances.sum()
    walks = [generator.choice(N_ITEMS, 6, replace=False, p=chances) for _ in range(n_users)]
    return of_walks(np.stack(walks))


def test_items_that_follow_each_other_ask_for_behaviour():
    matrix, at = chains()

    found = tune(matrix, at=at, weights=FACTORS_ALONE, **SMALL)

    assert found.weights["behaviour_weight"] > 0.0
    assert found.is_better


def test_items_by_chance_of_unequal_popularity_ask_for_popularity():
    matrix, at = by_chance(1.2, 400)

    found = tune(matrix, at=at, weights=FACTORS_ALONE, **SMALL)

    assert found.weights["popularity_weight"] > 0.0


def test_a_winner_by_chance_is_not_better():
    matrix, at = by_chance(0.0, 60)

    assert not tune(matrix, at=at, **SMALL).is_better


def test_the_newest_events_are_held_back_from_all_trials():
    steps = np.arange(6)
    starts = np.random.default_rng(0).integers(0, N_ITEMS, (400, 1))
    shops = [of_walks((starts + walk) % N_ITEMS) for walk in (steps, steps + 7 * (steps >= 4))]

    one, two = (tune(matrix, at=at, **SMALL) for matrix, at in shops)

    assert [each.score for each in one.trials] == [each.score for each in two.trials]
    assert one.score != two.score


def test_the_configuration_in_force_has_no_gain_over_itself():
    matrix, at = chains(200)
    present = Proportions(7.0, 0.5)

    found = tune(matrix, at=at, present=present, **SMALL)
    again = tune(matrix, at=at, present=found.choice.proportions, weights=found.weights, **SMALL)

    assert again.choice == found.choice
    assert (again.gain, again.error) == (0.0, 0.0)


def test_weights_without_values_to_try_stay():
    matrix, at = chains(100)

    found = tune(matrix, at=at, weights=FACTORS_ALONE, fixed=FACTORS_ALONE, **SMALL)

    assert found.weights == FACTORS_ALONE


def test_without_weights_lists_are_those_of_the_factors():
    matrix, at = chains(50)
    lists = HeldOutLists(
        matrix, at, k=5, generator=np.random.default_rng(0), max_users=50, threads=1
    )
    model = ALS(4, iterations=3, threads=1).fit(lists.matrix)

    (found,) = lists.ndcg(model, [FACTORS_ALONE])

    scores = model.fold_in(lists.matrix) @ model.item_factors.T
    scores[lists.matrix.nonzero()] = -np.inf
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :5].astype(np.int32)
    wanted = matrix - lists.matrix
    wanted.eliminate_zeros()
    expected = ndcg_at(hits(ids, wanted), np.diff(wanted.indptr), 5)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("gain", "is_better"), [(0.021, True), (0.019, False), (0.0, False)])
def test_better_means_two_standard_errors(gain: float, is_better: bool):
    found = TuningResult(None, 4, 3, "ndcg@20", 0.5, gain=gain, error=0.01)

    assert found.is_better == is_better
