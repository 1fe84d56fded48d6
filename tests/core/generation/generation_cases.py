"""What the tests of lists and of generations share: a small generation with two tastes, and histories."""

import numpy as np

from recstream import ALS
from recstream.core.generation.generation import Generation
from recstream.core.history.fold import Entry, History
from recstream.core.history.matrix import stack

N_ITEMS = 40
ITEMS = [f"p{number}" for number in range(N_ITEMS)]
HALF_LIFE_MS = 1e9


def history(user, *numbers, weight=1.0):
    page = {f"p{n}": Entry(f"p{n}", weight, 0, 1, n, 1) for n in numbers}
    return History(user, offset=9, n_items=len(page), n_ids=len(page), pages=(page,))


def taste_of(parity):
    """Users like items of one parity: the right answer is known before any model runs."""
    return [n for n in range(N_ITEMS) if n % 2 == parity]


def trained():
    """Return a generation that has learned the two tastes."""
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
