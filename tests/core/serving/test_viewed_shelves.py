"""Shelves: each item stands on that of the entry that says most for it, and on no other."""

import numpy as np
import pytest
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.generation.generation import Generation
from recstream.core.history.fold import Entry, History
from recstream.core.neighbours import Neighbours
from recstream.core.ranking.rank import rank
from recstream.core.ranking.reasons import score_terms
from recstream.core.records import Item
from recstream.core.serving.viewed_shelves import POOL, shelves

HALF_LIFE_MS = 1e9
VIEW, LIKE = 1, 6


def generation(*, factors: bool = True, n_items: int = 16, **more) -> Generation:
    """Return a generation that has learned: even items go together, and odd ones."""
    board = np.fromfunction(lambda u, i: (u + i) % 2 == 0, (40, n_items)).astype(np.float32)
    model = ALS(n_factors=4, iterations=8, seed=1, threads=1).fit(sparse.csr_matrix(board))
    return Generation(
        number=1,
        parent=None,
        offsets={},
        hyperparameters={"content_weight": 1.0, "behaviour_weight": 0.5},
        seed=0,
        items=[f"i{at}" for at in range(n_items)],
        bias=np.full(n_items, 0.01, np.float32),
        model=model if factors else None,
        details={f"i{at}": Item(item=f"i{at}", brand="Acme") for at in range(n_items)},
        **more,
    )


def history(**kinds: int) -> History:
    page = {item: Entry(item, 1.0, 0, kind, 3, 1) for item, kind in kinds.items()}
    return History("u", 3, 0, n_items=len(page), pages=(page,))


def made(of: History, near: Generation, **more):
    ranked = rank([of], near, POOL, HALF_LIFE_MS)[0]
    return ranked, shelves(ranked, of, near, **({"n_shelves": 3, "n_items": 8} | more))


def test_each_item_is_on_the_shelf_of_the_entry_that_adds_most_and_on_one_shelf_only():
    near = generation()
    ranked, found = made(history(i0=VIEW, i1=LIKE), near)

    assert {(shelf.item, shelf.event) for shelf in found} == {("i0", "view"), ("i1", "like")}
    listed = [one.item for shelf in found for one in shelf.items]
    assert len(listed) == len(set(listed))
    told = score_terms(ranked.seen, near, None, ranked.rows)
    total = told.factors + told.behaviour + told.content
    for shelf in found:
        column = told.columns.tolist().index(near.rows[shelf.item])
        for one in shelf.items:
            place = ranked.rows.tolist().index(near.rows[one.item])
            assert one.rank == place + 1
            assert total[place].argmax() == column
            assert total[place, column] > 0


def test_a_shelf_lists_what_its_items_have_in_common_with_the_entry():
    table = Neighbours.empty(16)
    table.put(0, [3, 5, 7], [0.9, 0.8, 0.7])
    _, (shelf,) = made(history(i0=VIEW), generation(factors=False, content=table))

    assert [one.item for one in shelf.items] == ["i3", "i5", "i7"]
    assert {one.shared for one in shelf.items} == {("brand: Acme",)}
    assert all(0 < one.share <= 1 for one in shelf.items)


def test_what_is_shown_elsewhere_is_skipped():
    near = generation()
    ranked, found = made(history(i0=VIEW, i1=LIKE), near, skip=4)
    above = {near.items[row] for row in ranked.rows[:4]}

    assert found
    assert not above & {one.item for shelf in found for one in shelf.items}
    assert min(one.rank for shelf in found for one in shelf.items) == 5


def test_there_are_no_more_shelves_and_items_than_asked_for():
    _, found = made(history(i0=VIEW, i1=LIKE), generation(), n_shelves=1, n_items=3)

    assert [len(shelf.items) for shelf in found] == [3]


@pytest.mark.parametrize("of", [history(), history(unknown=VIEW)])
def test_an_empty_history_or_one_of_unknown_items_has_no_shelves(of):
    assert made(of, generation())[1] == ()
