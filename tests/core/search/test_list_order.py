"""Keys: a list's order as whole numbers, and the best of many kept by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstream.core.search.keys import EMPTY_KEY, exact_score, keep, key_of, lists_of, row_of
from recstream.core.search.keys import score_of as score_in

scores = st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0])
pairs = st.lists(st.tuples(scores, st.integers(0, 2**31 - 1)), min_size=2, max_size=60)


@given(pairs)
def test_keys_sort_by_falling_score_then_by_rising_row(made: list[tuple[float, int]]) -> None:
    by_key = sorted(made, key=lambda each: -key_of(np.float32(each[0]), each[1]))

    assert by_key == sorted(made, key=lambda each: (-each[0], each[1]))
    for score, row in made:
        key = key_of(np.float32(score), row)
        assert (score_in(key), row_of(key)) == (score, row)
        assert key > EMPTY_KEY
    assert (score_in(EMPTY_KEY), row_of(EMPTY_KEY)) == (-np.inf, -1)


@pytest.mark.parametrize("length", [1, 2, 20, 256, 257, 300])
@pytest.mark.parametrize("n_items", [5, 2_000])
def test_the_best_are_kept_in_lists_of_any_length(length: int, n_items: int) -> None:
    rng = np.random.default_rng(length)
    offered = np.round(rng.normal(size=n_items), 1).astype(np.float32)
    keys = np.full((1, length), EMPTY_KEY)

    for row in rng.permutation(n_items).tolist():
        keep(keys[0], key_of(offered[row], row))

    rows, kept = lists_of(keys)
    best = np.lexsort((np.arange(n_items), -offered))[:length]
    empty = length - len(best)
    assert rows[0].tolist() == best.tolist() + [-1] * empty
    assert kept[0].tolist() == offered[best].tolist() + [-np.inf] * empty


@pytest.mark.parametrize("n_factors", [1, 3, 4, 7, 64])
def test_a_score_is_summed_in_four_and_has_one_zero(n_factors: int) -> None:
    rng = np.random.default_rng(n_factors)
    user, item = rng.normal(size=(2, n_factors)).astype(np.float32)
    sums = [0.0] * 4
    for k in range(n_factors):
        sums[k % 4 if k < n_factors // 4 * 4 else 0] += float(user[k]) * float(item[k])
    wanted = np.float32((sums[0] + sums[1]) + (sums[2] + sums[3]) + 0.25)

    assert exact_score(user, item, np.float32(0.25)) == wanted
    nothing = exact_score(np.full(n_factors, -1e-30, np.float32), np.full(n_factors, 1e-30, np.float32), np.float32(0.0))  # fmt: skip
    assert str(nothing) == "0.0"
