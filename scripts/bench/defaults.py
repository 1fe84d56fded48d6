"""Print how far lists by the default hyper-parameters are behind lists by tuned ones.

    scripts/bench/defaults.py                      # every data set, each for some minutes
    scripts/bench/defaults.py --only ml-100k yoochoose

The newest fifth of each user's items is the test part; it is read once. Everything is chosen on the rest,
with its own newest fifth as validation part: the objective by `recstream.core.evaluation.tune`, as
self-tuning calls it, then the weights of behaviour and popularity and the decay of seeds, one after another.
Lists are the product's own (`train`, `rank`), without content. ± is a 95 % interval, paired by user.
"""

import argparse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from timeit import default_timer
from typing import Any, NamedTuple

import numpy as np
from datasets import STREAMS, Events, gowalla
from scipy import sparse

from recstream.core.evaluation import tune
from recstream.core.evaluation.metrics import hits, recall_at
from recstream.core.evaluation.search import split_entries
from recstream.core.events import Event
from recstream.core.generation import Generation
from recstream.core.history import FoldSettings, History, apply
from recstream.core.ranking import rank
from recstream.settings import Settings
from recstream.trainer import Histories, UserColumns
from recstream.trainer.training import TrainingSnapshot, hyperparameters, train

K = 20
MAX_USERS = 3_000
GRID: Mapping[str, tuple[float, ...]] = {
    "behaviour_weight": (0.0, 3.0, 6.0, 10.0, 15.0, 25.0),
    "popularity_weight": (0.0, 0.1, 0.2, 0.4, 0.8),
    "seed_decay": (0.5, 0.65, 0.8, 0.9, 1.0),
}


class Part(NamedTuple):
    """A training part as histories, and what is asked of some users."""

    matrix: sparse.csr_matrix
    at: np.ndarray
    histories: list[History]
    snapshot: TrainingSnapshot
    asked: np.ndarray
    wanted: sparse.csr_matrix


def matrix_of(events: Events) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return the first event of each user with each item, and the times of the entries."""
    order = np.argsort(events.times, kind="stable")
    _, users = np.unique(events.users[order], return_inverse=True)
    _, items = np.unique(events.items[order], return_inverse=True)
    n_items = int(items.max()) + 1
    keys, first = np.unique(users.astype(np.int64) * n_items + items, return_index=True)
    shape = (int(users.max()) + 1, n_items)
    values = np.ones(len(keys), np.float32)
    return (
        sparse.csr_matrix((values, (keys // n_items, keys % n_items)), shape=shape),
        events.times[order][first].astype(np.float64),
    )


def gowalla_part() -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return every fourth user of gowalla's training part, in random order: it has no times."""
    whole = gowalla()[0][::4]
    used = whole[:, np.flatnonzero(np.bincount(whole.indices, minlength=whole.shape[1]))].tocsr()
    used.sort_indices()
    return used, np.random.default_rng(0).random(used.nnz)


DATA: Mapping[str, Callable[[], tuple[sparse.csr_matrix, np.ndarray]]] = {
    **{name: lambda each=each: matrix_of(each.read()) for name, each in STREAMS.items()},
    "gowalla-quarter": gowalla_part,
}


def split(
    matrix: sparse.csr_matrix, at: np.ndarray, *, is_ordered: bool
) -> tuple[Part, sparse.csr_matrix]:
    """Return a part to train on with what is asked, and the part held out."""
    generator = np.random.Generator(np.random.PCG64(0))
    known, wanted = split_entries(matrix, 0.2, generator, at)
    known.sort_indices()
    owners = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    keys = owners.astype(np.int64) * matrix.shape[1] + matrix.indices
    rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr)).astype(np.int64)
    times = at[np.searchsorted(keys, rows * matrix.shape[1] + known.indices)]
    rules = FoldSettings(Settings().weights, Settings().half_life_ms)
    histories = [History(f"u{user:06}") for user in range(known.shape[0])]
    for offset, place in enumerate(np.argsort(times, kind="stable").tolist()):
        user, item = int(rows[place]), int(known.indices[place])
        when = datetime.fromtimestamp(float(times[place]) if is_ordered else 0.0, UTC)
        event = Event(id=str(offset), user=f"u{user:06}", item=f"i{item:06}", type="view", ts=when)
        histories[user] = apply(histories[user], event, offset, 0, rules)
    columns = Histories()
    columns.put(UserColumns.of([each for each in histories if each.n_items], 0, columns.items))
    asked = np.flatnonzero(np.diff(wanted.indptr))
    if len(asked) > MAX_USERS:
        asked = np.sort(generator.choice(asked, MAX_USERS, replace=False))
    snapshot = TrainingSnapshot(columns, {"0": 1}, 1)
    return Part(known, times, histories, snapshot, asked, wanted[asked]), wanted


