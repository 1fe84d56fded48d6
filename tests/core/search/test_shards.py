"""Top-N over shards: the lists and scores of one index, bit for bit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recstream.core.search import ItemIndex, ShardedIndex, top_n
from recstream.errors import InvalidInput
from tests.core.search.test_top_n import factors, slow_scores, slow_top_n

KINDS = ["normal", "few values", "skewed norms", "all alike"]


def sharded(items: np.ndarray, bias: np.ndarray, cuts: list[int]) -> ShardedIndex:
    bounds = [0, *sorted(cuts), len(items)]
    return ShardedIndex([ItemIndex(items[a:b], bias[a:b]) for a, b in pairwise(bounds)])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(KINDS),
    st.lists(st.integers(0, 90), max_size=4),
    st.integers(1, 30),
)
def test_any_shards_give_the_lists_of_brute_force(
    seed: int, kind: str, cuts: list[int], n: int
) -> None:
    rng = np.random.default_rng(seed)
    items, users = factors(rng, 90, 6, kind), factors(rng, 5, 6, kind)
    bias = np.round(rng.normal(size=90)).astype(np.float32)
    exclude = sparse.random(5, 90, 0.2, "csr", np.float32, rng)
    mask = rng.random(90) < 0.8
    found = top_n(users, sharded(items, bias, cuts), n, exclude=exclude, mask=mask)
    allowed = (exclude.toarray() == 0) & mask
    ids, scores = slow_top_n(slow_scores(users, items, bias), n, allowed)
    assert found.ids.tolist() == ids.tolist()
    assert found.scores.tobytes() == scores.tobytes()


def test_many_items_and_threads_give_the_lists_of_one_index() -> None:
    rng = np.random.default_rng(0)
    items, users = factors(rng, 5_000, 16, "skewed norms"), factors(rng, 300, 16, "normal")
    bias = rng.normal(size=5_000).astype(np.float32)
    expected = top_n(users, ItemIndex(items, bias), 20)
    found = top_n(users, sharded(items, bias, [1, 1_700, 1_700, 3_000]), 20, threads=2)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.scores.tobytes() == expected.scores.tobytes()


def test_shards_of_different_factors_are_refused() -> None:
    one, other = ItemIndex(np.ones((3, 2))), ItemIndex(np.ones((3, 4)))
    with pytest.raises(InvalidInput, match=r"one number of factors, got \[2, 4\]"):
        ShardedIndex([one, other])
