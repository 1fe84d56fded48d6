"""Print how far lists by the default hyper-parameters are behind lists by tuned ones.

    scripts/bench/defaults.py                      # every data set, each for some minutes
    scripts/bench/defaults.py --only ml-100k yoochoose
    scripts/bench/defaults.py --save               # docs/benchmarks/defaults.json

What a user gets who sets nothing: the first generation (defaults), then that of the quick search which follows it,
then that of the long search of self-tuning. Beside them the best of a search three times as long (``recstream tune``),
whether it is better beyond noise or not.

The newest fifth of each user's items is the test part; it is read once. Everything is chosen on the rest.
Lists are the product's own (`train`, `rank`), without content. ± is a 95 % interval, paired by user.
"""

import argparse
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from timeit import default_timer
from typing import Any, NamedTuple

import numpy as np
from datasets import STREAMS, Events, gowalla
from list_metrics import hits, recall_at
from results import Row, save
from scipy import sparse
from tuned import as_dict

from recstream.core.evaluation.held_out_lists import split_entries
from recstream.core.events import Event
from recstream.core.generation import Generation
from recstream.core.history import FoldSettings, History, apply
from recstream.core.ranking import rank
from recstream.settings import Settings
from recstream.trainer import Histories, UserColumns, search_hyperparameters
from recstream.trainer.self_tuning import LONG, QUICK, search_matrix
from recstream.trainer.training import TrainingSnapshot, hyperparameters, train

K = 20
MAX_USERS = 3_000
FULL_CANDIDATES = 36


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
    known, wanted, _ = split_entries(matrix, 0.2, generator, at)
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


def systems(part: Part, *, threads: int) -> dict[str, dict[str, Any]]:
    """Return the hyper-parameters that each system uses after the first training on a part."""
    settings = Settings()
    used = hyperparameters(settings)
    chosen: dict[str, dict[str, Any]] = {"defaults": {}}
    tuned: dict[str, Any] = {}
    for system, effort in (
        ("quick search", QUICK),
        ("self-tuning", LONG),
        ("full search", LONG._replace(candidates=FULL_CANDIDATES)),
    ):
        begun = default_timer()
        matrix, at = search_matrix(part.snapshot, settings, effort.max_entries)
        found = search_hyperparameters(
            matrix,
            at,
            used | tuned,
            settings,
            candidates=effort.candidates,
            n_rungs=effort.n_rungs,
            max_users=effort.max_users,
            threads=threads,
        )
        if found.is_better:
            tuned = found.hyperparameters()
        chosen[system] = found.hyperparameters() if system == "full search" else tuned
        print(f"    {system} {default_timer() - begun:.0f} s: {as_dict(found)}", flush=True)
    return chosen


def rows_of(name: str, users: Mapping[str, np.ndarray]) -> list[Row]:
    """Print the recall of each system, and return it as rows of the result file."""
    base = users["defaults"]
    rows = [Row(float(base.mean()), "Recall@20", f"{name}: defaults, the first generation.")]
    for system, each in users.items():
        more = each - base
        error = 1.96 * more.std() / np.sqrt(len(more)) / base.mean()
        gain = f"{100 * (each.mean() / base.mean() - 1):+.1f} ± {100 * error:.1f} %"
        print(f"  {system:16} {each.mean():.4f}  {gain}", flush=True)
        if system != "defaults":
            rows.append(Row(float(each.mean()), "Recall@20", f"{name}: {system} ({gain})."))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=DATA, default=list(DATA))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/defaults.json")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.only:
        matrix, at = DATA[name]()
        outer, _ = split(matrix, at, is_ordered=name in STREAMS)
        print(
            f"{name}: {matrix.shape[0]} users, {matrix.shape[1]} items, {matrix.nnz} entries",
            flush=True,
        )
        chosen = systems(outer, threads=options.threads)
        users = {
            system: recall(
                outer, trained(outer, each, threads=options.threads), threads=options.threads
            )
            for system, each in chosen.items()
        }
        rows += rows_of(name, users)
        if options.save:
            save("defaults", "Defaults beside tuned hyper-parameters", rows)


if __name__ == "__main__":
    main()
