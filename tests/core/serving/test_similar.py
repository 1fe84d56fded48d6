"""Similar items: what people did and what the items are, blended by how much is known."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.generation.generation import Generation
from recstream.core.neighbours import Neighbours
from recstream.core.records import Item
from recstream.core.serving.similar import KNOWN_EVENTS, similar

FACTS = {
    "i0": Item(item="i0", title="Steel guitar strings", brand="Acme"),
    "i1": Item(item="i1", title="Nylon guitar strings", brand="Acme"),
    "i2": Item(item="i2", title="Drum sticks", brand="Acme"),
}


def content(n_items: int, **near: dict[int, float]) -> Neighbours:
    table = Neighbours.empty(n_items)
    for name, of in near.items():
        table.put(int(name[1:]), list(of), list(of.values()))
    return table


def generation(n_items: int = 4, *, matrix=None, **more) -> Generation:
    model = None
    if matrix is not None:
        model = ALS(n_factors=4, iterations=8, seed=1, threads=1).fit(sparse.csr_matrix(matrix))
    return Generation(
        number=0 if model is None else 1,
        parent=None,
        offsets={},
        hyperparameters={},
        seed=0,
        items=[f"i{at}" for at in range(n_items)],
        bias=np.zeros(n_items, np.float32),
        model=model,
        details={name: facts for name, facts in FACTS.items() if int(name[1:]) < n_items},
        **more,
    )


def checker_board(n_users: int, n_items: int) -> np.ndarray:
    """Who likes even items likes even items."""
    return np.fromfunction(lambda u, i: (u + i) % 2 == 0, (n_users, n_items)).astype(np.float32)


def test_without_any_model_an_item_has_the_neighbours_of_its_content():
    found = similar(generation(content=content(4, i0={1: 0.8, 2: 0.2})), "i0", 5)

    assert [(one.item, one.score) for one in found] == [("i1", 0.8), ("i2", 0.2)]
    (why,) = found[0].why
    assert (why.kind, why.share) == ("content", 1.0)
    assert set(why.shared) == {"brand: Acme", "word: guitar", "word: strings"}


def test_what_many_have_touched_is_like_what_they_touched_with_it():
    board = checker_board(40, 6)
    found = similar(generation(6, matrix=board, content=content(6, i0={1: 0.4})), "i0", 5)

    assert {one.item for one in found[:2]} == {"i2", "i4"}
    assert found[0].why[0].kind == "behaviour"
    assert found[-1].item == "i1"


def test_the_score_is_the_blend_by_how_much_is_known():
    behaviour = content(4, i0={1: 0.6})
    board = checker_board(20, 4)
    near = generation(matrix=board, behaviour=behaviour, content=content(4, i0={1: 0.5}))
    known = 10 / (10 + KNOWN_EVENTS)

    found = {one.item: one for one in similar(near, "i0", 5)}

    # i0 and i1 share no user: their factors' cosine is about 0, so what remains is known by hand.
    expected = known * 0.6 + (1 - 0.75 * known) * 0.5
    assert found["i1"].score == pytest.approx(expected, abs=0.01)
    assert sum(part.share for part in found["i1"].why) == pytest.approx(1.0, abs=0.002)


def test_neighbours_that_few_have_touched_count_less():
    board = np.zeros((60, 3), np.float32)
    board[:, 0] = 1.0
    board[:40, 1] = 1.0
    board[:2, 2] = 1.0

    found = [one.item for one in similar(generation(3, matrix=board), "i0", 5)]

    assert found[0] == "i1"


def test_withdrawn_items_and_the_item_itself_are_left_out():
    gone = np.array([False, True, False, False])
    found = similar(generation(content=content(4, i0={1: 0.8, 2: 0.2}), withdrawn=gone), "i0", 5)

    assert [one.item for one in found] == ["i2"]


def test_equal_neighbours_come_in_the_order_of_their_rows_and_no_more_than_asked():
    found = similar(generation(content=content(4, i3={0: 0.5, 2: 0.5, 1: 0.5})), "i3", 2)

    assert [one.item for one in found] == ["i0", "i1"]


@pytest.mark.parametrize("n", [1, 3, 39, 40, 100])
def test_the_nearest_are_those_that_a_whole_sort_puts_first(n):
    weights = np.random.default_rng(n).integers(1, 5, 32) / 8  # many are equal
    near = generation(40, content=content(40, i0=dict(enumerate(weights.tolist(), start=1))))

    found = [(one.item, one.score) for one in similar(near, "i0", n)]

    whole = sorted(enumerate(weights.tolist(), start=1), key=lambda each: (-each[1], each[0]))
    assert found == [(f"i{row}", weight) for row, weight in whole[:n]]
