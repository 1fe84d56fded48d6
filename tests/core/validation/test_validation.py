"""No matrix from outside reaches a kernel with an index that it does not check."""

import copy
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.core.als import ALS, ALSModel, typical_score
from recstream.core.content.nearest import FeatureIndex
from recstream.core.evaluation.held_out_lists import split_entries
from recstream.core.search import ItemIndex, top_n
from recstream.core.validation import as_csr_rows, as_excluded
from recstream.errors import InvalidInput, ModelError
from scripts.bench.list_metrics import hits, quality

MATRIX = sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], np.float32))
MODEL = ALS(2, iterations=1, threads=1).fit(MATRIX)


def csr(indices: object, indptr: object, shape: tuple[int, int] = (3, 3)) -> sp.csr_matrix:
    """Make a CSR matrix that scipy does not check."""
    matrix = sp.csr_matrix(shape, dtype=np.float32)
    matrix.indices, matrix.indptr = np.array(indices), np.array(indptr)
    matrix.data = np.ones(len(matrix.indices), np.float32)
    return matrix


BROKEN = {
    "ids from one": csr([1, 2, 3, 1, 3, 2], [0, 2, 4, 6]),
    "a negative column": csr([0, -1, 1], [0, 1, 2, 3]),
    "a column far away": csr([0, 1, 2**31 - 1], [0, 1, 2, 3]),
    "a column that wraps to a valid one": csr(np.array([0, 1, 2**32 + 1], np.int64), [0, 1, 2, 3]),
    "pointers that fall": csr([0, 1, 2], [0, 3, 1, 3]),
    "pointers beyond the entries": csr([0, 1, 2], [0, 1, 2, 900]),
    "a pointer beyond the entries that comes back": csr([0, 1, 2], [0, 900, 2, 3]),
    "pointers that start late": csr([0, 1, 2], [1, 1, 2, 3]),
    "negative pointers": csr([0, 1, 2], [0, -5, 2, 3]),
    "too few pointers": csr([0, 1, 2], [0, 3]),
    "fewer columns than entries": csr([0, 1, 2], [0, 1, 2, 3]),
    "fractions as columns": csr([0.0, 1.5, 2.0], [0, 1, 2, 3]),
}
BROKEN["fewer columns than entries"].data = np.ones(2, np.float32)

BY_TIME = csr([2, 0, 1, 0], [0, 3, 4, 4])
"""The order of the entries is not that of the columns."""

