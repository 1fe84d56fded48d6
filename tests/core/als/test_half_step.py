import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.als.trainer import ALS
from recstream.core.numeric.row_solver import solve_dual
from recstream.errors import InvalidInput
from tests.core.als import reference
from tests.core.als.als_cases import CASES

MATRIX = CASES["random"]
MODEL = ALS(8, iterations=5, seed=1, solver="exact").fit(MATRIX)
WIDE = ALS(21, iterations=3, seed=1).fit(CASES["longer rows than factors"])


def _row(items: dict[int, float], n: int = 41) -> sp.csr_matrix:
    return sp.csr_matrix(
        (np.array(list(items.values()), np.float32), ([0] * len(items), list(items))), shape=(1, n)
    )


histories = st.dictionaries(
    st.integers(0, 40), st.floats(0, 100, width=32), min_size=1, max_size=30
)


def test_folding_in_the_training_rows_minimises_the_training_loss_over_users():
    users = MODEL.fold_in(MATRIX)

    weights = reference.weigh(MATRIX, MODEL.objective)
    expected = reference.solve_users(weights, MODEL.item_factors.astype(np.float64))
    np.testing.assert_allclose(users, expected, rtol=1e-4, atol=1e-5)


def test_folding_in_the_training_columns_minimises_the_training_loss_over_items():
    items = MODEL.fold_in_items(MATRIX.T)

    weights = reference.weigh(MATRIX, MODEL.objective)
    expected = reference.solve_items(weights, MODEL.user_factors.astype(np.float64))
    np.testing.assert_allclose(items, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=50)
@given(histories)
def test_a_folded_in_user_is_a_stationary_point_of_the_loss(history):
    row = _row(history)

    x = MODEL.fold_in(row)[0].astype(np.float64)

    # The loss item by item, as the module `objective` writes it down.
    terms, mean = MODEL.objective, MODEL.mean_user_count
    relative = max(sum(weight > 0 for weight in history.values()), 1) / mean
    counts = np.maximum(MODEL.item_counts, 1) / MODEL.mean_item_count
    missing = terms.unobserved_weight * relative ** -terms.missing_exponents[0]
    missing = missing * counts ** -terms.missing_exponents[1]
    observed = np.zeros(41)
    observed[list(history)] = list(history.values())
    observed *= terms.alpha * relative ** -terms.positive_exponents[0]
    observed *= counts ** -terms.positive_exponents[1]
    average = terms.alpha * mean
    usual = average + missing.sum() * relative ** terms.missing_exponents[0]
    ridge = terms.regularization * average * (observed.sum() + missing.sum()) / usual
    Y = MODEL.item_factors.astype(np.float64)
    pull = (observed * (1 - Y @ x) - missing * (Y @ x)) @ Y - ridge * x
    scale = np.abs(observed) @ np.abs(Y) + np.abs(ridge * x) + 1e-6
    assert np.abs(pull / scale).max() < 1e-4


@settings(max_examples=30)
@given(histories, st.randoms(use_true_random=False))
def test_the_order_of_a_history_does_not_matter(history, random):
    names = list(history)
    random.shuffle(names)

    one = MODEL.fold_in(_row(history))
    other = MODEL.fold_in(_row({name: history[name] for name in names}))

    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("model", [MODEL, WIDE], ids=["short rows", "long rows"])
def test_a_user_has_the_same_bits_alone_and_in_any_batch(model):
    generator = np.random.default_rng(4)
    lengths = [0, 1, 2, 5, 8, 9, 16, 17, 20, 21, 22, 30, 40] * 5
    generator.shuffle(lengths)
    dense = np.zeros((len(lengths), model.n_items), np.float32)
    for row, n in enumerate(lengths):
        dense[row, generator.choice(model.n_items, n, replace=False)] = generator.random(n) + 0.1
    batch = sp.csr_matrix(dense)

    together = model.fold_in(batch)
    backwards = model.fold_in(batch[::-1])[::-1]
    threaded = model.fold_in(batch, threads=3)
    alone = np.vstack([model.fold_in(batch[row]) for row in range(len(lengths))])

    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, backwards)
    np.testing.assert_array_equal(together, threaded)


