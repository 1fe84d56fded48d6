"""Print how well lists foresee items nobody has touched yet, and whether content harms the others.

    scripts/bench/hybrid.py                                      # every table, some minutes
    scripts/bench/hybrid.py --only industrial --seeds 3

Two protocols, both ranked by the product's own `train` and `rank` with its defaults:

* *hidden items*: a fifth of the items, drawn by seed, has no training events. Tested is each user's
  newest item (amazon-industrial) or what came in the last tenth of time (the others).
* *by time*: trained on the first nine tenths of time, tested on each event of the last tenth, given
  all that the user did before it. Cold items are those first seen in that tenth. More splits take the
  tenths before: what came later is left out.

Repeated items are not asked for. Recall@20 is the share of asked events whose item is listed: a cold
item among all items and among the cold ones alone, a warm item among all. ``random`` is the expected
value. ``content`` is the cosine of TF-IDF features with the mean of the history's, newer entries
weighing more, over all items: no table of neighbours cuts it short. Below each table stands what the
hybrid finds more than content and than ALS alone: the mean of the differences case by case, with its
95 % interval, the cases of one user (in all splits) taken as one observation.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hybrid_shops import SHOPS, Shop
from results import Row, save

from recstream.core.content import COLD_START_BOOST, ContentModel
from recstream.core.events import Event
from recstream.core.generation import Generation
from recstream.core.history import FoldSettings, History, apply, matrix_row, stack
from recstream.core.ranking import rank
from recstream.core.records import Item
from recstream.settings import Settings
from recstream.trainer import Histories, UserColumns
from recstream.trainer.training import TrainingSnapshot, hyperparameters, train

K = 20
MAX_CASES = 4_000
ALONE = {"content": False, "content_weight": 0.0}
SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "popularity": {"n_factors": 0, "behaviour_weight": 0.0, **ALONE},
    "ALS": {"behaviour_weight": 0.0, **ALONE},
    "ALS, behaviour": ALONE,
    "hybrid": {},
}
"""By name: what differs from the defaults."""


class Case(NamedTuple):
    """What a user had done, and the row of the item that came next."""

    history: History
    target: int


@dataclass(frozen=True)
class Split:
    """What is trained on and what is asked."""

    names: list[str]
    catalogue: dict[str, Item]
    histories: dict[str, History]
    cases: list[Case]
    is_cold: np.ndarray
    counts: np.ndarray


PLAN = (
    ("industrial", "hidden items"),
    ("movielens", "by time"),
    ("electronics", "by time"),
    ("movielens", "hidden items"),
    ("electronics", "hidden items"),
)


def split_of(name: str, shop: Shop, protocol: str, seed: int, *, inner: bool) -> Split:
    """Return a split; with ``inner`` one of the training part alone, for choosing defaults."""
    generator = np.random.default_rng(seed)
    n_items = len(shop.items)
    # Ids by chance: no order of a file may break ties.
    names = [f"i{at:06}" for at in np.random.default_rng(99).permutation(n_items)]
    kept = np.ones(len(shop.events.users), np.bool_)
    last = 0.1
    if protocol == "by time":
        since = shop.events.times - shop.events.times.min()
        kept = since <= (1.0 - 0.1 * seed) * since.max()
        last = 0.1 / (1.0 - 0.1 * seed)
    for _ in range(2 if inner else 1):
        users, items, times = (column[kept] for column in shop.events)
        places = np.flatnonzero(kept)
        if name == "industrial":
            asked = np.append(users[1:] != users[:-1], True)
        else:
            asked = times > times.max() - last * (times.max() - times.min())
        present = np.unique(items)
        hidden = np.zeros(n_items, np.bool_)
        if protocol == "hidden items":
            hidden[generator.permutation(present)[: len(present) // 5]] = True
        trained = ~asked & ~hidden[items]
        kept = np.zeros(len(kept), np.bool_)
        kept[places[trained]] = True
    counts = np.bincount(items[trained], minlength=n_items)
    rules = FoldSettings(Settings().weights, Settings().half_life_ms)
    now: dict[str, History] = {}
    histories: dict[str, History] = {}
    cases: list[Case] = []
    for at in np.lexsort((np.arange(len(users)), times)).tolist():
        user, item = f"u{users[at]}", int(items[at])
        history = now.get(user) or History(user)
        if asked[at] and history.find(names[item]) is None:
            cases.append(Case(history, item))
        if trained[at] or (asked[at] and not hidden[item]):
            when = datetime.fromtimestamp(float(times[at]), UTC)
            event = Event(id=str(at), user=user, item=names[item], type="view", ts=when)
            now[user] = apply(history, event, at, 0, rules)
        if trained[at]:
            histories[user] = now[user]
    chosen = np.sort(generator.permutation(len(cases))[:MAX_CASES])
    catalogue = {
        names[at]: msgspec.structs.replace(shop.items[at], item=names[at])
        for at in present.tolist()
        if shop.items[at] is not None
    }
    cold = np.zeros(n_items, np.bool_)
    cold[present] = counts[present] == 0
    return Split(names, catalogue, histories, [cases[at] for at in chosen], cold, counts)


class Hits(NamedTuple):
    """How surely one system lists what is asked for, case by case: 0 or 1, between them for ties."""

    cold: np.ndarray
    cold_among_cold: np.ndarray
    warm: np.ndarray


def generation_of(split: Split, chosen: Mapping[str, Any], seed: int) -> Generation:
    """Train on a split with some hyper-parameters unlike the defaults."""
    settings = hyperparameters(Settings())
    histories = Histories()
    histories.put(UserColumns.of(list(split.histories.values()), 0, histories.items))
    snapshot = TrainingSnapshot(histories, {"0": 1}, 1, split.catalogue)
    chosen = {**settings, "hold_out": False, "threads": 2, **chosen}
    return train(snapshot, number=1, parent=None, chosen=chosen, seed=seed).generation


def asked_of(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the cases that ask for a cold item, and of the others."""
    of_cold = split.is_cold[[case.target for case in split.cases]]
    return np.flatnonzero(of_cold), np.flatnonzero(~of_cold)


