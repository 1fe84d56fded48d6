"""Dislikes push away similar items by an exact term, which explanations name."""

import numpy as np
import pytest

from recstream.core.events import EVENT_TYPES
from recstream.core.history.fold import Entry, History
from recstream.core.ranking import explain, rank
from tests.core.ranking.steering_cases import HALF_LIFE_MS, UNIT, document, shop

GENERATION = shop()
DISLIKE = EVENT_TYPES.index("dislike")
STEERING = document({"dislikes": {"strength": 2.0}})


def history(*disliked: str) -> History:
    page = {item: Entry(item, 1.0, 1, 1, 1, 1) for item in ("i3", "i8")}
    page |= {item: Entry(item, 0.0, 1, DISLIKE, 2 + at, 1) for at, item in enumerate(disliked)}
    return History("u", offset=9, clock_ms=1, n_items=len(page), pages=(page,))


def scores(of: History, steering, n: int = 60) -> dict[str, float]:
    (found,) = rank([of], GENERATION, n, HALF_LIFE_MS, steering=steering)
    return dict(
        zip([GENERATION.items[row] for row in found.rows], found.scores.tolist(), strict=True)
    )


def expected_push(item: str, disliked: str) -> float:
    total = 0.0
    for table in (GENERATION.content, GENERATION.behaviour):
        rows, weights = table.of(GENERATION.rows[disliked])
        total += float(weights[rows == GENERATION.rows[item]].sum())
    return 2.0 * UNIT * min(1.0, total)


def test_every_score_loses_exactly_what_its_similarity_to_disliked_items_says():
    plain, pushed = scores(history("i20", "i31"), None), scores(history("i20", "i31"), STEERING)

    assert plain.keys() == pushed.keys()
    for item, score in plain.items():
        push = expected_push(item, "i20") + expected_push(item, "i31")
        assert pushed[item] == pytest.approx(score - push, abs=1e-5)
    assert any(plain[item] - pushed[item] > 0.1 for item in plain)


def test_short_lists_are_the_best_of_the_long_one():
    whole = list(scores(history("i20", "i31"), STEERING))

    assert list(scores(history("i20", "i31"), STEERING, 7)) == whole[:7]


def test_users_in_a_batch_have_pushes_of_their_own():
    users = [history("i20"), history(), history("i31"), history("i20")]
    batch = rank(users, GENERATION, 9, HALF_LIFE_MS, steering=STEERING)

    for user, found in zip(users, batch, strict=True):
        (alone,) = rank([user], GENERATION, 9, HALF_LIFE_MS, steering=STEERING)
        assert np.array_equal(found.rows, alone.rows)
        assert np.array_equal(found.scores, alone.scores)


def test_an_explanation_names_the_disliked_item_and_sums_to_the_score():
    of = history("i20", "i31")
    rows, _ = GENERATION.content.of(GENERATION.rows["i20"])
    item = next(GENERATION.items[row] for row in rows if of.find(GENERATION.items[row]) is None)

    found = explain(of, GENERATION, item, list_size=5, half_life_ms=HALF_LIFE_MS, steering=STEERING)

    terms = {each.rule: each.score for each in found.boosts}
    assert terms["dislike: i20"] == pytest.approx(-expected_push(item, "i20"))
    assert found.score == pytest.approx(scores(of, STEERING)[item], abs=1e-5)


def test_without_the_setting_a_dislike_only_keeps_the_item_out():
    assert scores(history("i20"), document({})) == scores(history("i20"), None)
    assert "i20" not in scores(history("i20"), None)
