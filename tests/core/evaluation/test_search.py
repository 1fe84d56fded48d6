"""The search on data whose answer follows from how it was made."""

import json

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.evaluation.held_out_lists import split_entries
from recstream.core.evaluation.search import tune
from recstream.core.evaluation.successive_halving import SearchProgress
from recstream.errors import InvalidInput
from scripts.bench.tuned import als_arguments, as_dict


def two_tastes(n_users: int = 60, n_items: int = 40, seed: int = 0) -> sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    same = (np.arange(n_users)[:, None] + np.arange(n_items)) % 2 == 0
    return sparse.csr_matrix((same & (rng.random((n_users, n_items)) < 0.5)).astype(np.float32))


def test_held_out_and_kept_entries_make_up_the_matrix() -> None:
    matrix = two_tastes()

    train, test, _ = split_entries(matrix, 0.2, np.random.default_rng(1))

    assert (train + test != matrix).nnz == 0
    assert train.multiply(test).nnz == 0
    counts = np.diff(matrix.indptr)
    np.testing.assert_array_equal(np.diff(test.indptr), np.ceil(0.2 * counts).astype(int))


def test_the_newest_entries_are_held_out_when_times_are_known() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]], np.float32))

    train, test, _ = split_entries(matrix, 0.5, np.random.default_rng(0), [5, 9, 7, 1, 2, 1])

    assert test.toarray().tolist() == [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert train.toarray().tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]


def test_the_search_reports_every_trial_and_returns_the_best_of_the_last_rung() -> None:
    told: list[SearchProgress] = []

    found = tune(
        two_tastes(), n_factors=8, iterations=3, candidates=4, threads=1, progress=told.append
    )

    assert [p.done for p in told] == list(range(1, told[-1].total + 1))
    last = [t for t in found.trials if t.rung == found.trials[-1].rung]
    assert found.choice == max(last, key=lambda t: t.score).choice
    assert found.n_factors == 8
    assert found.score > 0.5


def test_the_search_is_repeatable() -> None:
    one, two = (
        tune(two_tastes(), n_factors=8, iterations=2, candidates=3, threads=1) for _ in range(2)
    )

    assert as_dict(one) == as_dict(two)


def test_a_result_has_a_plain_form_and_trains_a_model() -> None:
    found = tune(two_tastes(), n_factors=8, iterations=2, candidates=3, threads=1)

    assert json.loads(json.dumps(as_dict(found))) == as_dict(found)
    model = ALS(**als_arguments(found, two_tastes()), threads=1).fit(two_tastes())
    assert model.n_factors == 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tune(sparse.identity(3, format="csr")), "a user with two entries"),
        (
            lambda: split_entries(two_tastes(), 1.0, np.random.default_rng(0)),
            "part must lie between",
        ),
        (
            lambda: split_entries(two_tastes(), 0.5, np.random.default_rng(0), [1]),
            "at must have one time for each",
        ),
    ],
)
def test_bad_input_says_what_was_expected(call: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()
