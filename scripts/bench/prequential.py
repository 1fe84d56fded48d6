"""Print how good lists are in the stream: ours beside popularity, decayed popularity and ISGD.

    scripts/bench/prequential.py                     # every data set
    scripts/bench/prequential.py --data ml-100k --tune
    scripts/bench/prequential.py --ties shuffled     # events of one time stamp in random order

Protocol: 20 % warm-up; then for each event recommend, check, learn. Seen items are left out of
lists (and their repeats out of the count), except for completejourney and yoochoose, where
buying or clicking again is what happens; there "what this user does again" stands beside.
Every choice, of the baselines too, is made on the warm-up.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from timeit import default_timer
from typing import NamedTuple

import numba
import numpy as np
import results
from datasets import STREAMS
from prequential_replay import (
    Prequential,
    ReplayConfig,
    Stream,
    evaluate,
    soft_hits,
    stream_of,
    tune_stream,
)

from recstream.core.evaluation import SearchProgress

WARM_UP = 0.2
DECAYS = (0.9999, 0.999, 0.99)
ISGD = tuple((rate, penalty) for rate in (0.01, 0.03, 0.1) for penalty in (0.01, 0.1))


class Row(NamedTuple):
    """One line of the table."""

    name: str
    recall_10: float
    recall_20: float
    mrr: float
    seconds: float


@numba.njit(cache=True)
def place(scores: np.ndarray, item: int, own: np.ndarray, known: np.ndarray, repeat: bool) -> int:
    """Return the item's place; 0 for an unknown item, -1 for a repeat that does not count."""
    is_own = False
    for a in range(len(own)):
        is_own = is_own or own[a] == item
    if is_own and not repeat:
        return -1
    if not (known[item] and np.isfinite(scores[item])):
        return 0
    rank = 1
    for i in range(len(scores)):
        if known[i] and (scores[i] > scores[item] or (scores[i] == scores[item] and i < item)):
            rank += 1
    if not repeat:
        for a in range(len(own)):
            i = own[a]
            if scores[i] > scores[item] or (scores[i] == scores[item] and i < item):
                rank -= 1
    return rank


@numba.njit(cache=True)
def popularity(
    users: np.ndarray, items: np.ndarray, decay: float, repeat: bool, again: bool
) -> np.ndarray:
    """Rank by decayed counts; with ``again``, what the user did most comes first."""
    n_users, n_items = users.max() + 1, items.max() + 1
    counts, known = np.zeros(n_items), np.zeros(n_items, np.bool_)
    room = np.bincount(users)
    histories = [np.empty(room[u], np.int32) for u in range(n_users)]
    size = np.zeros(n_users, np.int64)
    ranks = np.zeros(len(users), np.int32)
    gain = 1.0
    for e in range(len(users)):
        user, item = users[e], items[e]
        own = histories[user][: size[user]]
        if again:
            scores = counts / (counts.sum() + 1e-12)
            for a in range(len(own)):
                scores[own[a]] += 1.0
            ranks[e] = place(scores, item, own, known, repeat)
        else:
            ranks[e] = place(counts, item, own, known, repeat)
        gain /= decay
        counts[item] += gain
        known[item] = True
        histories[user][size[user]] = item
        size[user] += 1
        if gain > 1e200:
            counts /= gain
            gain = 1.0
    return ranks


@numba.njit(cache=True)
def isgd(
    users: np.ndarray,
    items: np.ndarray,
    rate: float,
    penalty: float,
    repeat: bool,
    x: np.ndarray,
    y: np.ndarray,
) -> np.ndarray:
    """Rank by incremental matrix factorisation (Vinagre et al. 2014): one step towards 1 an event."""
    n_users, n_items = len(x), len(y)
    known = np.zeros(n_items, np.bool_)
    room = np.bincount(users)
    histories = [np.empty(room[u], np.int32) for u in range(n_users)]
    size = np.zeros(n_users, np.int64)
    ranks = np.zeros(len(users), np.int32)
    for e in range(len(users)):
        user, item = users[e], items[e]
        scores = -np.abs(1.0 - y @ x[user])
        ranks[e] = place(scores, item, histories[user][: size[user]], known, repeat)
        miss = 1.0 - x[user] @ y[item]
        x[user] += rate * (miss * y[item] - penalty * x[user])
        y[item] += rate * (miss * x[user] - penalty * y[item])
        known[item] = True
        histories[user][size[user]] = item
        size[user] += 1
    return ranks


