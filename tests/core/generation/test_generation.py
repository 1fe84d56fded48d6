"""Generations: their arrays, and the deltas that move them."""

import msgspec
import numpy as np
import pytest

from recstream.core.generation.generation import Generation
from recstream.core.history.fold import History
from recstream.core.numeric.array_codec import array_digest as digest
from recstream.core.ranking import item_ids, rank
from recstream.core.records import DeltaAnnounced
from recstream.errors import ArtifactCorrupt, ModelMismatch
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
        ({"bias": b"123"}, "must hold numbers of four bytes"),
        ({"factors": np.full(8, np.nan, np.float32).tobytes()}, "must hold finite factors"),
        ({"bias": np.full(1, np.inf, np.float32).tobytes()}, "must hold finite factors"),
        ({"counts": np.full(1, -1, np.int32).tobytes()}, "counts of at least 0"),
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