def test_arrays_of_any_make_cost_no_new_compilation():
    MODEL.fold_in(MATRIX)
    known = len(solve_dual.signatures)
    read_only = sp.csr_matrix(MATRIX.astype(np.float64))
    read_only.indices = read_only.indices.astype(np.int64)
    for part in (read_only.data, read_only.indices, read_only.indptr):
        part.flags.writeable = False
    item_factors = np.asfortranarray(MODEL.item_factors)
    item_factors.flags.writeable = False
    server = ALSModel(
        item_factors,
        MODEL.item_counts.astype(np.int32),
        objective=MODEL.objective,
        mean_user_count=MODEL.mean_user_count,
        spectrum=MODEL.spectrum,
        missing_total=MODEL.missing_total,
    )

    users = server.fold_in(read_only)

    np.testing.assert_array_equal(users, MODEL.fold_in(MATRIX))
    assert len(solve_dual.signatures) == known


def test_an_empty_history_folds_in_to_zeros():
    assert not MODEL.fold_in(sp.csr_matrix((2, 41), dtype=np.float32)).any()
    assert MODEL.fold_in(sp.csr_matrix((0, 41), dtype=np.float32)).shape == (0, 8)


def test_more_weight_on_an_item_brings_its_score_nearer_to_one():
    scores = [
        float(MODEL.fold_in(_row({3: weight, 7: 1.0}))[0] @ MODEL.item_factors[3])
        for weight in (0.1, 1.0, 10.0, 100.0)
    ]

    assert scores == sorted(scores)
    assert abs(1 - scores[-1]) < abs(1 - scores[0])


def test_a_history_must_be_as_wide_as_the_model():
    with pytest.raises(InvalidInput, match=r"interactions must have 41 columns, got shape"):
        MODEL.fold_in(sp.csr_matrix((1, 40), dtype=np.float32))


def test_a_server_needs_no_user_factors():
    server = ALSModel(
        MODEL.item_factors,
        MODEL.item_counts,
        objective=MODEL.objective,
        mean_user_count=MODEL.mean_user_count,
        spectrum=MODEL.spectrum,
        missing_total=MODEL.missing_total,
    )

    np.testing.assert_array_equal(server.fold_in(MATRIX), MODEL.fold_in(MATRIX))
    with pytest.raises(InvalidInput, match="needs a model with user_factors"):
        server.fold_in_items(MATRIX.T)


def test_factors_in_any_axes_give_the_same_scores():
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]

    turned = ALSModel(
        (MODEL.item_factors @ rotation).astype(np.float32),
        MODEL.item_counts,
        objective=MODEL.objective,
        mean_user_count=MODEL.mean_user_count,
        user_factors=(MODEL.user_factors @ rotation).astype(np.float32),
        user_counts=MODEL.user_counts,
    )

    np.testing.assert_allclose(
        turned.fold_in(MATRIX) @ turned.item_factors.T,
        MODEL.fold_in(MATRIX) @ MODEL.item_factors.T,
        atol=1e-4,
    )
    np.testing.assert_allclose(
        turned.user_factors @ turned.item_factors.T,
        MODEL.user_factors @ MODEL.item_factors.T,
        atol=1e-4,
    )


def test_users_may_have_moved_and_grown_since_the_training():
    grown = sp.vstack([MATRIX, MATRIX[:2]]).tocsr()
    users = np.vstack([MODEL.user_factors, MODEL.user_factors[:2]])
    counts = np.concatenate([MODEL.user_counts, MODEL.user_counts[:2]])

    items = MODEL.fold_in_items(grown.T, user_factors=users, user_counts=counts)

    same = (grown[57:].sum(axis=0) == 0).A1
    np.testing.assert_allclose(items[same], MODEL.fold_in_items(MATRIX.T)[same], atol=1e-6)
    assert not np.allclose(items[~same], MODEL.fold_in_items(MATRIX.T)[~same], atol=1e-6)


def test_user_factors_and_counts_come_together():
    with pytest.raises(InvalidInput, match="must be given together"):
        MODEL.fold_in_items(MATRIX.T, user_factors=MODEL.user_factors)
    with pytest.raises(InvalidInput, match="must be given together"):
        ALSModel(
            MODEL.item_factors,
            MODEL.item_counts,
            objective=MODEL.objective,
            mean_user_count=1.0,
            user_factors=MODEL.user_factors,
        )


def test_deltas_give_the_same_bits_one_by_one_or_at_once():
    generator = np.random.default_rng(0)
    factors = generator.standard_normal((3, 8)).astype(np.float32)

    steps = MODEL.with_items([5], factors[:1]).with_items(
        [43, 5], factors[1:], counts=np.array([2, 9])
    )
    at_once = MODEL.with_items([43, 5], factors[1:], counts=np.array([2, 9]))

    assert steps.digest() == at_once.digest()
    assert steps.item_factors.shape == (44, 8)
    assert list(steps.item_counts[[5, 42, 43]]) == [9, 0, 2]
    np.testing.assert_array_equal(steps.spectrum, MODEL.spectrum)
    assert MODEL.item_factors.shape == (41, 8)


