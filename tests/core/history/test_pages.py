"""Pages of a history: the one of an item, alone and for many items at once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recstream.core.history.pages import item_hash, page_of, pages_of


@given(st.lists(st.tuples(st.text(max_size=8), st.integers(1, 5_000)), min_size=1, max_size=20))
def test_the_pages_of_many_items_are_those_of_each(cases: list[tuple[str, int]]) -> None:
    hashes = np.array([item_hash(item) for item, _ in cases], np.int64)
    n_pages = np.array([n for _, n in cases], np.int64)

    pages = pages_of(hashes, n_pages)

    assert pages.tolist() == [page_of(item, n) for item, n in cases]