def start(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Return random user and item factors for ISGD."""
    generator = np.random.default_rng(0)
    n_users, n_items = int(stream.users.max()) + 1, int(stream.items.max()) + 1
    return generator.normal(0, 0.1, (n_users, 32)), generator.normal(0, 0.1, (n_items, 32))


def line(name: str, ranks: np.ndarray, seconds: float) -> Row:
    """Summarise ranks after the warm-up."""
    counted = Prequential(ranks, ranks[:, None], 0.0, 1.0, np.zeros(1), 0)
    return Row(name, counted.recall(10), counted.recall(20), counted.mrr(), seconds)


def best_on_warm_up(
    stream: Stream, begin: int, runs: dict[str, Callable[[Stream], np.ndarray]]
) -> tuple[str, np.ndarray]:
    """Run what does best between the half and the end of the warm-up on the whole stream."""
    warm_up = Stream(stream.users[:begin], stream.items[:begin])

    def gain(label: str) -> float:
        ranks = runs[label](warm_up)[begin // 2 :]
        return float(soft_hits(ranks[ranks >= 0]).mean())

    label = max(runs, key=gain) if len(runs) > 1 else next(iter(runs))
    return label, runs[label](stream)


def table(name: str, *, tune: bool, ties: str, threads: int, stop: float) -> list[Row]:
    """Run everything on one data set."""
    data = STREAMS[name]
    users, items, times = data.read()
    if ties == "shuffled":
        order = np.random.default_rng(0).permutation(len(users))
        users, items, times = users[order], items[order], times[order]
    whole = stream_of(users, items, times)
    stream = Stream(whole.users[: int(stop * len(whole))], whole.items[: int(stop * len(whole))])
    begin = int(WARM_UP * len(stream))
    rows = []

    def baseline(title: str, runs: dict[str, Callable[[Stream], np.ndarray]]) -> None:
        begun = default_timer()
        label, ranks = best_on_warm_up(stream, begin, runs)
        rows.append(line(f"{title} {label}".strip(), ranks[begin:], default_timer() - begun))

    def popular(decay: float, *, again: bool = False) -> Callable[[Stream], np.ndarray]:
        return lambda part: popularity(part.users, part.items, decay, data.repeat, again)

    def one_step(rate: float, penalty: float) -> Callable[[Stream], np.ndarray]:
        return lambda part: isgd(part.users, part.items, rate, penalty, data.repeat, *start(part))

    baseline("popularity", {"": popular(1.0)})
    baseline("decayed popularity", {f"{decay}": popular(decay) for decay in DECAYS})
    if data.repeat:
        baseline("what the user does again", {"": popular(DECAYS[0], again=True)})
    baseline("ISGD", {f"η {r}, λ {p}": one_step(r, p) for r, p in ISGD})

    begun = default_timer()
    recipe = ReplayConfig(repeat=data.repeat)
    if tune:
        warm_up = Stream(stream.users[:begin], stream.items[:begin])
        recipe = tune_stream(warm_up, recipe, threads=threads, progress=report).config
        recipe = replace(recipe, n_factors=max(recipe.n_factors, 64))
    ours = evaluate(stream, recipe, warm_up=WARM_UP, threads=threads)
    rows.append(line("recstream", ours.ranks, default_timer() - begun))
    return rows


def report(progress: SearchProgress) -> None:
    """Show the search."""
    print(
        f"\r  {progress.done}/{progress.total} best {progress.best.score:.4f}", end="", flush=True
    )
    if progress.done == progress.total:
        print()


def save(found: dict[str, list[Row]]) -> None:
    """Write the result file: Recall@10 of each method on each data set."""
    saved = []
    for name, rows in found.items():
        *peers, ours = rows
        saved.append(
            results.Row(round(ours.recall_10, 4), "Recall@10", f"recstream, {STREAMS[name].title}.")
        )
        saved += [
            results.Row(round(each.recall_10, 4), "Recall@10", f"Peer: {each.name}.")
            for each in peers
        ]
    results.save("prequential", "Recommend, check, learn", saved)


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", choices=list(STREAMS), default=list(STREAMS))
    parser.add_argument("--tune", action="store_true", help="search on the warm-up first")
    parser.add_argument("--ties", choices=["file", "shuffled"], default="file")
    parser.add_argument("--stop", type=float, default=1.0, help="use this part of the stream only")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write the result file")
    options = parser.parse_args()
    found = {}
    for name in options.data:
        rows = found[name] = table(
            name, tune=options.tune, ties=options.ties, threads=options.threads, stop=options.stop
        )
        if options.json:
            print(json.dumps({"data": name, "rows": [row._asdict() for row in rows]}))
            continue
        print(f"\n{STREAMS[name].title}\n{'':34}Recall@10 Recall@20    MRR  seconds")
        for row in rows:
            print(
                f"{row.name:34}{row.recall_10:9.3f} {row.recall_20:9.3f} {row.mrr:6.3f} {row.seconds:8.1f}",
                flush=True,
            )
    if options.save:
        save(found)


if __name__ == "__main__":
    main()