TAKERS: dict[str, Callable[[sp.csr_matrix], object]] = {
    "fit": lambda m: ALS(2, iterations=1, threads=1).fit(m),
    "fold_in": MODEL.fold_in,
    "fold_in_items": MODEL.fold_in_items,
    "explain_list": lambda m: MODEL.explain_list(m, [0]),
    "recommend": lambda m: MODEL.recommend(np.ones((3, 2)), 2, exclude=m),
    "top_n": lambda m: top_n(np.ones((3, 2)), ItemIndex(np.ones((3, 2))), 2, exclude=m),
    "typical_score": lambda m: typical_score(MODEL, m),
    "split_entries": lambda m: split_entries(m, 0.5, np.random.Generator(np.random.PCG64(0))),
    "hits": lambda m: hits(np.zeros((3, 1), np.int32), m),
    "quality": lambda m: quality(np.zeros((3, 1), np.int32), m),
    "an index of features": lambda m: FeatureIndex(3).add(np.arange(3), m),
    "nearest features": lambda m: FeatureIndex(3).nearest(m, 2),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("taker", TAKERS)
def test_a_matrix_with_a_wrong_index_is_refused_everywhere(taker: str, case: str) -> None:
    broken = copy.deepcopy(BROKEN[case])

    with pytest.raises(InvalidInput, match=r"must have .*, got"):
        TAKERS[taker](broken)


def test_ids_from_one_are_named_with_their_row_and_what_to_do() -> None:
    with pytest.raises(InvalidInput) as caught:
        ALS(2).fit(BROKEN["ids from one"])

    assert str(caught.value) == (
        "interactions must have columns from 0 to 2, got column 3 in row 1; "
        "number columns from 0, or give a larger shape"
    )


@pytest.mark.parametrize("make", [sp.csc_matrix, sp.csc_array, sp.coo_matrix, sp.coo_array])
@pytest.mark.parametrize("bad", [-1, 3, 2**30])
def test_wrong_indices_of_other_formats_are_refused_before_scipy_converts_them(
    make: Callable[..., sp.csc_matrix], bad: int
) -> None:
    matrix = make(MATRIX)
    indices = matrix.coords[0] if matrix.format == "coo" else matrix.indices
    indices[1] = bad

    with pytest.raises(InvalidInput, match=rf"must have rows from 0 to 2, got row {bad}; number"):
        ALS(2).fit(matrix)
    with pytest.raises(InvalidInput, match=rf"must have rows from 0 to 2, got row {bad}; number"):
        top_n(np.ones((3, 2)), np.ones((3, 2)), 1, exclude=matrix)


def test_wrong_blocks_are_refused() -> None:
    matrix = sp.bsr_matrix(np.ones((4, 4), np.float32), blocksize=(2, 2))
    matrix.indices[1] = 2

    with pytest.raises(InvalidInput, match=r"must have columns from 0 to 1, got column 2"):
        ALS(2).fit(matrix)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
@pytest.mark.parametrize("array", [False, True])
def test_every_format_gives_the_same_lists(kind: str, array: bool) -> None:
    made = sp.csr_array(MATRIX) if array else MATRIX
    expected = MODEL.recommend(np.ones((3, 2)), 2, exclude=MATRIX)

    ids, scores = MODEL.recommend(np.ones((3, 2)), 2, exclude=made.asformat(kind))

    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])
    np.testing.assert_array_equal(MODEL.fold_in(made.asformat(kind)), MODEL.fold_in(MATRIX))


@settings(max_examples=200)
@given(
    st.lists(st.integers(-2, 5), max_size=8), st.lists(st.integers(-2, 10), min_size=4, max_size=4)
)
def test_rows_are_either_refused_or_right(indices: list[int], indptr: list[int]) -> None:
    matrix = csr(np.array(indices, np.int32), np.array(indptr, np.int32))
    is_valid = (
        indptr[0] == 0
        and indptr == sorted(indptr)
        and indptr[-1] <= len(indices)
        and all(0 <= column < 3 for column in indices[: indptr[-1]])
    )

    try:
        rows = as_csr_rows(matrix, "x")
        excluded = as_excluded(matrix, "x", 3, 3)
    except InvalidInput:
        assert not is_valid
        return

    assert is_valid
    dense = np.zeros((3, 3))
    for row in range(3):
        for column in indices[indptr[row] : indptr[row + 1]]:
            dense[row, column] += 1
    np.testing.assert_array_equal(rows.matrix().toarray(), dense)
    assert rows.indices.tolist() == excluded[1].tolist() == np.nonzero(dense)[1].tolist()


def test_a_wrong_flag_of_order_is_not_believed() -> None:
    matrix = csr([2, 0, 1], [0, 2, 3, 3])
    matrix.has_sorted_indices = matrix.has_canonical_format = True

    assert as_csr_rows(matrix, "x").indices.tolist() == [0, 2, 1]
    assert matrix.indices.tolist() == [2, 0, 1]


