"""Lists from histories and a generation; generations, their arrays and their deltas."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from recstream import ALS
from recstream.core.history import Entry, History
from recstream.core.listing import describe, item_ids, rank
from recstream.core.matrix import grown, stack
from recstream.core.model import Generation, digest
from recstream.core.records import DeltaAnnounced
from recstream.errors import ArtifactCorrupt, ModelMismatch

N_ITEMS = 40
ITEMS = [f"p{number}" for number in range(N_ITEMS)]
HALF_LIFE_MS = 1e9


def history(user, *numbers, weight=1.0):
    page = {f"p{n}": Entry(f"p{n}", weight, 0, 1, n, 1) for n in numbers}
    return History(user, offset=9, n_items=len(page), n_ids=len(page), pages=(page,))


def taste_of(parity):
    """Users like items of one parity: the right answer is known before any model runs."""
    return [n for n in range(N_ITEMS) if n % 2 == parity]


@pytest.fixture(scope="module")
def generation():
    rng = np.random.Generator(np.random.PCG64(0))
    rows = []
    for number in range(60):
        liked = np.sort(rng.choice(taste_of(number % 2), 8, replace=False)).astype(np.int32)
        rows.append((liked, np.ones(8, np.float32)))
    model = ALS(8, iterations=6).fit(stack(rows, N_ITEMS))
    return make_generation(model)


def make_generation(model, bias=None, items=ITEMS):
    return Generation(
        number=3, parent=2, offsets={"0": 7}, hyperparameters={"n_factors": 8}, seed=1,
        items=list(items),
        bias=np.zeros(len(items), np.float32) if bias is None else np.asarray(bias, np.float32),
        model=model,
    )  # fmt: skip


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


def test_each_place_tells_where_the_item_was_before(generation):
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


def delta(number, items, generation, value=1.0, bias=5.0):
    n, d = len(items), generation.n_factors
    return DeltaAnnounced(
        generation=generation.number, delta=number, offsets={"0": 9}, items=tuple(items),
        factors=np.full((n, d), value, np.float32).tobytes(),
        bias=np.full(n, bias, np.float32).tobytes(),
        counts=np.full(n, 2, np.int32).tobytes(), created_ts=0,
    )  # fmt: skip


def test_a_delta_moves_known_items_and_adds_new_ones(generation):
    moved = Generation.from_arrays(generation.arrays())

    assert moved.apply_delta(delta(1, ["new", "p5"], moved))

    assert moved.delta == 1
    assert moved.items[-1] == "new"
    assert moved.bias[[5, N_ITEMS]].tolist() == [5.0, 5.0]
    assert moved.model.item_factors[[5, N_ITEMS]].tolist() == [[1.0] * 8] * 2
    (ranked,) = rank([History("u")], moved, 2, HALF_LIFE_MS)
    assert item_ids(ranked, moved) == ("p5", "new")


def test_a_delta_applied_again_changes_nothing(generation):
    moved = Generation.from_arrays(generation.arrays())
    moved.apply_delta(delta(1, ["new"], moved))

    assert not moved.apply_delta(delta(1, ["new"], moved, value=9.0))
    assert moved.model.item_factors[N_ITEMS, 0] == 1.0


def test_deltas_one_by_one_give_the_same_lists_as_at_a_restart(generation):
    steps = [delta(n, [f"p{n}", f"new{n}"], generation, value=0.1 * n, bias=n) for n in (1, 2, 3)]
    early = Generation.from_arrays(generation.arrays())
    users = [history("a", 0, 2), history("b", 1, 3), History("c")]
    for step in steps:
        early.apply_delta(step)
        rank(users, early, 5, HALF_LIFE_MS)

    late = Generation.from_arrays(generation.arrays())
    for step in steps:
        late.apply_delta(step)

    for one, other in zip(
        rank(users, early, 9, HALF_LIFE_MS), rank(users, late, 9, HALF_LIFE_MS), strict=True
    ):
        assert one.rows.tobytes() == other.rows.tobytes()
        assert one.scores.tobytes() == other.scores.tobytes()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"generation": 4}, "is of generation 4, expected 3"),
        ({"delta": 3}, "expects delta 1, got 3"),
        ({"bias": b""}, "names 1 items of 8 factors"),
        ({"items": ("p1", "p1")}, "names 2 items"),
    ],
)
def test_a_delta_that_does_not_follow_is_refused_and_moves_nothing(generation, changes, says):
    moved = Generation.from_arrays(generation.arrays())
    wrong = msgspec.structs.replace(delta(1, ["p1"], moved), **changes)

    with pytest.raises(ModelMismatch, match=says):
        moved.apply_delta(wrong)
    assert digest(moved.arrays()) == digest(generation.arrays())


def test_a_delta_that_repeats_an_item_is_refused(generation):
    with pytest.raises(ModelMismatch, match="repeats an item"):
        Generation.from_arrays(generation.arrays()).apply_delta(
            delta(1, ["new", "new"], generation)
        )


def test_a_generation_comes_back_from_its_arrays(generation):
    again = Generation.from_arrays(generation.arrays())

    assert digest(again.arrays()) == digest(generation.arrays())
    assert (again.number, again.parent, again.offsets, again.seed) == (3, 2, {"0": 7}, 1)
    assert again.items == ITEMS


def test_without_items_a_generation_comes_back_too():
    again = Generation.from_arrays(make_generation(None, items=[]).arrays())

    assert again.items == []
    assert again.model is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays: arrays.pop("bias"),
        lambda arrays: arrays.update(extra=arrays["bias"]),
        lambda arrays: arrays.update(bias=arrays["bias"][:-1]),
        lambda arrays: arrays.update(bias=arrays["bias"].astype(np.float64)),
        lambda arrays: arrays.update(generation=np.frombuffer(b"{}", np.uint8)),
        lambda arrays: arrays.update(generation=np.frombuffer(b"\xff", np.uint8)),
        lambda arrays: arrays.pop("als.spectrum"),
        lambda arrays: arrays.update(items=np.frombuffer(b"a\na", np.uint8)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(generation, damage):
    arrays = generation.arrays()
    damage(arrays)

    with pytest.raises(ArtifactCorrupt):
        Generation.from_arrays(arrays)


def test_items_keep_their_parents_rows_and_new_ones_follow_by_id():
    assert grown(["b", "a"], ["c", "a", "0"]) == ["b", "a", "0", "c"]
