"""Scenario `memory`: bytes a user, an entry and an item, by role, and what the trainer's steps take.

::

    python scripts/bench/memory.py                     # 500,000 users × 20 items, 100,000 items
    python scripts/bench/memory.py --users 5000000 --save
    python scripts/bench/memory.py --role serving --items 1000000 --save

The trainer's state is loaded as from a checkpoint: columns of users, items, weights and times. Nothing is
trained: the generation has random factors. `serving` opens an artifact as two workers on one machine do.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from results import Row, save

from recstream.core.als import ALSModel, Objective
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.neighbours import WIDTH, Neighbours
from recstream.core.ranking import rank
from recstream.core.records import Item
from recstream.models import DirectoryStore, OpenedArtifacts, artifact_name, pack
from recstream.settings import Settings
from recstream.trainer.changelog import ChangelogFollower, Touch
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.deltas.restore import restore
from recstream.trainer.histories import UserColumns
from recstream.trainer.training import TrainingSnapshot, hyperparameters
from recstream.trainer.training.files import save_job
from recstream.trainer.training.job import Job

PARTITIONS = 4
PART_USERS = 50_000
CLOCK_MS = 1_700_000_000_000
DAY_MS = 86_400_000
N_TOUCHED = 1_000
HIDDEN = "A product with a title of some length"


def memory(pid: int | str = "self") -> dict[str, int]:
    """Return what a process holds, in bytes: Rss, Private_Dirty and the like."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    parts = (line.split() for line in lines)
    return {part[0].rstrip(":"): int(part[1]) * 1024 for part in parts if len(part) == 3}


def anonymous() -> int:
    """Return the bytes that belong to this process alone."""
    held = memory()
    return held["Private_Dirty"] + held["Private_Clean"]