def judge(split: Split, listed: Callable[[np.ndarray, np.ndarray | None], np.ndarray]) -> Hits:
    """Return the hits of a system.

    Parameters
    ----------
    listed : callable
        Given places of cases, and which items alone may be listed, whether each target is.
    """
    cold, warm = asked_of(split)
    return Hits(listed(cold, None), listed(cold, split.is_cold), listed(warm, None))


def by_generation(split: Split, generation: Generation) -> Hits:
    """Return the hits of the product's lists."""
    ids = {name: at for at, name in enumerate(split.names)}
    items = np.array([ids[name] for name in generation.items])

    def listed(cases: np.ndarray, among: np.ndarray | None) -> np.ndarray:
        mask = None if among is None else among[items]
        found = np.zeros(len(cases))
        for start in range(0, len(cases), 500):
            part = [split.cases[at] for at in cases[start : start + 500]]
            histories = [case.history for case in part]
            lists = rank(histories, generation, K, Settings().half_life_ms, mask=mask, threads=2)
            for at, (case, ranked) in enumerate(zip(part, lists, strict=True)):
                found[start + at] = case.target in items[ranked.rows]
        return found

    return judge(split, listed)


def by_content(split: Split) -> Hits:
    """Return the hits of pure content similarity."""
    known = [split.catalogue.get(name) for name in split.names]
    features = ContentModel.fit_with_features(known)[1]
    rows = {name: at for at, name in enumerate(split.names)}
    present = (split.counts > 0) | split.is_cold

    def listed(cases: np.ndarray, among: np.ndarray | None) -> np.ndarray:
        allowed = present if among is None else among
        found = np.zeros(len(cases))
        for start in range(0, len(cases), 500):
            part = [split.cases[at] for at in cases[start : start + 500]]
            seen = stack(
                [matrix_row(c.history, rows, Settings().half_life_ms) for c in part], len(rows)
            )
            scores = np.asarray(((seen @ features) @ features.T).todense(), np.float64)
            scores[:, ~allowed] = -np.inf
            scores[np.repeat(np.arange(len(part)), np.diff(seen.indptr)), seen.indices] = -np.inf
            own = scores[np.arange(len(part)), [case.target for case in part]][:, None]
            # A tie is as likely won as lost.
            better, equal = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
            found[start : start + 500] = np.clip((K - better) / equal, 0.0, 1.0)
        return found

    return judge(split, listed)


def hits_of(
    split: Split, seed: int, systems: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, Hits]]:
    """Yield the hits of every system on one split."""
    n_cold = int(split.is_cold.sum())
    n_all = n_cold + int((split.counts > 0).sum())
    chances = (min(1.0, K / n_all), min(1.0, K / max(n_cold, 1)), min(1.0, K / n_all))
    cold, warm = asked_of(split)
    sizes = (len(cold), len(cold), len(warm))
    yield "random", Hits(*(np.full(n, chance) for n, chance in zip(sizes, chances, strict=True)))
    yield "content", by_content(split)
    for system, chosen in systems.items():
        yield system, by_generation(split, generation_of(split, chosen, seed))