def trained(part: Part, chosen: Mapping[str, Any], *, threads: int) -> Generation:
    """Train on a part."""
    settings = {**hyperparameters(Settings()), "hold_out": False, "threads": threads, **chosen}
    return train(part.snapshot, number=1, parent=None, chosen=settings, seed=0).generation


def recall(part: Part, generation: Generation, *, threads: int) -> np.ndarray:
    """Return Recall@20 of each user who is asked."""
    rows = np.array([int(item[1:]) for item in generation.items], np.int32)
    ids = np.full((len(part.asked), K), -1, np.int32)
    for start in range(0, len(part.asked), 500):
        some = [part.histories[user] for user in part.asked[start : start + 500].tolist()]
        lists = rank(some, generation, K, Settings().half_life_ms, threads=threads)
        for at, each in enumerate(lists, start=start):
            ids[at, : len(each.rows)] = rows[each.rows]
    return recall_at(hits(ids, part.wanted), np.diff(part.wanted.indptr), K)


def weighted(part: Part, chosen: dict[str, Any], *, threads: int) -> dict[str, Any]:
    """Return the options with the weights that are best on a part, one after another."""
    best, score = dict(chosen), -1.0
    for name, values in GRID.items():
        found = [
            (recall(part, trained(part, {**best, name: value}, threads=threads), threads=threads))
            for value in values
        ]
        means = [float(each.mean()) for each in found]
        if max(means) > score:
            score, best = max(means), {**best, name: values[int(np.argmax(means))]}
        print(
            f"    {name} {dict(zip(values, np.round(means, 4).tolist(), strict=True))}", flush=True
        )
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=DATA, default=list(DATA))
    parser.add_argument("--factors", type=int, default=Settings().n_factors)
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    for name in options.only:
        matrix, at = DATA[name]()
        is_ordered = name in STREAMS
        outer, _ = split(matrix, at, is_ordered=is_ordered)
        inner, _ = split(outer.matrix, outer.at, is_ordered=is_ordered)
        print(
            f"{name}: {matrix.shape[0]} users, {matrix.shape[1]} items, {matrix.nnz} entries",
            flush=True,
        )
        begun = default_timer()
        found = tune(
            outer.matrix,
            at=outer.at,
            n_factors=options.factors,
            iterations=Settings().iterations,
            candidates=options.candidates,
            threads=options.threads,
            max_users=MAX_USERS,
        )
        objective = found.als_arguments(outer.matrix)
        print(f"    search {default_timer() - begun:.0f} s: {found.as_dict()}", flush=True)
        base = {"n_factors": options.factors}
        systems = {
            "defaults": base,
            "objective tuned": objective,
            "weights tuned": weighted(inner, base, threads=options.threads),
            "both tuned": weighted(inner, objective, threads=options.threads),
        }
        users = {
            system: recall(outer, trained(outer, chosen, threads=options.threads), threads=options.threads)
            for system, chosen in systems.items()
        }  # fmt: skip
        for system, each in users.items():
            more = each - users["defaults"]
            error = 1.96 * more.std() / np.sqrt(len(more))
            print(
                f"  {system:16} {each.mean():.4f}  {more.mean():+.4f} ± {error:.4f}"
                f"  {100 * (each.mean() / users['defaults'].mean() - 1):+.1f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
