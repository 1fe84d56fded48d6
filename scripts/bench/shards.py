"""Scenario `shards`: exact top 20 of 10 million items with 64 factors from memory-mapped shards.

Shards are made one at a time and mapped from files. Memory is that of a process that serves: without
what files back (the system drops those pages when it needs them), and the peak with them. The time of
shards is beside one index of the same items, for 1 million items, where both fit. ::

    python scripts/bench/shards.py --save              # about 10 minutes, 7 GB of disk
    python scripts/bench/shards.py --items 2000000     # smaller
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from results import Row, save

from recstream.core.numeric.arrays import GrowableArray
from recstream.core.search import ItemIndex, ShardedIndex, top_n

FACTORS = 64
SHARD = 1_000_000
USERS = 64
TOP = 20


def generated(n_items: int, seed: int) -> np.ndarray:
    """Return factors with the spread of norms of a trained model: popular items have long ones."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n_items, FACTORS), np.float32)
    rows *= (rng.pareto(2.0, (n_items, 1)) + 0.3).astype(np.float32) / np.float32(FACTORS**0.5)
    rows *= np.linspace(2.0, 0.3, FACTORS, dtype=np.float32)
    return rows


def write(folder: Path, n_items: int) -> None:
    """Write shards, one at a time."""
    for number, first in enumerate(range(0, n_items, SHARD)):
        target = folder / f"{number:03d}"
        target.mkdir()
        index = ItemIndex(generated(min(SHARD, n_items - first), number))
        for name, array in index.arrays().items():
            np.save(target / f"{name}.npy", array)


def mapped(path: Path) -> tuple[np.ndarray, int]:
    """Return the array of a file, memory-mapped, and its length."""
    array = np.asarray(np.load(path, mmap_mode="c"))
    return array, len(array)


def opened(folder: Path) -> ShardedIndex:
    """Map shards from their files."""
    shards = []
    for path in sorted(folder.iterdir()):
        named = {each.stem: GrowableArray.over(*mapped(each)) for each in path.glob("*.npy")}
        shards.append(ItemIndex.over(named))
    return ShardedIndex(shards)


def memory() -> dict[str, float]:
    """Return this process's memory in GB, by the names of /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {
        line.split(":")[0]: int(line.split()[1]) / 2**20
        for line in lines
        if line.startswith(("VmHWM", "RssAnon"))
    }


def seconds_a_user(index: ItemIndex | ShardedIndex, users: np.ndarray) -> float:
    """Return processor seconds a user of the second and third run together."""
    top_n(users, index, TOP)
    begun = time.process_time()
    for _ in range(2):
        top_n(users, index, TOP)
    return (time.process_time() - begun) / (2 * len(users))


def serve(folder: Path) -> None:
    """Search in a process that has mapped the shards; print milliseconds a user and memory."""
    index = opened(folder)
    users = generated(USERS, 1 << 20)
    alone = seconds_a_user(index, users[:1])
    batch = seconds_a_user(index, users)
    now = memory()
    print(alone * 1e3, batch * 1e3, now["RssAnon"], now["VmHWM"])


def main() -> None:
    """Print a line a measurement; with ``--save``, write docs/benchmarks/shards.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where shards are written; default: temporary")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    rows: list[Row] = []

    def say(value: float, unit: str, what: str) -> None:
        rows.append(Row(value, unit, what))
        print(f"{value:10.4g} {unit:8} {what}", flush=True)

    users = generated(USERS, 1 << 20)
    items = generated(SHARD, 0)
    whole = ItemIndex(items)
    parts = ShardedIndex([ItemIndex(part) for part in np.array_split(items, 10)])
    expected, found = top_n(users, whole, TOP), top_n(users, parts, TOP)
    if not (
        np.array_equal(expected.ids, found.ids) and np.array_equal(expected.scores, found.scores)
    ):
        raise SystemExit("shards must give the lists of one index")
    for index, name in ((whole, "one index"), (parts, "10 shards")):
        what = f"processor time a user, 1,000,000 items, {name}"
        say(1e3 * seconds_a_user(index, users[:1]), "ms", f"{what}, a user alone.")
        say(1e3 * seconds_a_user(index, users), "ms", f"{what}, {USERS} users together.")
    del items, whole, parts
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        write(Path(name), options.items)
        command = [sys.executable, __file__, "--serve", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    alone, batch, anonymous, highest = map(float, done.stdout.split())
    what = f"{options.items:,} items in shards of {SHARD:,}"
    say(alone, "ms", f"processor time a user, {what}, a user alone.")
    say(batch, "ms", f"processor time a user, {what}, {USERS} users together.")
    say(anonymous, "GB", f"memory of the process that no file backs, {what}.")
    say(
        highest, "GB", f"highest memory of the process, mapped pages that it read included, {what}."
    )
    if options.save:
        save("shards", "Ten million items in shards", rows)


if __name__ == "__main__":
    main()