def difference(ours: list[np.ndarray], theirs: list[np.ndarray], users: list[np.ndarray]) -> str:
    """Return the mean of what one system finds more than another, and its 95 % interval."""
    more = np.concatenate(ours) - np.concatenate(theirs)
    mean = more.mean()
    _, which = np.unique(np.concatenate(users), return_inverse=True)
    error = 1.96 * np.sqrt((np.bincount(which, more - mean) ** 2).sum()) / len(more)
    return f"{mean:+.4f} ({mean - error:+.4f} to {mean + error:+.4f})"


def show(found: Mapping[str, list[Hits]], users: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Print a table: means over splits and their standard deviation, or over all cases; then differences."""
    print("| | cold, among all | cold, among cold | warm, among all |\n|---|---|---|---|")
    for system, several in found.items():
        cells = []
        for column in zip(*several, strict=True):
            values = np.array([hits.mean() for hits in column if len(hits)])
            # Splits that ask for nothing say nothing of a spread.
            spread = f" ± {values.std(ddof=1):.4f}" if len(values) == len(column) > 1 else ""
            mean = values.mean() if spread else np.concatenate(column).mean()
            cells.append(f"{mean:.4f}{spread}")
        print(f"| {system} | {' | '.join(cells)} |")
    for system, other in (("hybrid", "content"), ("hybrid", "ALS")):
        if system in found and other in found:
            cells = [
                difference(ours, theirs, [each[at // 2] for each in users])
                for at, (ours, theirs) in enumerate(
                    zip(
                        zip(*found[system], strict=True),
                        zip(*found[other], strict=True),
                        strict=True,
                    )
                )
            ]
            print(f"| {system} less {other} | {' | '.join(cells)} |", flush=True)


def rows_of(named: str, found: Mapping[str, list[Hits]]) -> list[Row]:
    """Return the rows of a result file: cold items among all, then warm ones, beside peers."""
    rows = []
    for kind, column in (("cold items among all", "cold"), ("warm items among all", "warm")):
        for system in ("hybrid", "content", "ALS"):
            value = round(
                float(np.mean([getattr(hits, column).mean() for hits in found[system]])), 3
            )
            peer = {"content": "content alone", "ALS": "ALS alone"}.get(system)
            what = f"Peer: {peer}." if peer else f"recstream, {kind}, {named}."
            rows.append(Row(value, "Recall@20", what))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=SHOPS, default=list(SHOPS))
    parser.add_argument("--protocols", nargs="*", default=["hidden items", "by time"])
    parser.add_argument("--windows", type=int, default=4, help="splits by time")
    parser.add_argument("--seeds", type=int, default=10, help="splits with hidden items")
    parser.add_argument(
        "--weights", type=float, nargs="*", help="content weights to compare, on the training part"
    )
    parser.add_argument(
        "--newcomers",
        type=float,
        nargs="*",
        default=[COLD_START_BOOST],
        help="with --weights: what content is worth more to items without events",
    )
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/hybrid.json")
    options = parser.parse_args(arguments)
    saved: list[Row] = []
    systems = SYSTEMS
    if options.weights:
        systems = {
            f"{w:g}, newcomers {n:g}": {"content_weight": w, "newcomer_content": n}
            for w in options.weights
            for n in options.newcomers
        }
    plan = [*PLAN, ("journey", "hidden items")] if options.weights else PLAN
    for name, protocol in plan:
        if name not in options.only or protocol not in options.protocols:
            continue
        shop = SHOPS[name]()
        seeds = range(options.seeds if protocol == "hidden items" else options.windows)
        found: dict[str, list[Hits]] = {}
        users: list[tuple[np.ndarray, np.ndarray]] = []
        for seed in seeds:
            split = split_of(name, shop, protocol, seed, inner=bool(options.weights))
            for system, each in hits_of(split, seed, systems):
                found.setdefault(system, []).append(each)
            of = np.array([case.history.user for case in split.cases])
            cold, warm = asked_of(split)
            users.append((of[cold], of[warm]))
        print(
            f"\n{name}, {protocol}, {len(seeds)} splits; in the last {int(split.is_cold.sum())} cold "
            f"items, {len(cold)} cold and {len(warm)} warm cases\n"
        )
        show(found, users)
        if options.save and (name, protocol) in PLAN[:2]:
            which = {"industrial": "amazon-industrial", "movielens": "ml-latest-small"}[name]
            saved += rows_of(f"{which}, {protocol}, {len(seeds)} splits", found)
    if options.save:
        save("hybrid", "Items without events", saved)


if __name__ == "__main__":
    main()
