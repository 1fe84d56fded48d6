import io

import numpy as np
import pytest
import scipy.sparse as sp

import recstream
from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.als.trainer import ALS, Iteration
from recstream.errors import ArtifactCorrupt, InvalidInput, ModelError
from tests.core.als import reference
from tests.core.als.als_cases import CASES, OBJECTIVES, checkerboard


def estimator(objective: Objective, n_factors: int, **options) -> ALS:
    return ALS(n_factors, **objective.as_dict(), **options)


@pytest.fixture(scope="module")
def model() -> ALSModel:
    return ALS(8, iterations=5, seed=1).fit(CASES["random"])


@pytest.mark.parametrize("solver", ["mixed", "exact"])
@pytest.mark.parametrize("n_factors", [2, 20])
def test_the_withheld_item_of_a_checkerboard_comes_first(solver, n_factors):
    matrix = checkerboard()

    model = ALS(n_factors, solver=solver, seed=3).fit(matrix)

    scores = model.user_factors @ model.item_factors.T
    scores[matrix.nonzero()] = -np.inf
    assert (scores.argmax(axis=1) == np.arange(40)).all()


def test_the_numeric_core_is_at_hand_from_the_package():
    assert recstream.ALS is ALS
    assert recstream.ALSModel is ALSModel


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_reported_loss_is_the_objective_written_out(case, objective):
    matrix, terms = CASES[case], OBJECTIVES[objective]
    steps: list[Iteration] = []

    model = estimator(terms, 5, iterations=3).fit(matrix, callback=steps.append)

    expected = reference.loss(
        reference.weigh(matrix, terms),
        model.user_factors.astype(np.float64),
        model.item_factors.astype(np.float64),
    )
    assert steps[-1].loss == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("solver", ["mixed", "exact"])
def test_no_iteration_raises_the_loss(case, solver):
    steps: list[Iteration] = []

    ALS(6, solver=solver, iterations=8).fit(CASES[case], callback=steps.append)

    losses = np.array([step.loss for step in steps if step.number])
    assert (np.diff(losses) <= 1e-5 * losses[:-1]).all()


def test_the_callback_is_called_at_the_start_and_after_each_iteration():
    steps: list[Iteration] = []

    recstream.ALS(4, iterations=3).fit(CASES["random"], callback=steps.append)

    assert [step.number for step in steps if step.number] == [1, 2, 3]
    assert steps[0].number == 0
    assert steps[0].loss is None
    assert steps[0].note
    assert all(step.seconds > 0 for step in steps if step.number)


def test_a_user_without_entries_and_an_item_without_users_have_no_factors():
    model = ALS(4).fit(CASES["empty rows and columns"])

    assert not model.user_factors[0].any()
    assert not model.item_factors[0].any()
    assert model.user_factors[1].any()


def test_a_stored_zero_counts_for_nothing():
    with_zeros = CASES["stored zeros"]
    without = with_zeros.copy()
    without.eliminate_zeros()

    one, other = (ALS(3, iterations=4).fit(matrix) for matrix in (with_zeros, without))

    np.testing.assert_array_equal(one.item_counts, other.item_counts)
    np.testing.assert_allclose(
        one.user_factors @ one.item_factors.T,
        other.user_factors @ other.item_factors.T,
        rtol=1e-4,
        atol=1e-6,
    )


