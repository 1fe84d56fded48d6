"""Blocks: how rows are cut, and that files are what was written."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recstream.spark.blocks import cut


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=200), st.integers(1, 50))
def test_ranges_cover_all_rows_once_in_order(lengths: list[int], n: int) -> None:
    found = cut(np.array(lengths), n)
    assert [row for start, stop in found for row in range(start, stop)] == list(range(len(lengths)))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=200), st.integers(1, 50))
def test_no_block_holds_more_than_two_shares_unless_it_is_one_row(
    lengths: list[int], n: int
) -> None:
    costs = np.array(lengths) + 1
    for start, stop in cut(np.array(lengths), n):
        assert stop - start == 1 or costs[start:stop].sum() <= 2 * costs.sum() / n + 1


def test_a_heavy_row_is_a_block_of_its_own() -> None:
    assert (4, 5) in cut(np.array([1, 1, 1, 1, 1_000, 1, 1, 1]), 4)
