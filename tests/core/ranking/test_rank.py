"""Lists from histories and a generation."""

import numpy as np
import pytest

from recstream.core.als import ALSModel
from recstream.core.generation import Generation
from recstream.core.history.fold import Entry, History
from recstream.core.neighbours.behaviour import WIDTH, Neighbours
from recstream.core.numeric.neighbour_tables import RECENT
from recstream.core.ranking import describe, item_ids, rank
from recstream.core.ranking.reasons import score_terms
from tests.core.generation.generation_cases import (
    HALF_LIFE_MS,
    ITEMS,
    N_ITEMS,
    history,
    make_generation,
    trained,
)


@pytest.fixture(scope="module")
def generation():
    return trained()


def test_a_list_holds_what_the_user_likes_and_has_not_seen(generation):
    known = history("u", 0, 2, 4)

    (ranked,) = rank([known], generation, 10, HALF_LIFE_MS)

    assert {int(item[1:]) % 2 for item in item_ids(ranked, generation)} == {0}
    assert not {"p0", "p2", "p4"} & set(item_ids(ranked, generation))
    assert ranked.source == "fold-in"


def test_a_list_has_the_same_bits_alone_and_in_any_batch(generation):
    histories = [history(f"u{n}", *range(n % 7, N_ITEMS, 3 + n % 5)) for n in range(50)]

    together = rank(histories, generation, 12, HALF_LIFE_MS)

    for each, batched in zip(histories, together, strict=True):
        (alone,) = rank([each], generation, 12, HALF_LIFE_MS)
        assert alone.rows.tobytes() == batched.rows.tobytes()
        assert alone.scores.tobytes() == batched.scores.tobytes()


@pytest.mark.parametrize(("version", "skips"), [(None, False), (1, False), (2, True)])
def test_negligible_entries_are_left_out_from_version_2_of_the_fold_in_on(
    version: int | None, skips: bool, monkeypatch: pytest.MonkeyPatch
):
    made, asked = trained(), []
    chosen = {} if version is None else {"fold_in_version": version}
    generation = Generation(
        number=1, parent=None, offsets={}, hyperparameters=chosen, seed=0, items=ITEMS,
        bias=np.zeros(N_ITEMS, np.float32), model=made.model,
    )  # fmt: skip
    fold_in = ALSModel.fold_in

    def noted(model, rows, **options):
        asked.append(options["skip_negligible"])
        return fold_in(model, rows, **options)

    monkeypatch.setattr(ALSModel, "fold_in", noted)
    rank([history("u", 0, 2, 4)], generation, 10, HALF_LIFE_MS)

    assert asked == [skips]


@pytest.mark.parametrize(("version", "n_seeds"), [(None, RECENT), (1, RECENT), (2, 200)])
def test_a_history_without_order_is_used_as_a_whole_from_version_2_on(
    version: int | None, n_seeds: int
):
    n_items = 20_000
    rng = np.random.default_rng(4)
    table = Neighbours(
        rng.integers(200, n_items, (n_items, WIDTH), np.int32),
        -np.sort(-rng.random((n_items, WIDTH)), axis=1).astype(np.float32),
    )
    items = [f"p{at:05}" for at in range(n_items)]
    chosen = {"behaviour_weight": 1.0}
    if version is not None:
        chosen["behaviour_version"] = version
    generation = Generation(
        number=1, parent=None, offsets={}, hyperparameters=chosen, seed=0, items=items,
        bias=np.zeros(n_items, np.float32), model=None, behaviour=table,
    )  # fmt: skip
    page = {item: Entry(item, 1.0, 0, 1, 0, 1) for item in items[:200]}
    known = History("u", n_items=200, n_ids=200, pages=(page,))

    (ranked,) = rank([known], generation, 10, HALF_LIFE_MS)

    scores = np.zeros(n_items)
    for rows, weights in map(table.of, range(n_seeds)):
        np.add.at(scores, rows, 4 / (3 + n_seeds) * weights.astype(np.float64))
    best = np.argsort(-scores, kind="stable")[:10]
    assert ranked.rows.tolist() == best.tolist()
    np.testing.assert_allclose(ranked.scores, scores[best], rtol=1e-6)
    terms = score_terms(ranked.seen, generation, None, ranked.rows)
    np.testing.assert_allclose(terms.behaviour.sum(axis=1), scores[best], rtol=1e-6)


def test_who_has_no_history_gets_what_is_popular(generation):
    popular = make_generation(generation.model, bias=np.arange(N_ITEMS))

    (ranked,) = rank([History("new")], popular, 3, HALF_LIFE_MS)
    listed = describe(ranked, History("new"), popular)

    assert [each.item for each in listed] == ["p39", "p38", "p37"]
    assert ranked.source == "popular"
    assert {why.kind for each in listed for why in each.why} == {"popular"}


def test_a_generation_without_factors_ranks_by_its_priors():
    popular = make_generation(None, bias=-np.arange(N_ITEMS))

    (ranked,) = rank([history("u", 1)], popular, 3, HALF_LIFE_MS)

    assert item_ids(ranked, popular) == ("p0", "p2", "p3")
    assert ranked.source == "popular"


def test_who_disliked_everything_still_does_not_see_it_again(generation):
    disliked = history("u", 0, 1, weight=0.0)

    (ranked,) = rank([disliked], generation, N_ITEMS, HALF_LIFE_MS)

    assert ranked.source == "popular"
    assert set(item_ids(ranked, generation)) == set(ITEMS) - {"p0", "p1"}


def test_who_has_seen_all_items_gets_an_empty_list(generation):
    (ranked,) = rank([history("u", *range(N_ITEMS))], generation, 5, HALF_LIFE_MS)

    assert describe(ranked, history("u"), generation) == ()


def test_no_items_make_empty_lists():
    (ranked,) = rank([History("u")], make_generation(None, items=[]), 5, HALF_LIFE_MS)

    assert len(ranked.rows) == 0


def test_each_place_contains_the_items_rank_before(generation):
    known = history("u", 0, 2)
    (ranked,) = rank([known], generation, 3, HALF_LIFE_MS)
    first, second, third = item_ids(ranked, generation)

    listed = describe(ranked, known, generation, before=(second, "gone", first))

    assert [(each.item, each.was) for each in listed] == [(first, 3), (second, 1), (third, 0)]


def test_reasons_name_entries_of_the_history_and_never_more_than_the_whole(generation):
    known = history("u", 0, 2, 4, 6)
    (ranked,) = rank([known], generation, 5, HALF_LIFE_MS)

    for each in describe(ranked, known, generation):
        because = [why for why in each.why if why.kind == "because"]
        assert because
        assert {why.item for why in because} <= {"p0", "p2", "p4", "p6"}
        assert {why.event for why in because} == {"view"}
        assert sum(why.share for why in each.why) <= 1.0 + 1e-3 * len(each.why)