def test_a_delta_that_changes_nothing_gives_the_same_users():
    rows = np.arange(41)

    same = MODEL.with_items(rows, MODEL.item_factors)

    np.testing.assert_array_equal(same.fold_in(MATRIX), MODEL.fold_in(MATRIX))
    assert MODEL.with_items([], np.empty((0, 8), np.float32)).digest() == MODEL.digest()


def test_a_delta_keeps_the_users_weights_of_its_generation():
    MODEL.fold_in_items(MATRIX.T)

    delta = MODEL.with_items([0], MODEL.item_factors[:1])

    np.testing.assert_array_equal(delta.fold_in_items(MATRIX.T), MODEL.fold_in_items(MATRIX.T))


@pytest.mark.parametrize(
    ("rows", "factors", "message"),
    [
        ([1, 1], np.zeros((2, 8)), "rows must be distinct, got [1, 1]"),
        ([-1], np.zeros((1, 8)), "rows must be rows from 0"),
        ([0.5], np.zeros((1, 8)), "rows must be item rows"),
        ([1], np.zeros((1, 7)), "factors must have 8 columns"),
        ([1], np.zeros((2, 8)), "factors must have 1 rows"),
        ([1], np.full((1, 8), np.nan), "factors must be finite, got nan in row 0"),
        ([1], np.zeros((1, 8), complex), "factors must be a real matrix"),
    ],
)
def test_a_bad_delta_is_refused(rows, factors, message):
    with pytest.raises(InvalidInput) as caught:
        MODEL.with_items(rows, factors)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_counts": np.ones(3, int)}, "item_counts must be 41 whole numbers"),
        ({"item_counts": -np.ones(41, int)}, "item_counts must be at least 0, got -1"),
        ({"mean_user_count": 0.0}, "mean_user_count must be a finite number above 0, got 0.0"),
        ({"item_factors": np.zeros((41, 0))}, "item_factors must have some columns"),
        ({"spectrum": np.ones(3), "missing_total": 1.0}, "spectrum must be 8 finite numbers"),
        ({"spectrum": np.ones(8)}, "spectrum and missing_total must be given together"),
    ],
)
def test_a_bad_model_is_refused(changes, message):
    parts = {
        "item_factors": MODEL.item_factors,
        "item_counts": MODEL.item_counts,
        "objective": Objective(),
        "mean_user_count": 3.0,
    } | changes

    with pytest.raises(InvalidInput) as caught:
        ALSModel(**parts)

    assert message in str(caught.value)


@settings(max_examples=30)
@given(histories)
def test_contributions_add_up_to_the_scores(history):
    row = _row(history)
    items = np.array([0, 3, 40], np.int32)

    why = MODEL.explain_list(row, items)

    scores = MODEL.fold_in(row)[0] @ MODEL.item_factors[items].T
    np.testing.assert_allclose(why.shares.sum(axis=1), scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(why.history, row.indices)


def test_one_item_is_explained_as_in_a_list():
    row = CASES["longer rows than factors"][0]

    one = WIDE.explain(row, 7)

    many = WIDE.explain_list(row, np.array([2, 7], np.int32))
    np.testing.assert_array_equal(one.shares[0], many.shares[1])
    assert row.nnz > WIDE.n_factors


def test_an_empty_history_explains_nothing():
    why = MODEL.explain(sp.csr_matrix((1, 41), dtype=np.float32), 3)

    assert why.shares.shape == (1, 0)


def test_only_one_user_and_known_items_are_explained():
    with pytest.raises(InvalidInput, match="interactions must be one user's row, got 57 rows"):
        MODEL.explain(MATRIX, 0)
    with pytest.raises(InvalidInput, match="items must be rows from 0 to 40"):
        MODEL.explain(MATRIX[0], 41)
    with pytest.raises(InvalidInput, match="items must be rows from 0 to 40, got 4294967296"):
        MODEL.explain(MATRIX[0], 2**32)
    with pytest.raises(InvalidInput, match="items must be item rows, got float64"):
        MODEL.explain_list(MATRIX[0], [1.7])


def test_objectives_survive_json_and_refuse_strange_names():
    objective = MODEL.objective

    assert Objective.from_dict(objective.as_dict()) == objective
    with pytest.raises(InvalidInput, match=r"unknown fields \['beta'\]"):
        Objective.from_dict({"beta": 1})