def test_repeated_entries_are_added_up():
    twice = sp.coo_matrix(([1.0, 2.0, 1.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2)).tocsr()
    twice.sum_duplicates()
    raw = sp.csr_matrix(
        (np.array([1.0, 2.0, 1.0], np.float32), np.array([1, 1, 0]), np.array([0, 2, 3])),
        shape=(2, 2),
    )

    one, other = (ALS(2, iterations=3).fit(matrix) for matrix in (twice, raw))

    np.testing.assert_array_equal(one.item_factors, other.item_factors)
    assert raw.nnz == 3


@pytest.mark.parametrize("solver", ["mixed", "exact"])
def test_factors_have_the_same_bits_for_any_number_of_threads(solver):
    matrix = CASES["longer rows than factors"]

    one, three = (
        ALS(21, solver=solver, threads=threads, iterations=3).fit(matrix) for threads in (1, 3)
    )

    np.testing.assert_array_equal(one.user_factors, three.user_factors)
    np.testing.assert_array_equal(one.item_factors, three.item_factors)
    assert one.digest() == three.digest()


def test_another_seed_gives_another_start():
    one, other = (ALS(4, seed=seed, iterations=1).fit(CASES["random"]) for seed in (0, 1))

    assert not np.array_equal(one.item_factors, other.item_factors)


def test_fit_leaves_the_matrix_alone():
    matrix = CASES["random"].astype(np.float64)
    before = matrix.copy()

    ALS(4, iterations=1).fit(matrix)

    assert (matrix != before).nnz == 0
    assert matrix.dtype == np.float64


def test_a_warm_start_is_where_the_last_training_ended():
    matrix = CASES["random"]
    steps: list[Iteration] = []
    cold = ALS(8, iterations=30, seed=1).fit(matrix, callback=steps.append)
    again: list[Iteration] = []

    ALS(8, iterations=1).fit(matrix, init=cold, callback=again.append)

    assert again[-1].loss <= steps[-1].loss * (1 + 1e-5)


def test_a_warm_start_takes_in_new_users_and_items():
    old = ALS(4, iterations=5).fit(CASES["random"])
    grown = sp.vstack([CASES["random"], sp.csr_matrix((3, 41), dtype=np.float32)]).tocsr()
    grown = sp.hstack([grown, sp.csr_matrix(np.ones((60, 2), np.float32))]).tocsr()

    model = ALS(4, iterations=2).fit(grown, init=old)

    assert model.user_factors.shape == (60, 4)
    assert model.item_factors.shape == (43, 4)
    assert model.item_factors[-1].any()
    assert model.user_factors[-1].any()


def test_a_warm_start_with_a_tolerance_skips_rows_and_says_so():
    generator = np.random.default_rng(0)
    matrix = sp.csr_matrix((generator.random((60, 50)) < 0.5).astype(np.float32))
    cold = ALS(4, iterations=60, solver="exact").fit(matrix)
    steps: list[Iteration] = []

    warm = ALS(4, iterations=2, tolerance=1e-4).fit(matrix, init=cold, callback=steps.append)

    assert steps[-1].skipped > 50
    np.testing.assert_allclose(
        warm.user_factors @ warm.item_factors.T, cold.user_factors @ cold.item_factors.T, atol=0.02
    )


def test_a_warm_start_from_a_server_takes_its_items(model):
    server = ALSModel(
        model.item_factors,
        model.item_counts,
        objective=model.objective,
        mean_user_count=model.mean_user_count,
    )
    cold: list[Iteration] = []
    warm: list[Iteration] = []

    ALS(8, iterations=1).fit(CASES["random"], callback=cold.append)
    ALS(8, iterations=1).fit(CASES["random"], init=server, callback=warm.append)

    assert warm[-1].loss < cold[-1].loss


def test_a_warm_start_needs_as_many_factors(model):
    with pytest.raises(InvalidInput, match="init must have 4 factors, got 8"):
        ALS(4).fit(CASES["random"], init=model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_factors": 2**70}, "n_factors must be at most 65,536, got 1,180"),
        ({"seed": 2**70}, "seed must be at most 9,223"),
        ({"alpha": 10**400}, "alpha must be a finite number above 0"),
        ({"regularization_exponent": 10**400}, "regularization_exponent must be a finite number"),
        ({"n_factors": 0}, "n_factors must be a whole number of at least 1, got 0"),
        ({"iterations": 1.5}, "iterations must be a whole number of at least 1, got 1.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"solver": "fast"}, 'solver must be "mixed" or "exact", got \'fast\''),
        ({"tolerance": -1.0}, "tolerance must be a finite number of at least 0, got -1.0"),
        ({"regularization": 0.0}, "regularization must be a finite number above 0, got 0.0"),
        ({"alpha": float("nan")}, "alpha must be a finite number above 0, got nan"),
        ({"unobserved_weight": -1}, "unobserved_weight must be a finite number above 0, got -1"),
        (
            {"regularization_exponent": float("inf")},
            "regularization_exponent must be a finite number",
        ),
        ({"positive_exponents": (0.5,)}, "positive_exponents must be two finite numbers"),
    ],
)
def test_hyper_parameters_are_checked(options, message):
    with pytest.raises(InvalidInput) as caught:
        ALS(**options)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 2)), "interactions must be a scipy sparse matrix, got ndarray"),
        (sp.csr_matrix([[1.0, -2.0]]), "got -2.0 at row 0, column 1"),
        (sp.csr_matrix([[0.0, 1.0], [np.nan, 1.0]]), "got nan at row 1, column 0"),
        (sp.csr_matrix([[np.inf]]), "got inf at row 0, column 0"),
        (sp.csr_matrix((3, 4)), "at least one weight above 0, got none in 3 × 4"),
        (sp.csr_matrix([[1j]]), "interactions must hold real numbers, got dtype complex128"),
        (sp.coo_array(np.ones(3)), "interactions must have two dimensions, got shape (3,)"),
    ],
)
def test_a_bad_matrix_is_refused_with_its_place(matrix, message):
    with pytest.raises(InvalidInput) as caught:
        ALS(2).fit(matrix)

    assert message in str(caught.value)


