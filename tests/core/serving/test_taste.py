"""A user's factors in words."""

import msgspec
import numpy as np
from scipy import sparse

from recstream.core.als.trainer import ALS
from recstream.core.generation.generation import Generation
from recstream.core.history import Entry, History
from recstream.core.records import Item
from recstream.core.serving import user_taste

N_ITEMS, N_USERS = 40, 60


def history(user: str, *items: str) -> History:
    page = {item: Entry(item, 1.0, 0, 1, 0, 1) for item in items}
    return History(user, pages=(page,), n_items=len(page))


def generation(**hyperparameters) -> Generation:
    """Return a model of users who like even items, dramas, or odd ones, comedies."""
    likes = np.fromfunction(lambda u, i: (u + i) % 2 == 0, (N_USERS, N_ITEMS))
    chosen = np.random.Generator(np.random.PCG64(0)).random((N_USERS, N_ITEMS)) < 0.7
    matrix = sparse.csr_matrix((likes & chosen).astype(np.float32))
    kinds = ("Drama", "Comedy")
    facts = [
        Item(item=f"i{n}", category=kinds[n % 2], attributes={"genres": ["film", kinds[n % 2]]})
        for n in range(N_ITEMS)
    ]
    return Generation(
        number=1, parent=None, offsets={}, hyperparameters={}, seed=0,
        items=[each.item for each in facts], bias=np.zeros(N_ITEMS, np.float32),
        model=ALS(n_factors=4, iterations=8, seed=1, threads=1).fit(matrix),
        details={each.item: each for each in facts}, **hyperparameters,
    )  # fmt: skip


def test_the_items_and_values_that_a_users_factors_point_to(monkeypatch):
    monkeypatch.setattr("recstream.core.serving.taste.N_TOP", 10)

    found = user_taste(history("u", "i0", "i2", "i4"), generation(), 1e15, 3)

    assert len(found.items) == 3
    assert all(int(each.item[1:]) % 2 == 0 for each in found.items)
    assert found.items[0].score > found.items[2].score > 0
    facts = [msgspec.structs.asdict(each) for each in found.facts]
    assert facts == [
        {"kind": "category", "value": "Drama", "share": 1.0, "overall": 0.5},
        {"kind": "genres", "value": "Drama", "share": 1.0, "overall": 0.5},
    ]


def test_a_user_without_known_items_has_no_taste():
    found = user_taste(history("u", "elsewhere"), generation(), 1e15, 3)

    assert (found.n_top, found.items, found.facts) == (0, (), ())
