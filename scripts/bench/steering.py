"""Scenario `steering`: what neighbours and rules add to a fold-in and its exact top 20.

::

python scripts/bench/steering.py

100,000 items with 64 factors in 400 groups; histories of about 20 items, mostly of three groups, with 40
others shown; batches of 256 users on one core, from `History` to ranked rows: what the product does
for a list before it is described. Three shops, for the exact top 20 costs what the factors make of it:

lengths
    drawn factors, popular items longer: most items are skipped.
flat
    factors drawn independently and no popularity, as in the scenario `top_n`: little can be skipped.
trained
    our ALS on 60,000 histories with power laws of items, groups and lengths, behaviour neighbours of
    the same histories, and the product's weights.

Twice: in batches of 256, where what all share is paid once, and each user alone, which is what a live
worker pays after an event. The ways take turns. A peer follows: the plain fold-in and top 20 by implicit
(`recalculate_user`, all items scored), from the matrix on. Processor time of the one thread counts, the
best round of each way, with the median beside it: other processes make rounds slower, never faster.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from results import Row, save
from scipy import sparse
from threadpoolctl import threadpool_limits

from recstream.core.als import ALS, ALSModel, Objective, typical_score
from recstream.core.content import COLD_START_BOOST, COLD_START_SHARE, CONTENT_WEIGHT
from recstream.core.generation import Generation
from recstream.core.history import Entry, History, matrix_row, stack
from recstream.core.neighbours import BEHAVIOUR_WEIGHT, WIDTH, Neighbours, fit_behaviour
from recstream.core.popularity import POPULARITY_WEIGHT, fit_popularity
from recstream.core.ranking import compile_arm, describe, rank
from recstream.core.records import Item
from recstream.core.steering import Steering, decode_steering

N_FACTORS = 64
N_GROUPS = 400
N_USERS = 60_000
HISTORY = 20
N_SHOWN = 40
N_WORDS = 12
BATCH = 256
N_ALONE = 64
LENGTH = 20
HALF_LIFE_MS = 1e10

FULL = decode_steering("""{
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
    "rotation": Steering(fatigue=FULL.fatigue),
    "least relevance": Steering(min_relevance=FULL.min_relevance),
}


class Shop(NamedTuple):
    """A made-up generation with neighbours, the same without, and who visits."""

    whole: Generation
    bare: Generation
    users: list[History]


def near_by_group(group: np.ndarray, generator: np.random.Generator) -> Neighbours:
    """Return a table of neighbours out of each item's own group."""
    by_group = np.argsort(group, kind="stable")
    first = np.searchsorted(group[by_group], group)
    size = np.bincount(group, minlength=N_GROUPS)[group]
    place = first[:, None] + generator.integers(size[:, None], size=(len(group), WIDTH))
    weights = np.sort(generator.random((len(group), WIDTH)).astype(np.float32))[:, ::-1] ** 3
    return Neighbours(by_group[place].astype(np.int32), np.ascontiguousarray(weights))