class Frame:
    """What a DataFrame shows of itself."""

    columns = ("user", "item", "rating")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ALS(2).fit(Frame()),
            r"got a Frame with the columns \['user', 'item', 'rating'\]; number users and items from 0",
        ),
        (lambda: ALS(2).fit([[1, 2]]), "must be a scipy sparse matrix, got list; wrap it in"),
        (lambda: ALS(2).fit(MATRIX.astype(float) * 1e300), r"at most 3.4e\+38, got 1e\+300"),
        (lambda: ALS(2).fit(None), "must be a scipy sparse matrix, got NoneType"),
        (lambda: ALS(2).fit(MATRIX, init=3), "init must be an ALSModel, got int"),
        (lambda: ALS("2"), "n_factors must be a whole number of at least 1, got '2'"),
        (lambda: ALS(alpha="x"), "alpha must be a finite number above 0, got 'x'"),
        (lambda: ALS(alpha=True), "alpha must be a finite number above 0, got True"),
        (lambda: ALS(tolerance="x"), "tolerance must be a finite number, got 'x'"),
        (lambda: ALS(positive_exponents=0.5), "positive_exponents must be two finite numbers"),
        (lambda: ALS(missing_exponents="ab"), "missing_exponents must be two finite numbers"),
        (lambda: MODEL.fold_in(Frame()), "interactions must be a scipy sparse matrix"),
        (lambda: MODEL.fold_in(MATRIX, threads=0), "threads must be a whole number of at least 1"),
        (lambda: MODEL.fold_in(MATRIX, threads="2"), "threads must be a whole number"),
        (lambda: MODEL.recommend(MATRIX, 2), "user_factors must be a dense array, got csr_matrix"),
        (lambda: MODEL.recommend(np.ones(2), 2), "user_factors must be a real matrix"),
        (lambda: MODEL.recommend([[1], [1, 2]], 2), "user_factors must be an array, got list"),
        (lambda: MODEL.recommend(np.ones((3, 2)), 2.5), "n must be a whole number"),
        (lambda: MODEL.recommend(np.ones((3, 2)), True), "n must be a whole number"),
        (lambda: MODEL.recommend(np.ones((3, 2)), 2, exclude=Frame()), "exclude must be a scipy"),
        (lambda: MODEL.similar_items(["a"]), "items must be item rows"),
        (lambda: ItemIndex(np.ones((3, 2))).update([1.7], [[1, 1]]), "rows must name one item"),
        (
            lambda: ALSModel(np.ones((3, 2)), np.ones(3, int), objective={}, mean_user_count=1.0),
            "objective must be an Objective, got dict",
        ),
        (lambda: ALS(iterations=2**62), "iterations must be at most 1,000,000"),
        (
            lambda: MODEL.replaced(item_counts=np.full(3, 2**63, np.uint64)),
            "item_counts must be at most 9,223,372,036,854,775,807, got 9,223,372,036,854,775,808",
        ),
        (
            lambda: MODEL.with_items(np.array([2**63], np.uint64), np.ones((1, 2))),
            "rows must be rows from 0 to 2147483646, got 9223372036854775808",
        ),
        (
            lambda: MODEL.with_items([2**40], np.ones((1, 2))),
            "rows must be rows from 0 to 2147483646",
        ),
        (
            lambda: as_csr_rows(sp.csr_matrix((2, 3)), "x", n_rows=3),
            "x must have 3 rows, got shape",
        ),
    ],
)
def test_an_argument_of_a_wrong_type_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


@pytest.mark.parametrize("kind", ["csr", "coo"])
@pytest.mark.parametrize(
    ("dtype", "weight"),
    [
        (np.int8, 100),
        (np.uint8, 200),
        (np.int32, 2**31 - 1),
        (np.uint64, 2**63),
        (np.float16, 60_000),
        (np.float32, 1.5),
        (np.float64, 2.5),
    ],
)
def test_weights_of_repeated_entries_are_summed_without_overflow(
    kind: str, dtype: type[np.generic], weight: float
) -> None:
    weights, rows, columns = np.array([weight, 1, weight, 3], dtype), [0, 0, 0, 1], [2, 0, 2, 1]
    matrix = sp.coo_matrix((np.ones(4), (rows, columns)), (2, 3))
    if kind == "csr":
        matrix = sp.csr_matrix((2, 3))
        matrix.indptr, matrix.indices = np.array([0, 3, 4]), np.array(columns)
    matrix.data = weights

    found = as_csr_rows(matrix, "x")

    assert found.indices.tolist() == [0, 2, 1]
    assert found.weights.tolist() == [1.0, float(np.float32(2.0 * weight)), 3.0]
    assert matrix.data.tolist() == [weight, 1, weight, 3]
    assert as_excluded(matrix, "x", 2, 3)[1].tolist() == [0, 2, 1]


