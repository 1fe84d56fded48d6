"""Make lists of an artifact in a process of its own, and say what bytes they have.

`test_lists_in_processes.py` runs it: ``python lists_in_a_process.py ARTIFACT``.
"""

import hashlib
import sys

import msgspec
import numpy as np

from recstream.core.generation.generation import Generation
from recstream.core.history.fold import Entry, History
from recstream.core.history.matrix import stack
from recstream.core.ranking import describe, rank
from recstream.core.records import DeltaAnnounced

HALF_LIFE_MS = 1e9
LENGTHS = (1, 3, 40, 64, 65, 300, 900)
"""Of histories: below, at and above the number of factors."""
N_MOVED = 50


def history(number: int, length: int, n_items: int) -> History:
    rng = np.random.Generator(np.random.PCG64(number))
    items = rng.choice(n_items, length, replace=False).tolist()
    weights = rng.uniform(0.1, 9.0, length).tolist()
    page = {
        f"p{item}": Entry(f"p{item}", weight, at, 1, at, 1)
        for at, (item, weight) in enumerate(zip(items, weights, strict=True))
    }
    return History(f"u{number}", offset=9, n_items=length, n_ids=length, pages=(page,))


def delta(generation: Generation) -> DeltaAnnounced:
    """Return a delta that moves some items."""
    rng = np.random.Generator(np.random.PCG64(7))
    shape = (N_MOVED, generation.n_factors)
    return DeltaAnnounced(
        generation=generation.number,
        delta=1,
        items=tuple(f"p{item}" for item in range(N_MOVED)),
        factors=rng.standard_normal(shape, np.float32).tobytes(),
        bias=rng.random(N_MOVED, np.float32).tobytes(),
        counts=np.full(N_MOVED, 5, np.int32).tobytes(),
        offsets={},
        created_ts=0,
    )


def digest(artifact: str) -> str:
    with np.load(artifact) as named:
        generation = Generation.from_arrays(dict(named))
    generation.apply_delta(delta(generation))
    model = generation.model
    assert model is not None
    histories = [
        history(number, length, generation.n_items) for number, length in enumerate(LENGTHS * 4)
    ]
    hasher = hashlib.blake2b()
    for each, ranked in zip(histories, rank(histories, generation, 50, HALF_LIFE_MS), strict=True):
        hasher.update(msgspec.json.encode(describe(ranked, each, generation)))
        # Published numbers are rounded; these are not.
        hasher.update(ranked.scores.tobytes())
        told = model.explain_list(stack([ranked.seen], generation.n_items), ranked.rows)
        hasher.update(told.shares.tobytes())
    return hasher.hexdigest()


if __name__ == "__main__":
    sys.stdout.write(digest(sys.argv[1]))
