"""Pages of the best items by a score: the same as slices of a full sort."""

import numpy as np
import pytest

from recstream.core.records import Item
from recstream.core.serving import newest_scores, next_cursor, top_items
from recstream.core.steering import ListRequest
from tests.core.generation.generation_cases import make_generation


@pytest.mark.parametrize("scores", [[3, 1, 3, 0, 2, 3, 1, 0, 2], [0] * 9, [1] * 9])
def test_pages_are_slices_of_all_items_with_equal_scores_in_the_order_of_their_rows(scores):
    generation = make_generation(None)
    values = np.zeros(generation.n_items)
    values[: len(scores)] = scores[: generation.n_items]
    ordered = [int(row) for row in np.argsort(-values, kind="stable") if values[row] > 0]

    by_offset, by_cursor, cursor = [], [], ""
    for page in range(5):
        request = ListRequest(n=2, offset=2 * page)
        by_offset += top_items(values, generation, request, None, 0)
        found = top_items(values, generation, ListRequest(n=2, cursor=cursor), None, 0)
        if page == 0 or cursor:
            by_cursor += found
            cursor = next_cursor(ListRequest(n=2, cursor=cursor), [each.item for each in found])

    for found in (by_offset, by_cursor):
        assert [each.row for each in found] == ordered[:10]
        assert [each.rank for each in found] == list(range(1, len(found) + 1))


def test_items_that_the_catalogue_lacks_are_no_newest_ones():
    generation = make_generation(None, items=["a", "typo", "b", "gone", "c"])

    def newest():
        scores = newest_scores(generation, 0)
        found = top_items(scores, generation, ListRequest(n=9), None, 0)
        return [each.item for each in found]

    without_catalogue = newest()
    generation.details.update_all({name: Item(item=name) for name in ("a", "b", "gone", "c")})
    generation.details.update_all({"gone": None})

    assert without_catalogue == ["c", "gone", "b", "typo", "a"]
    assert newest() == ["c", "b", "a", "gone", "typo"]