def peak() -> int:
    """Return the largest resident size so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Clock:
    """Prints each step with its seconds and the memory after it."""

    def __init__(self) -> None:
        self._at = perf_counter()

    def lap(self, what: str) -> float:
        """Return the seconds since the last lap."""
        now = perf_counter()
        seconds, self._at = now - self._at, now
        print(f"{what:40} {seconds:8.2f} s   {anonymous() / 1e6:8.0f} MB private", flush=True)
        self._at = perf_counter()
        return seconds


def parts(n_users: int, n_items: int, each: int, items: Any) -> Iterator[UserColumns]:
    """Yield users with their entries; low items more often."""
    rng = np.random.Generator(np.random.PCG64(0))
    rows = items.add([f"item-{at}" for at in range(n_items)])
    for first in range(0, n_users, PART_USERS):
        n = min(PART_USERS, n_users - first)
        at = (np.arange(each) + rng.random((n, each))) / each
        chosen = (at * at * (n_items - each)).astype(np.int64) + np.arange(each)
        ages = rng.integers(0, 365 * DAY_MS, (n, each))
        yield UserColumns(
            [f"user-{at}" for at in range(first, first + n)],
            (first // PART_USERS) % PARTITIONS,
            CLOCK_MS - ages.min(axis=1),
            np.full(n, each),
            np.full(n, each),
            rows[chosen.ravel()],
            rng.random(n * each),
            CLOCK_MS - ages.ravel(),
            rng.integers(0, 4_000_000, n * each),
            np.ones(n * each, np.int64),
        )


def generation(n_items: int, n_factors: int) -> Generation:
    """Return a generation with random factors, and neighbours and details of every item."""
    rng = np.random.Generator(np.random.PCG64(1))
    model = ALSModel(
        rng.standard_normal((n_items, n_factors), np.float32) / np.float32(n_factors),
        rng.integers(1, 5_000, n_items),
        objective=Objective(),
        mean_user_count=20.0,
    )
    names = [f"item-{at}" for at in range(n_items)]
    weights = -np.sort(-rng.random((n_items, WIDTH), np.float32), axis=1)
    tables = [
        Neighbours(rng.integers(0, n_items, (n_items, WIDTH)).astype(np.int32), weights)
        for _ in range(2)
    ]
    details = {
        name: Item(
            item=name, title=f"{HIDDEN} {at}", category="a > b", brand=f"b{at % 99}", price=1.0
        )
        for at, name in enumerate(names)
    }
    return Generation(
        number=1,
        parent=None,
        offsets={str(each): 0 for each in range(PARTITIONS)},
        hyperparameters=hyperparameters(Settings()) | {"popularity_unit": 0.1, "content": False},
        seed=0,
        items=names,
        bias=rng.random(n_items, np.float32),
        model=model,
        details=details,
        content=tables[0],
        behaviour=tables[1],
    )


def trainer(options: argparse.Namespace) -> list[Row]:
    """Measure the trainer."""
    clock, n = Clock(), options.users
    clock.lap("start")
    follower = ChangelogFollower()
    for part in parts(n, options.items, options.each, follower.histories.items):
        follower.load(4_000_000, part)
    histories = follower.histories
    load_s = clock.lap("histories loaded")
    made = generation(options.items, options.factors)
    clock.lap("generation")
    begun = process_time()
    trained, _ = restore(made, histories)
    deltas = Deltas(trained)
    restore_s = clock.lap("restored")
    restore_cpu_s = process_time() - begun
    restored = anonymous()
    users = [f"user-{at}" for at in range(N_TOUCHED - 1)]
    item = [f"item-{at}" for at in range(0, options.items, options.items // 50)]
    times = []
    for turn in range(5):
        follower.load(4_000_001 + turn, UserColumns(
            [f"fresh-{turn}"], 0, [CLOCK_MS], [1], [1], histories.items.add(["item-7"]), [1.0],
            [CLOCK_MS], [4_000_000 + turn], [1],
        ))  # fmt: skip
        deltas.touch([*users, f"fresh-{turn}"], [])
        deltas.touch([], [Touch(at, name, is_positive=True) for at, name in enumerate(item)])
        begun, begun_cpu = perf_counter(), process_time()
        deltas.make_item_delta(histories, now_ms=0)
        times.append((perf_counter() - begun, process_time() - begun_cpu))
    clock.lap(f"5 deltas of {N_TOUCHED} users")
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        snapshot = TrainingSnapshot(histories.freeze(), {}, histories.n_events)
        freeze_s = clock.lap("frozen")
        save_job(folder, Job(snapshot, None, 1, {}, 0))
        save_s = clock.lap("job written")
    finally:
        shutil.rmtree(folder)
    entry_bytes = histories.words.nbytes / (n * options.each)
    print(f"peak {peak() / 1e9:.2f} GB; deltas {times}")
    return [
        Row(
            round(entry_bytes, 1), "B an entry", f"of the histories of {n:,} users × {options.each}"
        ),
        Row(
            round(histories.nbytes / n),
            "B a user",
            f"of the trainer's histories, {options.each} entries each",
        ),
        Row(round(load_s, 1), "s", "to load all histories from columns"),
        Row(round(restore_s, 1), "s", f"to fold all users in, d = {options.factors}"),
        Row(round(restore_cpu_s, 1), "s", "of processor time for that"),
        Row(
            round(restored / 1e9, 2), "GB", "private to the trainer, restored, with its generation"
        ),
        Row(round(peak() / 1e9, 2), "GB", "largest resident size of the trainer, without training"),
        Row(
            round(median(each for each, _ in times), 3),
            "s",
            f"for a delta of {N_TOUCHED} users, one of them new; median of 5",
        ),
        Row(round(median(each for _, each in times), 3), "s", "of processor time for that"),
        Row(round(freeze_s, 3), "s", "for which the loop stops to start a training"),
        Row(round(save_s, 1), "s", "to write the job in the background"),
    ]


def serving(options: argparse.Namespace) -> list[Row]:
    """Measure the first process that opens an artifact, and two that share its pages."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = DirectoryStore(Path(folder))
        made = generation(options.items, options.factors)
        digest, content = pack(made)
        name, n_bytes = artifact_name(1, digest), len(content)
        store.put(name, content)
        del made, content
        command = [sys.executable, __file__, "--open", name, "--folder", folder]
        first = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, input="")  # noqa: S603 - this script
        print(f"first: {first.stdout.strip()}")
        both = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - likewise
            for _ in range(2)
        ]
        answers = [json.loads(each.stdout.readline()) for each in both if each.stdout]
        held = [private_of(each.pid) for each in both]
        for each in both:
            each.communicate("")
    print(f"both: {answers}, private {held}")
    begun = json.loads(first.stdout)
    what = f"{options.items:,} items × {options.factors}"
    return [
        Row(round(n_bytes / options.items), "B an item", f"of the artifact of {what}"),
        Row(
            begun["seconds"],
            "s",
            "until the first process of a host serves it, checked and written",
        ),
        Row(max(each["seconds"] for each in answers), "s", "until another process serves it"),
        Row(
            round(max(held) / 1e6),
            "MB",
            "private to each of two processes, Python and kernels included",
        ),
        Row(
            round(max(each["before"] for each in answers) / 1e6),
            "MB",
            "of that before it was opened",
        ),
    ]


def private_of(pid: int) -> int:
    """Return the bytes that belong to a process alone."""
    held = memory(pid)
    return held["Private_Dirty"] + held["Private_Clean"]


def open_one(name: str, folder: str) -> None:
    """Open an artifact, make a list from it, tell what it took, and wait for the end of input."""
    before = anonymous()
    begun = perf_counter()
    _, found = OpenedArtifacts(DirectoryStore(Path(folder))).open(name)
    seconds = perf_counter() - begun
    rank([History("u")], found, 20, 1e10)
    print(json.dumps({"seconds": round(seconds, 2), "before": before}), flush=True)
    sys.stdin.read()


ROLES = {"trainer": trainer, "serving": serving}


def main() -> None:
    """Measure a role in a process of its own, and save the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=sorted(ROLES), default="trainer")
    parser.add_argument("--users", type=int, default=500_000)
    parser.add_argument("--each", type=int, default=20, help="entries a user")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--folder", help="where files are made; default: the system's")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_one(options.open, options.folder)
        return
    rows = ROLES[options.role](options)
    for row in rows:
        print(f"{row.value:>10} {row.unit:12} {row.what}")
    if options.save:
        print(save(f"memory-{options.role}", f"Memory: {options.role}", rows))


if __name__ == "__main__":
    main()
