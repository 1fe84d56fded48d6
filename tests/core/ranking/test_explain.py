"""A score is the sum of its parts, each part leads to an event, and the verdict fits the list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.events import Event, EventWeights, from_timestamp_ms
from recstream.core.generation.generation import Generation
from recstream.core.history.fold import FoldSettings, History, apply
from recstream.core.ranking.explain import explain
from recstream.core.ranking.rank import rank
from recstream.errors import NotFound

HALF_LIFE_MS = 1e6
RULES = FoldSettings(EventWeights(), HALF_LIFE_MS)
ITEMS = [f"i{at:02}" for at in range(30)]


@pytest.fixture(scope="module")
def generation() -> Generation:
    rng = np.random.default_rng(3)
    taken = sparse.csr_matrix(rng.random((60, len(ITEMS))) < 0.2, dtype=np.float32)
    return Generation(
        number=4,
        parent=3,
        offsets={},
        hyperparameters={},
        seed=0,
        items=ITEMS,
        bias=rng.random(len(ITEMS)).astype(np.float32) * 0.1,
        model=ALS(n_factors=6, iterations=6).fit(taken),
    )


def history(*events: tuple[str, str], first_offset: int = 100) -> History:
    folded = History("u")
    for at, (kind, item) in enumerate(events):
        event = Event(
            id=f"e{at}",
            type=kind,
            user="u",
            item=item,
            ts=from_timestamp_ms(at * 1000),
            value=5.0 if kind == "rate" else None,
        )
        folded = apply(folded, event, first_offset + at, 0, RULES)
    return folded


kinds = st.sampled_from(["view", "click", "cart", "purchase", "rate", "like", "dislike"])


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(kinds, st.sampled_from(ITEMS)), max_size=40),
    item=st.sampled_from(ITEMS),
)
def test_the_parts_and_the_prior_sum_to_the_score_that_lists_are_ranked_by(
    generation: Generation, events: list[tuple[str, str]], item: str
) -> None:
    folded = history(*events)

    told = explain(folded, generation, item, list_size=5, half_life_ms=HALF_LIFE_MS)

    assert told.score == pytest.approx(told.prior + sum(part.score for part in told.because))
    ranked = rank([folded], generation, len(ITEMS), HALF_LIFE_MS)[0]
    scores = dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
    if told.verdict != "seen":
        assert told.score == pytest.approx(scores[ITEMS.index(item)], abs=2e-4)


def test_each_part_names_the_newest_event_of_its_item_by_offset(generation: Generation) -> None:
    folded = history(("view", "i01"), ("cart", "i02"), ("like", "i01"))

    told = explain(folded, generation, "i09", list_size=5, half_life_ms=HALF_LIFE_MS)

    parts = {part.item: (part.event, part.offset, part.n_events) for part in told.because}
    assert parts == {"i01": ("like", 102, 2), "i02": ("cart", 101, 1)}


def test_an_item_in_the_list_is_listed_at_its_rank(generation: Generation) -> None:
    folded = history(("view", "i01"), ("view", "i02"))
    ranked = rank([folded], generation, 5, HALF_LIFE_MS)[0]

    told = [
        explain(folded, generation, ITEMS[at], list_size=5, half_life_ms=HALF_LIFE_MS)
        for at in ranked.rows.tolist()
    ]

    assert [(each.verdict, each.rank, each.missing) for each in told] == [
        ("listed", place, 0.0) for place in range(1, 6)
    ]


def test_the_first_item_left_out_is_below_the_cut_by_the_difference(generation: Generation) -> None:
    folded = history(("view", "i01"), ("view", "i02"))
    ranked = rank([folded], generation, 6, HALF_LIFE_MS)[0]

    told = explain(
        folded, generation, ITEMS[int(ranked.rows[5])], list_size=5, half_life_ms=HALF_LIFE_MS
    )

    assert (told.verdict, told.rank) == ("below-the-cut", 6)
    assert told.cut == pytest.approx(float(ranked.scores[4]))
    assert told.missing == pytest.approx(float(ranked.scores[4] - ranked.scores[5]))


@pytest.mark.parametrize("kind", ["view", "dislike"])
def test_an_item_of_the_history_is_seen(generation: Generation, kind: str) -> None:
    told = explain(
        history((kind, "i01")), generation, "i01", list_size=30, half_life_ms=HALF_LIFE_MS
    )

    assert (told.verdict, told.rank) == ("seen", 0)


def test_without_a_history_the_prior_is_all(generation: Generation) -> None:
    told = explain(History("u"), generation, "i03", list_size=5, half_life_ms=HALF_LIFE_MS)

    assert told.because == ()
    assert told.score == told.prior == float(generation.bias[3])


def test_an_unknown_item_is_not_found(generation: Generation) -> None:
    with pytest.raises(NotFound, match="knows no item 'i99'"):
        explain(History("u"), generation, "i99", list_size=5, half_life_ms=HALF_LIFE_MS)
