import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.als.fold_in_items import PRIOR_EVENTS
from recstream.core.als.trainer import ALS
from recstream.errors import InvalidInput
from tests.core.als import reference
from tests.core.als.als_cases import CASES

MATRIX = CASES["random"]
MODEL = ALS(8, iterations=5, seed=1, solver="exact").fit(MATRIX)
PRIOR = np.random.default_rng(3).standard_normal((41, 8)).astype(np.float32) * 0.3
FEW = ALS(3, iterations=3, seed=1).fit(MATRIX)


@pytest.mark.parametrize("model", [MODEL, FEW], ids=["short columns", "long columns"])
def test_items_with_a_prior_minimise_the_loss_with_that_prior(model):
    prior = PRIOR[:, : model.n_factors]

    items = model.fold_in_items(MATRIX.T, prior=prior)

    counts = np.asarray((MATRIX > 0).sum(axis=0)).ravel()
    kept = PRIOR_EVENTS / (PRIOR_EVENTS + counts)
    weights = reference.weigh(MATRIX, model.objective)
    users = model.user_factors.astype(np.float64)
    expected = reference.solve_items(weights, users, prior * kept[:, None])
    np.testing.assert_allclose(items, expected, rtol=1e-4, atol=1e-5)


def test_an_item_without_events_is_its_prior():
    nobody = sp.csr_matrix((41, 57), dtype=np.float32)

    np.testing.assert_array_equal(MODEL.fold_in_items(nobody, prior=PRIOR), PRIOR)


def test_items_of_a_generation_whose_users_are_all_forgotten_have_factors_of_zero():
    model = ALS(8, iterations=5, seed=1, solver="exact").fit(MATRIX)
    model.user_factors, model.user_counts = model.user_factors[:0], model.user_counts[:0]

    items = model.fold_in_items(sp.csr_matrix((2, 0), dtype=np.float32))

    np.testing.assert_array_equal(items, np.zeros((2, 8), np.float32))


def test_a_seen_item_that_counts_for_nothing_is_its_prior():
    ignored = sp.csr_matrix((np.zeros(1, np.float32), ([0], [3])), shape=(1, 57))

    np.testing.assert_array_equal(MODEL.fold_in_items(ignored, prior=PRIOR[:1]), PRIOR[:1])


def test_no_prior_and_a_prior_of_zeros_are_the_same():
    np.testing.assert_array_equal(
        MODEL.fold_in_items(MATRIX.T, prior=np.zeros((41, 8), np.float32)),
        MODEL.fold_in_items(MATRIX.T),
    )


def test_the_more_events_an_item_has_the_less_its_prior_matters():
    n = 3000
    users = np.random.default_rng(0).standard_normal((n, 8)).astype(np.float32) * 0.3
    counts = np.full(n, 9)
    distances = []
    for events in (0, 1, 10, 100, n):
        column = sp.csr_matrix((np.ones(events, np.float32), ([0] * events, range(events))), (1, n))
        with_prior, without = (
            MODEL.fold_in_items(column, user_factors=users, user_counts=counts, prior=prior)
            for prior in (PRIOR[:1], None)
        )
        distances.append(float(np.linalg.norm(with_prior - without)))

    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.002 * distances[0]


@settings(max_examples=20)
@given(st.permutations(range(41)), st.integers(1, 3))
def test_an_item_with_a_prior_has_the_same_bits_alone_in_a_batch_and_on_threads(order, threads):
    columns = MATRIX.T.tocsr()

    batch = MODEL.fold_in_items(columns[order], prior=PRIOR[order], threads=threads)

    alone = MODEL.fold_in_items(columns[order[0]], prior=PRIOR[order[:1]])
    np.testing.assert_array_equal(batch[0], alone[0])


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (PRIOR[:3], "prior must have 41 rows"),
        (PRIOR[:, :3], "prior must have 8 columns"),
        (np.full((41, 8), np.nan, np.float32), "prior must be finite"),
    ],
)
def test_a_prior_must_fit_the_items(prior, message):
    with pytest.raises(InvalidInput, match=message):
        MODEL.fold_in_items(MATRIX.T, prior=prior)