@pytest.mark.parametrize("solver", ["mixed", "exact"])
def test_numbers_too_large_for_float32_end_in_an_error_not_in_nan(solver):
    matrix = CASES["full"] * np.float32(1e38)

    with pytest.raises(ModelError, match="not finite"):
        ALS(3, solver=solver, alpha=1e10).fit(matrix)


def test_a_saved_model_is_the_same_model(model, tmp_path):
    digest = model.save(tmp_path / "model.npz")

    loaded = ALSModel.load(tmp_path / "model.npz")

    assert loaded.digest() == digest == model.digest()
    assert loaded.objective == model.objective
    np.testing.assert_array_equal(loaded.fold_in(CASES["random"]), model.fold_in(CASES["random"]))
    np.testing.assert_array_equal(
        loaded.fold_in_items(CASES["random"].T), model.fold_in_items(CASES["random"].T)
    )


def test_a_model_without_users_is_saved_without_them(model, tmp_path):
    server = ALSModel(
        model.item_factors,
        model.item_counts,
        objective=model.objective,
        mean_user_count=model.mean_user_count,
    )
    server.save(tmp_path / "items.npz")

    loaded = ALSModel.load(tmp_path / "items.npz")

    assert loaded.user_factors is None
    assert loaded.digest() == server.digest()


def test_a_model_can_be_saved_to_an_open_stream(model):
    stream = io.BytesIO()

    digest = model.save(stream)

    stream.seek(0)
    assert ALSModel.load(stream).digest() == digest


def test_a_changed_byte_is_noticed(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    with np.load(path) as stored:
        named = dict(stored)
    named["item_factors"][0, 0] += 1
    np.savez(path, **named)

    with pytest.raises(ArtifactCorrupt, match="must have the digest"):
        ALSModel.load(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken"])
def test_what_is_no_model_file_is_refused(content, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(content)

    with pytest.raises(ArtifactCorrupt, match="can't be read"):
        ALSModel.load(path)


def test_a_name_of_a_file_is_no_file(model):
    with pytest.raises(InvalidInput, match=r"file must be a pathlib.Path or a binary stream"):
        model.save("model.npz")


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        ALSModel.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda named: named.pop("spectrum"), "must hold"),
        (lambda named: named.update(extra=np.ones(1)), "must hold"),
        (lambda named: named.update(header=np.frombuffer(b"{}", np.uint8)), "don't fit"),
        (
            lambda named: named.update(header=np.frombuffer(b'{"format":"x"}', np.uint8)),
            "model format must be",
        ),
        (lambda named: named.update(item_counts=np.ones(2, np.int64)), "don't fit"),
        (lambda named: named.update(spectrum=-named["spectrum"] - 1), "don't fit"),
    ],
)
def test_arrays_that_make_no_model_are_refused(model, change, message):
    named = model.arrays()
    change(named)

    with pytest.raises(ArtifactCorrupt, match=message):
        ALSModel.from_arrays(named)


def test_recommendations_leave_out_what_is_excluded(model):
    matrix = CASES["random"]

    ids, scores = model.recommend(model.fold_in(matrix), 5, exclude=matrix)

    assert ids.shape == scores.shape == (57, 5)
    assert all(not set(row) & set(matrix[u].indices) for u, row in enumerate(ids))


def test_similar_items_share_their_users():
    model = ALS(2, iterations=10).fit(checkerboard(12))

    ids, scores = model.similar_items([0, 3], 5)

    assert {i % 2 for i in ids[0]} == {0}
    assert {i % 2 for i in ids[1]} == {1}
    assert 0 not in ids[0]
    np.testing.assert_allclose(scores, 1, atol=1e-2)


def test_similar_items_need_known_items(model):
    with pytest.raises(InvalidInput, match="items must be rows from 0 to 40, got 41 to 41"):
        model.similar_items(41)
    with pytest.raises(InvalidInput, match="items must be item rows"):
        model.similar_items(1.5)
