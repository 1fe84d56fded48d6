"""Metrics against values worked out by hand."""

import math

import numpy as np
import pytest
from scipy import sparse

from recstream.errors import InvalidInput
from scripts.bench import list_metrics as metrics


def rows(*test_items: list[int], n_items: int = 6) -> sparse.csr_array:
    matrix = np.zeros((len(test_items), n_items), np.float32)
    for row, items in enumerate(test_items):
        matrix[row, items] = 1
    return sparse.csr_array(matrix)


IDS = np.array([[0, 1, 2], [3, 4, 5], [5, 4, -1]], np.int32)
TEST = rows([1, 2, 4, 5], [3], [0])


def test_hits_are_the_places_that_hold_a_test_item_of_the_same_row() -> None:
    found = metrics.hits(IDS, TEST)

    assert found.tolist() == [[False, True, True], [True, False, False], [False, False, False]]


def test_an_unused_place_is_no_hit_even_beside_the_next_rows_first_item() -> None:
    found = metrics.hits(np.array([[-1], [-1]], np.int32), rows([5], [0]))

    assert not found.any()


def test_recall_divides_by_all_test_items_not_by_k() -> None:
    found = metrics.hits(IDS, TEST)

    assert metrics.recall_at(found, np.array([4, 1, 1]), 2).tolist() == [0.25, 1.0, 0.0]


def test_ndcg_cuts_the_ideal_list_at_k_and_at_the_number_of_test_items() -> None:
    found = metrics.hits(IDS, TEST)
    second, third = 1 / math.log2(3), 1 / math.log2(4)

    ndcg = metrics.ndcg_at(found, np.array([4, 1, 1]), 3)

    assert ndcg == pytest.approx([(second + third) / (1 + second + third), 1.0, 0.0])


def test_ndcg_of_a_list_shorter_than_k_counts_the_missing_places_as_misses() -> None:
    ndcg = metrics.ndcg_at(np.array([[True]]), np.array([2]), 2)

    assert ndcg == pytest.approx([1 / (1 + 1 / math.log2(3))])


def test_mrr_looks_at_the_first_hit_only() -> None:
    assert metrics.mrr(metrics.hits(IDS, TEST)).tolist() == [0.5, 1.0, 0.0]


def test_quality_averages_over_users_with_test_items_only() -> None:
    ids = np.vstack([IDS, [[0, 1, 2]]]).astype(np.int32)
    test = rows([1, 2, 4, 5], [3], [0], [])

    result = metrics.quality(ids, test, 2)

    assert result.n_users == 3
    assert result.recall == pytest.approx((0.25 + 1) / 3)
    assert result.mrr == pytest.approx(0.5)
    assert result.hit == pytest.approx(2 / 3)
    assert result.coverage == pytest.approx(5 / 6)  # 0 1, 3 4, 5 4


def test_gini_of_an_even_spread_is_zero_and_of_one_item_is_one_less_its_share() -> None:
    assert metrics.gini(np.array([[0], [1], [2]], np.int32), 3) == 0.0
    assert metrics.gini(np.array([[1], [1], [1]], np.int32), 3) == pytest.approx(2 / 3)


def test_gini_of_one_and_three_over_two_items_is_a_quarter() -> None:
    assert metrics.gini(np.array([[0], [1], [1], [1]], np.int32), 2) == pytest.approx(0.25)


def test_nothing_to_average_is_not_a_number_rather_than_zero() -> None:
    assert math.isnan(metrics.quality(np.zeros((1, 2), np.int32), rows([])).recall)


def test_rankings_and_test_rows_must_fit_together() -> None:
    with pytest.raises(InvalidInput, match=r"ids must be \(3, n\)"):
        metrics.hits(IDS[:2], TEST)
    with pytest.raises(InvalidInput, match="ids must be below 6"):
        metrics.hits(IDS + 3, TEST)


def test_no_items_or_no_lists_cover_nothing() -> None:
    assert metrics.coverage(np.zeros((0, 2), np.int32), 0) == 0.0
    assert metrics.gini(np.full((1, 2), -1, np.int32), 3) == 0.0