def generation_of(
    model: ALSModel,
    bias: np.ndarray,
    group: np.ndarray,
    tables: tuple[Neighbours, Neighbours],
    **hyperparameters: float,
) -> Generation:
    """Return a generation of these arrays, with facts."""
    items = [f"i{at}" for at in range(len(group))]
    titles = (np.random.default_rng(4).zipf(1.4, (len(items), N_WORDS)) % 5_000).tolist()
    return Generation(
        number=1,
        parent=None,
        offsets={},
        hyperparameters={
            "newcomer_content": COLD_START_BOOST,
            "newcomer_share": COLD_START_SHARE,
            **hyperparameters,
        },
        seed=0,
        items=items,
        bias=bias.astype(np.float32),
        model=model,
        details={
            item: Item(
                item=item,
                title=" ".join(f"word{word}" for word in titles[at]),
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


def both(users: list[History], *args: Any, unit: float, content: float, behaviour: float) -> Shop:
    """Return a shop whose neighbours have these gains, in units of a typical score."""
    whole, bare = (
        generation_of(
            *args,
            popularity_unit=unit,
            content_weight=gain * content,
            behaviour_weight=gain * behaviour,
        )
        for gain in (1.0, 0.0)
    )
    return Shop(whole, bare, users)


def made_up(n_items: int, *, is_flat: bool) -> Shop:
    """Return a shop with drawn factors: groups and popular items longer, or nothing of either."""
    generator = np.random.default_rng(5)
    group = generator.integers(N_GROUPS, size=n_items)
    centres = generator.standard_normal((N_GROUPS, N_FACTORS))
    popularity = generator.pareto(1.1, n_items) + 1.0
    length = 0.1 + 0.15 * np.log1p(popularity)
    factors = centres[group] + 0.6 * generator.standard_normal((n_items, N_FACTORS))
    factors *= (length / np.linalg.norm(factors, axis=1))[:, None]
    if is_flat:
        factors = 0.1 * generator.standard_normal((n_items, N_FACTORS))
    model = ALSModel(
        factors.astype(np.float32),
        popularity.astype(np.int64),
        objective=Objective(),
        mean_user_count=float(HISTORY),
    )
    tables = near_by_group(group, generator), near_by_group(group, generator)
    users = []
    for number in range(BATCH):
        mine = np.flatnonzero(np.isin(group, generator.integers(N_GROUPS, size=3)))
        users.append(visitor(number, generator.choice(mine, HISTORY, replace=False), mine))
    bias = np.zeros(n_items) if is_flat else 0.06 * np.log(popularity)
    return both(users, model, bias, group, tables, unit=0.3, content=0.3, behaviour=0.3)


def trained(n_items: int) -> Shop:
    """Return a shop trained on histories with power laws: of items, groups, and lengths."""
    generator = np.random.default_rng(5)
    group = generator.integers(N_GROUPS, size=n_items)
    by_group = [np.flatnonzero(group == at) for at in range(N_GROUPS)]
    # Sums of a Pareto law within each group: an item is drawn by bisection.
    sums = [np.cumsum(generator.pareto(1.1, len(each)) + 0.1) for each in by_group]
    liked = (1.0 + np.arange(N_GROUPS)) ** -0.7
    liked /= liked.sum()
    taken, tastes = [], []
    for _ in range(N_USERS):
        mine = generator.choice(N_GROUPS, 3, replace=False, p=liked)
        size = min(300, int(HISTORY * generator.lognormal(0.0, 0.7)) + 1)
        # One in five is of any group.
        strays = generator.choice(N_GROUPS, size, p=liked)
        which = np.where(generator.random(size) < 0.2, strays, mine[generator.integers(3, size=size)])  # fmt: skip
        drawn = [
            by_group[at][np.searchsorted(sums[at], generator.random() * sums[at][-1])]
            for at in which.tolist()
        ]
        taken.append(np.array(list(dict.fromkeys(drawn)), np.int64))
        tastes.append(mine)
    lengths = [len(each) for each in taken]
    owners = np.repeat(np.arange(N_USERS), lengths)
    columns = np.concatenate(taken)
    times = np.concatenate([np.arange(length) for length in lengths])
    matrix = sparse.csr_matrix(
        (np.ones(len(columns), np.float32), (owners, columns)), shape=(N_USERS, n_items)
    )
    model = ALS(N_FACTORS, iterations=4).fit(matrix)
    unit = typical_score(model, matrix)
    bias = fit_popularity(columns, times, n_items).bias(POPULARITY_WEIGHT * unit)
    tables = near_by_group(group, generator), fit_behaviour(owners, columns, times, n_items)
    users = [
        visitor(at, taken[at], np.concatenate([by_group[each] for each in tastes[at]]))
        for at in range(0, N_USERS, N_USERS // BATCH)
    ][:BATCH]
    return both(
        users, model, bias, group, tables,
        unit=unit, content=CONTENT_WEIGHT, behaviour=BEHAVIOUR_WEIGHT,
    )  # fmt: skip


def visitor(number: int, chosen: np.ndarray, mine: np.ndarray) -> History:
    """Return a history of these items, with others shown and ignored."""
    shown = np.random.default_rng(number).choice(mine, N_SHOWN, replace=False).tolist()
    page = {f"i{at}": Entry(f"i{at}", 1.0, p, 1, p, 1) for p, at in enumerate(chosen.tolist())}
    ignored = tuple((f"i{at}", 1 + at % 4) for at in shown if f"i{at}" not in page)
    n = len(page)
    return History(f"u{number}", 1, 0, n, n, n, b"", (page,), ignored)


def by_implicit(shop: Shop) -> Callable[[list[History]], object]:
    """Return what makes the plain lists of some users as implicit does, with our item factors."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - a peer, of the group bench

    theirs = AlternatingLeastSquares(factors=N_FACTORS, num_threads=1)
    theirs.item_factors = shop.bare.index.item_factors
    theirs.user_factors = np.zeros((len(shop.users), N_FACTORS), np.float32)
    rows = {
        history.user: matrix_row(history, shop.bare.rows, HALF_LIFE_MS) for history in shop.users
    }

    def make(users: list[History]) -> object:
        seen = stack([rows[history.user] for history in users], shop.bare.n_items)
        return theirs.recommend(np.arange(len(users)), seen, N=LENGTH, recalculate_user=True)

    return make


def by_us(
    generation: Generation, steering: Steering | None = None
) -> Callable[[list[History]], object]:
    """Return what makes the lists of some users under a document."""
    return lambda users: rank(users, generation, LENGTH, HALF_LIFE_MS, steering=steering)


SHOPS: dict[str, Callable[[int], Shop]] = {
    "lengths": lambda n_items: made_up(n_items, is_flat=False),
    "flat": lambda n_items: made_up(n_items, is_flat=True),
    "trained": trained,
}


def in_turns(
    ways: dict[str, Callable[[list[History]], object]], batches: list[list[History]], rounds: int
) -> dict[str, list[float]]:
    """Return microseconds a user of each way in every round but the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for at in range(rounds + 1):
        for name, make in ways.items():
            begun = time.thread_time()
            for users in batches:
                make(users)
            if at:
                spent = time.thread_time() - begun
                taken[name].append(spent * 1e6 / sum(map(len, batches)))
    return taken


def measure(shop: Shop, rounds: int) -> dict[tuple[str, str], float]:
    """Print microseconds a user by way, and each as a ratio to the plain one; return the medians."""
    medians: dict[tuple[str, str], float] = {}
    ways: dict[str, Callable[[list[History]], object]] = {
        "plain": by_us(shop.bare),
        "with neighbours": by_us(shop.whole),
        **{f"plain, {name}": by_us(shop.bare, steering) for name, steering in PARTS.items()},
        "full steering": by_us(shop.bare, FULL),
        "neighbours, full steering": by_us(shop.whole, FULL),
    }
    # By itself: it reads all factors, and what comes after it finds the caches full of them.
    peer = {"plain, by implicit": by_implicit(shop)}
    begun = time.perf_counter()
    compile_arm(shop.bare, FULL.arm_of(""))
    compiled_ms = 1000 * (time.perf_counter() - begun)
    begun = time.perf_counter()
    shop.bare.compiled_arms.clear()
    compile_arm(shop.bare, FULL.arm_of(""))
    again_ms = 1000 * (time.perf_counter() - begun)
    alone = [[user] for user in shop.users[:N_ALONE]]
    for kind, batches in (("together", [shop.users]), ("alone", alone)):
        taken = in_turns(ways, batches, rounds) | in_turns(peer, batches, rounds)
        plain, middle_plain = min(taken["plain"]), float(np.median(taken["plain"]))
        for name, each in taken.items():
            best, middle = min(each), float(np.median(each))
            medians[kind, name] = middle
            print(
                f"{kind:9} {name:28} {best:7.1f} µs a user  {best / plain:5.2f}"
                f"  (median {middle:.1f}, {middle / middle_plain:.2f})"
            )
    for name, generation in (("plain", shop.bare), ("with neighbours", shop.whole)):
        lists = rank(shop.users, generation, LENGTH, HALF_LIFE_MS)
        told = []
        for _ in range(max(1, rounds // 3)):
            begun = time.thread_time()
            for each, history in zip(lists, shop.users, strict=True):
                describe(each, history, generation)
            told.append((time.thread_time() - begun) * 1e6 / BATCH)
        print(f"{f'reasons, {name}':28} {min(told):7.1f} µs a list")
    print(
        f"a document on a new generation: {compiled_ms:.0f} ms; with its facts known: {again_ms:.1f} ms",
        flush=True,
    )
    return medians


SAVED = {
    ("alone", "plain"): "Plain list for one user: fold-in and exact top 20, trained factors.",
    ("alone", "full steering"): "With all rules.",
    ("alone", "neighbours, full steering"): "With all rules and both neighbour tables.",
    ("alone", "plain, by implicit"): "Peer: plain list by implicit.",
    ("together", "plain"): "Plain list in batches of 256.",
    ("together", "neighbours, full steering"): "With all rules and neighbours, in batches.",
    ("together", "plain, by implicit"): "Peer: implicit, in batches.",
}
"""The rows of the result file, from the shop with trained factors."""


def main() -> None:
    """Measure each shop in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shops", nargs="*", choices=list(SHOPS), default=list(SHOPS))
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/steering.json")
    options = parser.parse_args()
    for name in options.shops:
        print(f"{name}:")
        with threadpool_limits(1):
            medians = measure(SHOPS[name](options.items), options.rounds)
        if options.save and name == "trained":
            title = f"Cost of steering, {options.items:,} items, one thread"
            save("steering", title, [Row(medians[way], "µs", SAVED[way]) for way in SAVED])


if __name__ == "__main__":
    main()