@pytest.mark.parametrize("exponent", [-1e6, 1e6])
def test_numbers_that_overflow_are_a_model_error(exponent: float) -> None:
    als = ALS(2, iterations=1, threads=1, missing_exponents=(exponent, exponent))

    with np.errstate(all="ignore"), pytest.raises(ModelError, match="not finite"):
        als.fit(sp.csr_matrix(np.array([[1, 1, 0], [0, 0, 1]], np.float32)))


def test_als_is_cloned_the_way_scikit_learn_does_it() -> None:
    estimator = ALS(8, alpha=2, positive_exponents=(1, 0), seed=3)

    parameters = estimator.get_params(deep=False)
    clone = type(estimator)(**parameters)

    assert all(clone.get_params()[name] is value for name, value in parameters.items())
    assert repr(clone) == "ALS(n_factors=8, alpha=2, positive_exponents=(1, 0), seed=3)"
    assert repr(ALS()) == "ALS()"
    assert repr(MODEL) == "<ALSModel: 3 items, 3 users, 2 factors>"


def test_parameters_are_set_all_or_none() -> None:
    estimator = ALS(8)

    assert estimator.set_params(alpha=3.0, iterations=2) is estimator
    assert (estimator.alpha, estimator.iterations, estimator.objective.alpha) == (3.0, 2, 3.0)
    with pytest.raises(InvalidInput, match="iterations must be a whole number"):
        estimator.set_params(alpha=4.0, iterations=0)
    with pytest.raises(
        InvalidInput, match=r"ALS has the parameters \['n_factors', .*got \['beta'\]"
    ):
        estimator.set_params(beta=1)
    assert estimator.alpha == 3.0


def test_an_attribute_that_was_set_by_hand_is_checked_by_fit() -> None:
    estimator = ALS(8)
    estimator.alpha = -1

    with pytest.raises(InvalidInput, match="alpha must be a finite number above 0, got -1"):
        estimator.fit(MATRIX)


@pytest.mark.slow
def test_the_case_that_ended_the_process_is_refused_in_a_process_of_its_own() -> None:
    program = """
import numpy as np, scipy.sparse as sp
from recstream import ALS
matrix = sp.csr_matrix((np.ones(6), [1, 2, 3, 1, 3, 2], [0, 2, 4, 6]), shape=(3, 3))
ALS(4).fit(matrix)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )

    assert ran.returncode == 1
    assert "InvalidInput: interactions must have columns from 0 to 2, got column 3" in ran.stderr


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quality([[0, 1]] * 3, MATRIX, 0), "k must be a whole number of at least 1, got 0"),
        (lambda: quality([[0, 1]] * 3, MATRIX, -1), "k must be a whole number of at least 1"),
        (lambda: quality(np.ones((3, 2)), MATRIX), "ids must be rows of items, got float64"),
        (lambda: quality(np.ones((3, 2), bool), MATRIX), "ids must be rows of items, got bool"),
        (lambda: quality(np.ones(3, int), MATRIX), "ids must be rows of items, got int64"),
        (lambda: hits([[None]], MATRIX), "ids must be rows of items, got object"),
        (
            lambda: split_entries(BY_TIME, 0.5, np.random.default_rng(0), np.arange(4)),
            "at needs a CSR matrix with ascending columns",
        ),
        (
            lambda: split_entries(BY_TIME.tocoo(), 0.5, np.random.default_rng(0), np.arange(4)),
            "at needs a CSR matrix with .* no repeated entries, got format 'coo'; call tocsr",
        ),
    ],
)
def test_what_would_be_evaluated_wrongly_is_refused(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


def test_lists_without_places_have_no_hits() -> None:
    found = quality(np.zeros((3, 0), np.int32), MATRIX)

    assert (found.recall, found.mrr, found.hit, found.n_users) == (0.0, 0.0, 0.0, 3)
