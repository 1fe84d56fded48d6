"""Scenario `steering`: what neighbours and rules add to a fold-in and its exact top 20.

::

python scripts/bench/steering.py

100,000 items with 64 factors in 400 groups, popular ones longer; histories of 20 items from a few
groups; batches of 256 users on one core, from `History` to ranked rows. The ways take turns; the
best round counts, the median stands beside it: other processes make rounds slower, never faster.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from recstream.core.als_model import ALSModel
from recstream.core.history import Entry, History
from recstream.core.listing import rank
from recstream.core.model import Generation
from recstream.core.neighbours import WIDTH, Neighbours
from recstream.core.objective import Objective
from recstream.core.records import Item
from recstream.core.steered import steered
from recstream.core.steering import Steering
from recstream.core.steering_check import decode

N_FACTORS = 64
N_GROUPS = 400
HISTORY = 20
BATCH = 256
LENGTH = 20
HALF_LIFE_MS = 1e10

FULL = decode("""{
  "rules": [
    {"action": "exclude", "name": "no old ones", "where": {"attributes": {"year": {"max": 1960}}}},
    {"action": "boost", "name": "house brand", "where": {"brand": "b3"}, "by": 0.3},
    {"action": "boost", "name": "cheap", "where": {"price": {"max": 10}}, "by": 0.1},
    {"action": "boost", "name": "season", "where": {"category": "c1"}, "by": -0.2},
    {"action": "pin", "name": "campaign", "items": ["i77"], "at": 3}
  ],
  "diversity": {"strength": 0.3},
  "rotation": {"after": 3},
  "min_relevance": 0.1
}""")
PARTS = {
    "filter and boosts": Steering(rules=FULL.rules[:4]),
    "pins": Steering(rules=FULL.rules[4:]),
    "diversity": Steering(diversity=FULL.diversity),
    "rotation": Steering(rotation=FULL.rotation),
    "least relevance": Steering(min_relevance=FULL.min_relevance),
}


def shop(n_items: int, *, with_neighbours: bool, is_flat: bool) -> Generation:
    """Return a made-up generation; a flat one has factors without groups or lengths."""
    generator = np.random.default_rng(5)
    group = generator.integers(N_GROUPS, size=n_items)
    centres = generator.standard_normal((N_GROUPS, N_FACTORS))
    popularity = generator.pareto(1.1, n_items) + 1.0
    length = 0.1 + 0.15 * np.log1p(popularity)
    factors = centres[group] + 0.6 * generator.standard_normal((n_items, N_FACTORS))
    factors *= (length / np.linalg.norm(factors, axis=1))[:, None]
    if is_flat:
        factors = 0.1 * generator.standard_normal((n_items, N_FACTORS))
    tables = []
    by_group = np.argsort(group, kind="stable")
    first = np.searchsorted(group[by_group], group)
    size = np.bincount(group, minlength=N_GROUPS)[group]
    for _ in range(2):
        place = first[:, None] + generator.integers(size[:, None], size=(n_items, WIDTH))
        rows = by_group[place].astype(np.int32)
        weights = np.sort(generator.random((n_items, WIDTH)).astype(np.float32))[:, ::-1] ** 3
        tables.append(Neighbours(rows, np.ascontiguousarray(weights)))
    weight = 0.1 if with_neighbours else 0.0
    items = [f"i{at}" for at in range(n_items)]
    return Generation(
        number=1,
        parent=None,
        offsets={},
        hyperparameters={
            "popularity_unit": 0.3,
            "content_weight": weight,
            "newcomer_content": 2.2,
            "behaviour_weight": weight,
        },
        seed=0,
        items=items,
        bias=(0.06 * np.log(popularity)).astype(np.float32),
        model=ALSModel(
            factors.astype(np.float32),
            popularity.astype(np.int64),
            objective=Objective(),
            mean_user_count=20.0,
        ),
        details={
            item: Item(
                item=item,
                brand=f"b{at % 97}",
                category=f"c{group[at] % 40}",
                price=float(at % 89),
                attributes={"year": 1950 + at % 75},
            )
            for at, item in enumerate(items)
        },
        content=tables[0],
        behaviour=tables[1],
    )


def visitors(n_items: int, n_users: int) -> list[History]:
    """Return histories of items from a few groups, with things shown and ignored."""
    generator = np.random.default_rng(6)
    group = np.random.default_rng(5).integers(N_GROUPS, size=n_items)
    made = []
    for number in range(n_users):
        mine = np.flatnonzero(np.isin(group, generator.integers(N_GROUPS, size=3)))
        chosen = generator.choice(mine, HISTORY, replace=False).tolist()
        shown = generator.choice(mine, 40, replace=False).tolist()
        page = {f"i{at}": Entry(f"i{at}", 1.0, p, 1, p, 1) for p, at in enumerate(chosen)}
        made.append(
            History(
                f"u{number}",
                1,
                0,
                HISTORY,
                HISTORY,
                HISTORY,
                b"",
                (page,),
                tuple((f"i{at}", 1 + at % 4) for at in shown if at not in chosen),
            )
        )
    return made


def main() -> None:
    """Print microseconds a user by way, and each as a ratio to the plain one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--flat", action="store_true", help="Factors as in the scenario top_n.")
    options = parser.parse_args()
    bare = shop(options.items, with_neighbours=False, is_flat=options.flat)
    whole = shop(options.items, with_neighbours=True, is_flat=options.flat)
    users = visitors(options.items, BATCH)

    def way(generation: Generation, steering: Steering | None) -> Callable[[], object]:
        return lambda: rank(users, generation, LENGTH, HALF_LIFE_MS, steering=steering)

    ways = {
        "plain": way(bare, None),
        "with neighbours": way(whole, None),
        **{f"plain, {name}": way(bare, steering) for name, steering in PARTS.items()},
        "full steering": way(bare, FULL),
        "neighbours, full steering": way(whole, FULL),
    }
    begun = time.perf_counter()
    steered(bare, FULL.arm_of(""))
    compiled_ms = 1000 * (time.perf_counter() - begun)
    begun = time.perf_counter()
    bare.steered.clear()
    steered(bare, FULL.arm_of(""))
    again_ms = 1000 * (time.perf_counter() - begun)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for at in range(options.rounds + 1):
        for name, work in ways.items():
            begun = time.perf_counter()
            work()
            if at:
                taken[name].append((time.perf_counter() - begun) * 1e6 / BATCH)
    plain = min(taken["plain"])
    for name, each in taken.items():
        best, middle = min(each), float(np.median(each))
        print(f"{name:28} {best:7.1f} µs a user  {best / plain:5.2f}  (median {middle:.1f})")
    print(
        f"a document on a new generation: {compiled_ms:.0f} ms; with its facts known: {again_ms:.1f} ms"
    )


if __name__ == "__main__":
    main()
