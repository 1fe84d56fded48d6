"""Predict, then learn: what counts, and what the counts come to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstream.core.evaluation.online import CUTS, RankHistogram, RankHistograms, is_evaluated
from recstream.core.events import Event, EventWeights, from_timestamp_ms
from recstream.core.history.fold import FoldSettings, History, apply

RULES = FoldSettings(EventWeights(), 1e9)


def event(kind: str, item: str, **fields: object) -> Event:
    return Event(
        id=f"{kind}-{item}", type=kind, user="u", item=item, ts=from_timestamp_ms(0), **fields
    )


def test_four_events_at_ranks_1_6_20_and_none_give_these_shares() -> None:
    histogram = RankHistogram()
    for rank in (1, 6, 20, 0):
        histogram.add(rank)

    score = histogram.total()

    assert score.events == 4
    assert score.hits == {5: 0.25, 10: 0.5, 20: 0.75}
    assert score.mrr == pytest.approx((1 + 1 / 6 + 1 / 20) / 4)


def test_the_window_forgets_what_the_total_keeps() -> None:
    histogram = RankHistogram(window=2)
    for rank in (1, 0, 0):
        histogram.add(rank)

    assert histogram.recent().hits == dict.fromkeys(CUTS, 0.0)
    assert histogram.recent().events == 2
    assert histogram.total().hits[5] == pytest.approx(1 / 3)
    histogram.add(1)
    assert histogram.recent().hits == dict.fromkeys(CUTS, 0.5)


@given(st.lists(st.integers(0, 30), max_size=50))
def test_a_window_that_was_never_full_equals_the_total(ranks: list[int]) -> None:
    histogram = RankHistogram(window=50)
    for rank in ranks:
        histogram.add(rank)

    assert histogram.recent().hits == histogram.total().hits
    assert histogram.recent().mrr == pytest.approx(histogram.total().mrr)


def test_an_event_counts_for_all_for_its_generation_its_source_and_for_cold_users() -> None:
    board = RankHistograms()
    board.add(1, generation=3, source="fold-in", is_cold=False)
    board.add(0, generation=4, source="popular", is_cold=True)

    counts = {name: score.events for name, score in board.totals().items()}

    assert counts == {
        "all": 2,
        "cold users": 1,
        "generation 3": 1,
        "generation 4": 1,
        "source fold-in": 1,
        "source popular": 1,
    }


def is_evaluated_next(history: History, new: Event, weights: EventWeights) -> bool:
    """Return `is_evaluated` of the next event of a history."""
    after = apply(history, new, history.offset + 1, 0, RULES)
    return is_evaluated(history.n_items, after.n_items, new, weights)


def test_an_item_that_is_new_to_the_user_is_evaluated() -> None:
    assert is_evaluated_next(History("u"), event("view", "a"), EventWeights())


def test_an_item_of_the_history_is_not_evaluated() -> None:
    history = apply(History("u"), event("view", "a"), 0, 0, RULES)

    assert not is_evaluated_next(history, event("purchase", "a"), EventWeights())
    assert is_evaluated_next(history, event("purchase", "b"), EventWeights())


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("dislike", {}), ("remove", {}), ("rate", {"value": 1.0}), ("impression", {})],
)
def test_an_event_without_positive_weight_is_not_evaluated(kind: str, fields: dict) -> None:
    assert not is_evaluated_next(History("u"), event(kind, "a", **fields), EventWeights())


def test_a_type_without_weight_is_not_evaluated() -> None:
    assert not is_evaluated_next(History("u"), event("view", "a"), EventWeights(view=0.0))
