"""Scenario `memory`: bytes a user, an entry and an item, by role, and what the trainer's steps take.

::

    python scripts/bench/memory.py                     # 500,000 users × 20 items, 100,000 items
    python scripts/bench/memory.py --users 5000000 --save
    python scripts/bench/memory.py --role serving --items 1000000 --save
    python scripts/bench/memory.py --role mapped --items 10000000 --limit 4 --save

The trainer's state is loaded from checkpoints, which another process writes before. Nothing is trained: the
generation has random factors. `serving` opens an artifact as two workers on one machine do. `mapped` makes
lists from a folder that another process of the host has opened: ten million items need 25 GB of disk, and 15
GB of memory for the process that writes them. Restarting after 5 million users needs 4 GB of disk and some
6 GB of memory.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from memory_world import (
    CHANGELOG,
    CLOCK_MS,
    OFFSET,
    PARTITIONS,
    Clock,
    LongLog,
    anonymous,
    generation,
    memory,
    peak,
    write_checkpoints,
)
from results import Row, save

from recstream.checkpoints import Checkpoints
from recstream.core.history import Entry, History
from recstream.core.ranking import rank
from recstream.log import TopicPartition
from recstream.models import DirectoryStore, OpenedArtifacts, artifact_name, pack
from recstream.process.warmup import warm_up
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.deltas.restore import restore
from recstream.trainer.histories import UserColumns
from recstream.trainer.histories.changelog import ChangelogFollower, Touch
from recstream.trainer.histories.checkpoint import restore_histories
from recstream.trainer.training import TrainingSnapshot
from recstream.trainer.training.files import save_job
from recstream.trainer.training.job import TrainingJob

N_TOUCHED = 1_000
N_TOGETHER = 64
CONTROL_GROUPS = Path("/sys/fs/cgroup/memory")
"""Version 1, where root may limit the memory of a process."""
ARTIFACT, DIGEST = "generation-000001-00000000.npz", "0" * 32


def trainer(options: argparse.Namespace) -> list[Row]:
    """Measure the trainer."""
    clock, n = Clock(), options.users // PARTITIONS * PARTITIONS
    follower = ChangelogFollower()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        sizes = (str(each) for each in (n, options.items, options.each))
        subprocess.run([sys.executable, __file__, "--write", name, *sizes], check=True)  # noqa: S603 - this script
        log = LongLog(Path(name) / "log.db", sync="normal")
        checkpoints = Checkpoints(log, DirectoryStore(Path(name) / "checkpoints"))
        rows = [TopicPartition(CHANGELOG, each) for each in range(PARTITIONS)]
        clock.lap("checkpoints written")
        begun = process_time()
        loaded = restore_histories(follower, checkpoints, rows)
        assert len(loaded) == PARTITIONS, loaded  # noqa: S101 - else the figures would be of nothing
        load_cpu_s = process_time() - begun
        log.close()
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
    users = [f"user-0-{at:07d}" for at in range(N_TOUCHED - 1)]
    item = [f"item-{at}" for at in range(0, options.items, options.items // 50)]
    times = []
    for turn in range(5):
        follower.load(OFFSET + 1 + turn, UserColumns(
            [f"fresh-{turn}"], 0, [CLOCK_MS], [1], [1], histories.items.add(["item-7"]), [1.0],
            [CLOCK_MS], [OFFSET + turn], [1],
        ))  # fmt: skip
        deltas.touch([*users, f"fresh-{turn}"], [])
        deltas.touch(
            [],
            [
                Touch(at, name, users[at % len(users)], is_positive=True)
                for at, name in enumerate(item)
            ],
        )
        begun, begun_cpu = perf_counter(), process_time()
        deltas.make_item_delta(histories, now_ms=0)
        times.append((perf_counter() - begun, process_time() - begun_cpu))
    clock.lap(f"5 deltas of {N_TOUCHED} users")
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        snapshot = TrainingSnapshot(histories.freeze(), {}, histories.n_events)
        freeze_s = clock.lap("frozen")
        save_job(folder, TrainingJob(snapshot, None, 1, {}, 0))
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
        Row(round(load_s, 1), "s", "to load all histories from checkpoints, of a restart"),
        Row(round(load_cpu_s, 1), "s", "of processor time for that"),
        Row(round(restore_s, 1), "s", f"to fold all users in, d = {options.factors}, of a restart"),
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
        Row(round(begun["peak"] / 1e6), "MB", "largest resident size of that process"),
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


def mapped(options: argparse.Namespace) -> list[Row]:
    """Measure a process that makes lists from a generation that another process of the host has opened."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        command = [sys.executable, __file__, "--folder", folder, "--items", str(options.items)]
        command += ["--factors", str(options.factors)]
        subprocess.run([*command, "--add"], check=True)  # noqa: S603 - this script
        with limited(options.limit) as prefix:
            done = subprocess.run(  # noqa: S603 - likewise
                [*prefix, *command, "--rank"], check=True, capture_output=True, text=True
            )
    found = json.loads(done.stdout)
    what = f"{options.items:,} items × {options.factors}"
    return [
        Row(round(found["open_s"], 2), "s", f"to open {what} that another process has opened"),
        Row(round(found["first_s"], 2), "s", "for the first list"),
        Row(round(found["columns_s"], 1), "s", "once, when a rule first asks for a brand"),
        Row(
            round(found["alone_ms"], 2),
            "ms",
            "of processor time for a list of one user, reading of pages included; its neighbours are random items",
        ),
        Row(round(found["batch_ms"], 2), "ms", f"for each list of {N_TOGETHER} users together"),
        Row(round(found["anonymous"] / 1e9, 2), "GB", "that no file backs, after these lists"),
        Row(
            round(found["peak"] / 1e9, 2),
            "GB",
            "largest resident size, pages of files that it read included"
            + (
                f", with a limit of {options.limit} GB on those that it read first"
                if options.limit
                else ""
            ),
        ),
    ]


