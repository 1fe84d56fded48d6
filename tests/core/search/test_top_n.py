"""Top-N against scoring everything and sorting, on ordinary and hostile factors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recstream.core.search.top_n import ItemIndex, top_n
from recstream.errors import InvalidInput

INFINITE = np.float32(-np.inf)


def slow_scores(users: np.ndarray, items: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The definition of a score, item by item, in plain Python."""
    out = np.empty((len(users), len(items)), np.float32)
    for u, user in enumerate(users.astype(float).tolist()):
        for i, item in enumerate(items.astype(float).tolist()):
            whole = len(user) // 4 * 4
            sums = [0.0, 0.0, 0.0, 0.0]
            for k in range(len(user)):
                lane = k % 4 if k < whole else 0
                sums[lane] += user[k] * item[k]
            out[u, i] = np.float32(((sums[0] + sums[1]) + (sums[2] + sums[3])) + float(bias[i]))
    return out


def slow_top_n(scores: np.ndarray, n: int, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort everything: best score first, equal scores by row."""
    ids = np.full((len(scores), n), -1, np.int32)
    best = np.full((len(scores), n), INFINITE)
    for row, values in enumerate(scores):
        kept = [i for i in range(len(values)) if allowed[row, i]]
        kept.sort(key=lambda i: (-values[i], i))
        ids[row, : len(kept[:n])] = kept[:n]
        best[row, : len(kept[:n])] = values[kept[:n]]
    return ids, best


def factors(rng: np.random.Generator, n_rows: int, n_factors: int, kind: str) -> np.ndarray:
    values = rng.normal(size=(n_rows, n_factors)).astype(np.float32)
    if kind == "few values":
        return np.round(values)
    if kind == "skewed norms":
        return values * rng.pareto(1.0, (n_rows, 1)).astype(np.float32)
    if kind == "tiny":
        return values * np.float32(1e-32)
    if kind == "huge":
        return values * np.float32(1e15)
    if kind == "one factor rules":
        values[:, 0] *= 1e4
    if kind == "all alike":
        values[:] = values[:1]
    return values


KINDS = ["normal", "few values", "skewed norms", "tiny", "huge", "one factor rules", "all alike"]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    n_users=st.integers(1, 9),
    n_items=st.integers(1, 600),
    n_factors=st.integers(1, 9),
    n=st.integers(1, 40),
    bias_size=st.sampled_from([0.0, 1.0, 1e6]),
    density=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_top_n_is_the_sorted_list_of_all_allowed_scores(
    seed: int,
    kind: str,
    n_users: int,
    n_items: int,
    n_factors: int,
    n: int,
    bias_size: float,
    density: float,
) -> None:
    rng = np.random.default_rng(seed)
    users = factors(rng, n_users, n_factors, kind)
    items = factors(rng, n_items, n_factors, kind)
    bias = (bias_size * rng.normal(size=n_items)).astype(np.float32)
    seen = rng.random((n_users, n_items)) < density * 0.5
    mask = rng.random(n_items) >= density * 0.5

    ids, scores = top_n(
        users, items, n, bias=bias, exclude=sparse.csr_matrix(seen, dtype=np.float32), mask=mask
    )

    expected = slow_top_n(slow_scores(users, items, bias), n, mask & ~seen)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


def test_a_user_gets_the_same_bits_alone_in_any_batch_and_on_any_threads() -> None:
    rng = np.random.default_rng(5)
    users, items = factors(rng, 300, 13, "normal"), factors(rng, 5000, 13, "skewed norms")
    index = ItemIndex(items, rng.normal(size=5000))

    together = top_n(users, index, 20)
    threaded = top_n(users, index, 20, threads=3)
    alone = [top_n(users[u : u + 1], index, 20) for u in range(0, 300, 37)]

    np.testing.assert_array_equal(together.ids, threaded.ids)
    np.testing.assert_array_equal(together.scores, threaded.scores)
    for u, one in zip(range(0, 300, 37), alone, strict=True):
        np.testing.assert_array_equal(one.ids[0], together.ids[u])
        np.testing.assert_array_equal(one.scores[0], together.scores[u])


def test_equal_scores_are_ranked_by_item_row_whatever_the_thread_finds_first() -> None:
    items = np.ones((4000, 3), np.float32)

    ids, _ = top_n(np.ones((1, 3)), items, 5, threads=2)

    assert ids.tolist() == [[0, 1, 2, 3, 4]]


def test_a_user_with_no_factors_gets_the_items_by_bias() -> None:
    items = np.random.default_rng(0).normal(size=(50, 4))

    ids, scores = top_n(np.zeros((1, 4)), items, 3, bias=np.arange(50) % 7)

    assert ids.tolist() == [[6, 13, 20]]
    assert scores.tolist() == [[6.0, 6.0, 6.0]]


def test_places_beyond_the_allowed_items_hold_no_item_and_minus_infinity() -> None:
    ids, scores = top_n([[1.0]], [[1.0], [2.0]], 4, exclude=sparse.csr_matrix([[0.0, 1.0]]))

    assert ids.tolist() == [[0, -1, -1, -1]]
    assert scores.tolist() == [[1.0, INFINITE, INFINITE, INFINITE]]


def test_unsorted_exclusions_are_honoured_and_left_as_they_were() -> None:
    exclude = sparse.csr_matrix(
        (np.ones(3, np.float32), np.array([4, 0, 2], np.int32), np.array([0, 3])), shape=(1, 6)
    )

    ids, _ = top_n([[1.0]], np.ones((6, 1)), 6, exclude=exclude)

    assert ids.tolist() == [[1, 3, 5, -1, -1, -1]]
    assert exclude.indices.tolist() == [4, 0, 2]


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), grown=st.integers(0, 20))
def test_an_updated_index_answers_like_a_new_one(seed: int, grown: int) -> None:
    rng = np.random.default_rng(seed)
    items, users = factors(rng, 700, 5, "skewed norms"), factors(rng, 6, 5, "normal")
    bias = rng.normal(size=700).astype(np.float32)
    index = ItemIndex(items, bias)
    rows = np.concatenate([rng.choice(700, 40, replace=False), np.arange(700, 700 + grown)])
    new, new_bias = factors(rng, len(rows), 5, "skewed norms"), rng.normal(size=len(rows))

    index.update(rows, new, new_bias)

    expected_items = np.vstack([items, np.zeros((grown, 5), np.float32)])
    expected_bias = np.concatenate([bias, np.zeros(grown, np.float32)])
    expected_items[rows], expected_bias[rows] = new, new_bias
    expected = top_n(users, expected_items, 15, bias=expected_bias)
    np.testing.assert_array_equal(top_n(users, index, 15).ids, expected.ids)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1),
    lots=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    n_first=st.sampled_from([0, 1, 15, 16, 300]),
)
def test_items_that_come_in_lots_rank_as_if_they_had_always_been_there(
    seed: int, lots: list[int], n_first: int
) -> None:
    rng = np.random.default_rng(seed)
    items, users = factors(rng, n_first, 5, "skewed norms"), factors(rng, 6, 5, "normal")
    bias = rng.normal(size=n_first).astype(np.float32)
    index = ItemIndex(items, bias)
    for n_new in lots:
        # Known ones move with those that come.
        known = rng.choice(len(items), min(len(items), 60), replace=False)
        rows = np.array([*range(len(items), len(items) + n_new), *known])
        new, new_bias = factors(rng, len(rows), 5, "skewed norms"), rng.normal(size=len(rows))
        items = np.vstack([items, np.zeros((n_new, 5), np.float32)])
        bias = np.concatenate([bias, np.zeros(n_new, np.float32)])
        items[rows], bias[rows] = new, new_bias
        index.update(rows, new, new_bias)

        expected = top_n(users, items, 15, bias=bias)
        found = top_n(users, index, 15)
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert found.scores.tobytes() == expected.scores.tobytes()


def test_an_index_with_other_biases_is_a_view_that_does_not_change() -> None:
    items = np.ones((20, 2), np.float32)
    index = ItemIndex(items)
    view = index.with_bias(np.arange(20.0))

    with pytest.raises(InvalidInput, match="with_bias"):
        view.update([1], [[2.0, 2.0]])

    assert (index.bias == 0).all()
    assert top_n(np.ones((1, 2)), view, 1).ids.tolist() == [[19]]


def test_an_index_never_writes_to_the_callers_arrays() -> None:
    items, bias = np.ones((4, 2), np.float32), np.zeros(4, np.float32)
    index = ItemIndex(items, bias)

    index.update([1], [[5.0, 5.0]], [3.0])
    index.set_bias(np.full(4, 9.0))

    assert (items == 1).all()
    assert (bias == 0).all()


def test_new_biases_rank_as_if_they_had_always_been_there() -> None:
    rng = np.random.default_rng(2)
    items, users = factors(rng, 900, 4, "normal"), factors(rng, 3, 4, "normal")
    index = ItemIndex(items, np.full(900, 100.0))
    bias = rng.normal(size=900)

    index.set_bias(bias)

    np.testing.assert_array_equal(
        top_n(users, index, 10).ids, top_n(users, items, 10, bias=bias).ids
    )


def test_no_users_and_no_items_are_empty_answers() -> None:
    assert top_n(np.zeros((0, 3)), np.ones((4, 3)), 2).ids.shape == (0, 2)
    assert top_n(np.ones((1, 3)), np.zeros((0, 3)), 2).ids.tolist() == [[-1, -1]]


def test_an_index_states_its_memory() -> None:
    index = ItemIndex(np.zeros((1600, 50), np.float32))

    # 200 bytes of factors, 50 of codes, 4 of bias, 32 of bounds and order, and the groups.
    assert index.size_bytes == 1600 * (200 + 50 + 4 + 32) + 7 * 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"users": np.ones((1, 2))}, r"user_factors must have 3 columns \(n_factors\), got 2"),
        ({"users": np.ones(3)}, "user_factors must be a real matrix"),
        ({"users": np.array([["a", "b", "c"]])}, "user_factors must be a real matrix"),
        ({"users": [[np.nan, 1, 1]]}, "user_factors must be finite, got nan in row 0"),
        ({"items": [[1, 1, 1], [1, np.inf, 1]]}, "item_factors must be finite.* in row 1"),
        ({"n": 0}, "n must be a whole number of at least 1, got 0"),
        ({"n": 10**9}, "n must be at most 1,048,576, got 1,000,000,000"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"bias": [1.0]}, r"bias must be 4 real numbers, got float64 of shape \(1,\)"),
        ({"bias": [1.0, np.nan, 0, 0]}, "bias must be finite"),
        ({"mask": np.ones(4)}, "mask must be 4 bools, got float64"),
        ({"exclude": np.ones((1, 4))}, "exclude must be a scipy sparse matrix, got ndarray"),
        ({"exclude": sparse.csr_matrix((2, 4))}, r"exclude must have shape \(1, 4\), got \(2, 4\)"),
    ],
)
def test_bad_input_names_the_argument(arguments: dict[str, object], message: str) -> None:
    users = arguments.pop("users", np.ones((1, 3)))
    items = arguments.pop("items", np.ones((4, 3)))
    n = arguments.pop("n", 2)

    with pytest.raises(InvalidInput, match=message):
        top_n(users, items, n, **arguments)


def test_bad_updates_change_nothing_and_say_why() -> None:
    index = ItemIndex(np.ones((4, 2)))

    with pytest.raises(InvalidInput, match=r"rows must lie in 0\.\.3 or append without a gap"):
        index.update([6], [[1.0, 1.0]])
    with pytest.raises(InvalidInput, match="rows must name one item for each of 1 rows"):
        index.update([1, 2], [[1.0, 1.0]])
    with pytest.raises(InvalidInput, match="an ItemIndex, which has its own"):
        top_n(np.ones((1, 2)), index, 1, bias=np.ones(4))

    assert index.n_items == 4