@contextlib.contextmanager
def limited(gigabytes: int) -> Iterator[list[str]]:
    """Yield what starts a command with a limit of memory, pages of files included; 0 for no limit."""
    if not gigabytes:
        yield []
        return
    group = CONTROL_GROUPS / f"recstream-bench-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(gigabytes * 10**9))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()


def add_opened(options: argparse.Namespace) -> None:
    """Write the opened folder of a generation, as the trainer of a host does."""
    made = generation(options.items, options.factors)
    OpenedArtifacts(DirectoryStore(Path(options.folder))).add(ARTIFACT, DIGEST, made, 1 << 30)


def rank_mapped(options: argparse.Namespace) -> None:
    """Open the folder, make lists of users with a history, and print what that took."""
    warm_up()
    begun = perf_counter()
    _, found = OpenedArtifacts(DirectoryStore(Path(options.folder))).open(ARTIFACT, DIGEST)
    open_s = perf_counter() - begun
    rng = np.random.default_rng(0)
    users = []
    for at in range(2 * N_TOGETHER):
        bought = [found.items[row] for row in rng.integers(0, options.items, 20).tolist()]
        page = {name: Entry(name, 3.0, CLOCK_MS, 3, n, 1) for n, name in enumerate(bought)}
        users.append(History(f"u{at}", clock_ms=CLOCK_MS, n_items=len(page), pages=(page,)))
    begun = perf_counter()
    rank(users[:1], found, 20, 1e10)
    first_s = perf_counter() - begun
    rank(users[:N_TOGETHER], found, 20, 1e10)
    begun = process_time()
    for user in users[:N_TOGETHER]:
        rank([user], found, 20, 1e10)
    alone_ms = 1e3 * (process_time() - begun) / N_TOGETHER
    begun = process_time()
    rank(users[N_TOGETHER:], found, 20, 1e10)
    batch_ms = 1e3 * (process_time() - begun) / N_TOGETHER
    begun = perf_counter()
    len(found.columns.brand.codes)
    columns_s = perf_counter() - begun
    print(
        json.dumps(
            {
                "open_s": open_s,
                "first_s": first_s,
                "columns_s": columns_s,
                "alone_ms": alone_ms,
                "batch_ms": batch_ms,
                "anonymous": memory()["Anonymous"],
                "peak": peak(),
            }
        )
    )


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
    answer = {"seconds": round(seconds, 2), "before": before, "peak": peak()}
    print(json.dumps(answer), flush=True)
    sys.stdin.read()


ROLES = {"trainer": trainer, "serving": serving, "mapped": mapped}


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
    parser.add_argument("--limit", type=int, default=0, help="GB for the process of `mapped`")
    parser.add_argument("--add", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rank", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_checkpoints(Path(options.write[0]), *map(int, options.write[1:]))
        return
    if options.open:
        open_one(options.open, options.folder)
        return
    if options.add or options.rank:
        (add_opened if options.add else rank_mapped)(options)
        return
    rows = ROLES[options.role](options)
    for row in rows:
        print(f"{row.value:>10} {row.unit:12} {row.what}")
    if options.save:
        title = "many items" if options.role == "mapped" else options.role
        print(save(f"memory-{options.role}", f"Memory: {title}", rows))


if __name__ == "__main__":
    main()
