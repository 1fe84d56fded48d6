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

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
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
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from results import Row, save

from recstream.checkpoints import Checkpoints, Manifest
from recstream.checkpoints.columns import COLUMNS, KEPT_PAGES
from recstream.checkpoints.manifest import file_name
from recstream.core.als import ALSModel, Objective
from recstream.core.columns import IdTable
from recstream.core.content import ItemDetails
from recstream.core.generation import Generation
from recstream.core.history import Entry, History, table_rows
from recstream.core.neighbours import WIDTH, Neighbours
from recstream.core.ranking import rank
from recstream.log import INTERACTIONS, TopicPartition, histories_changelog, topic_specs
from recstream.log.embedded import EmbeddedLog
from recstream.models import DirectoryStore, OpenedArtifacts, artifact_name, pack
from recstream.process.warmup import warm_up
from recstream.settings import Settings
from recstream.trainer.deltas.deltas import Deltas
from recstream.trainer.deltas.restore import restore
from recstream.trainer.histories import UserColumns
from recstream.trainer.histories.changelog import ChangelogFollower, Touch
from recstream.trainer.histories.checkpoint import restore_histories
from recstream.trainer.training import TrainingSnapshot, hyperparameters
from recstream.trainer.training.files import save_job
from recstream.trainer.training.job import TrainingJob

PARTITIONS = 4
PART_USERS = 12_000
"""Users of a row group, about as many as fit."""
OFFSET = 4_000_000
"""Of the checkpoints."""
CHANGELOG = histories_changelog(Settings().app_id)
CLOCK_MS = 1_700_000_000_000
DAY_MS = 86_400_000
N_TOUCHED = 1_000
N_TOGETHER = 64
CONTROL_GROUPS = Path("/sys/fs/cgroup/memory")
"""Version 1, where root may limit the memory of a process."""
ARTIFACT, DIGEST = "generation-000001-00000000.npz", "0" * 32
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


class LongLog(EmbeddedLog):
    """A log that claims the events and rows of the checkpoints: those ahead of the log are not used."""

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the next offset."""
        return (
            OFFSET
            if topic in {INTERACTIONS, CHANGELOG}
            else super().high_watermark(topic, partition)
        )


def write_checkpoints(folder: Path, n_users: int, n_items: int, each: int) -> None:
    """Write a checkpoint of each partition, of users with random entries; low items more often."""
    log = EmbeddedLog(folder / "log.db", sync="normal")
    log.create_topics(topic_specs(PARTITIONS))
    checkpoints = Checkpoints(log, DirectoryStore(folder / "checkpoints"))
    rng = np.random.Generator(np.random.PCG64(0))
    names = pa.array([f"item-{at}" for at in range(n_items)])
    listed = table_rows.encode_row(table_rows.ListRow(1, 2, tuple(names[:20].to_pylist())))
    for partition in range(PARTITIONS):
        of_partition = n_users // PARTITIONS
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, COLUMNS, compression="zstd") as writer:
            for first in range(0, of_partition, PART_USERS):
                n = min(PART_USERS, of_partition - first)
                ids = [f"user-{partition}-{at:07d}" for at in range(first, first + n)]
                writer.write_table(_row_group(rng, ids, names, each, listed))
            writer.add_key_value_metadata({KEPT_PAGES: "0"})
        content = sink.getvalue()
        digest = checkpoints.digest(content)
        manifest = Manifest(
            name=file_name(partition, OFFSET, digest), epoch=log.epoch, topic=INTERACTIONS,
            partition=partition, partitions=PARTITIONS, offset=OFFSET, listed_offset=OFFSET,
            changelog=CHANGELOG, changelog_offset=0, digest=digest, size=len(content),
            n_users=of_partition, n_entries=of_partition * each, n_events=of_partition * each,
            made_ts=0,
        )  # fmt: skip
        checkpoints.put(manifest, content)
    log.close()


def _row_group(
    rng: np.random.Generator, ids: list[str], names: pa.Array, each: int, listed: bytes
) -> pa.Table:
    """Return users as a row group of a checkpoint: a header, then the entries."""
    n, n_rows = len(ids), len(ids) * (each + 1)
    is_header = np.arange(n_rows) % (each + 1) == 0
    at = (np.arange(each) + rng.random((n, each))) / each
    chosen = (at * at * (len(names) - each)).astype(np.int64) + np.arange(each)
    ages = rng.integers(0, 365 * DAY_MS, (n, each))

    def rows(of_header: Any, of_entry: Any, kind: Any = np.int64) -> Any:
        made = np.empty(n_rows, kind)
        made[is_header], made[~is_header] = of_header, np.ravel(of_entry)
        return made

    rests = []
    for _ in ids:
        fields = (table_rows.SCHEMA, OFFSET - 1, 0, CLOCK_MS, each, each, 1, rng.bytes(8 * each))
        header = table_rows.encode_row(table_rows.Header(*fields))
        rests.append(table_rows.encode_row([(b"", header), (b"\0l", listed)]))
    return pa.Table.from_arrays(
        [
            pa.DictionaryArray.from_arrays(
                pa.array(np.repeat(np.arange(n, dtype=np.int32), each + 1)), pa.array(ids)
            ),
            names.take(pa.array(rows(0, chosen), mask=is_header)),
            pa.array(rows(0.0, rng.random(n * each), np.float64)),
            pa.array(rows(CLOCK_MS - ages.min(axis=1), CLOCK_MS - ages)),
            pa.array(rows(0, np.full(n * each, 3), np.int16)),
            pa.array(rows(OFFSET - 1, rng.integers(0, OFFSET, n * each))),
            pa.array(rows(each, np.ones(n * each))),
            pa.nulls(n_rows, pa.float64()),
            pa.nulls(n_rows, pa.int64()),
            pa.array(rows(-1, np.zeros(n * each), np.int32)),
            pa.array(rests, pa.binary()).take(
                pa.array(rows(np.arange(n), np.zeros(n * each)), mask=~is_header)
            ),
        ],
        schema=COLUMNS,
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
    items = IdTable(f"item-{at}" for at in range(n_items))
    weights = -np.sort(-rng.random((n_items, WIDTH), np.float32), axis=1)
    near = rng.integers(0, n_items, (n_items, WIDTH), np.int32)
    return Generation(
        number=1,
        parent=None,
        offsets={str(each): 0 for each in range(PARTITIONS)},
        hyperparameters=hyperparameters(Settings()) | {"popularity_unit": 0.1, "content": False},
        seed=0,
        items=items,
        bias=rng.random(n_items, np.float32),
        model=model,
        details=details_of(items),
        content=Neighbours(near, weights),
        behaviour=Neighbours(near[::-1].copy(), weights),
    )


def details_of(items: IdTable) -> ItemDetails:
    """Return details of every item, without an object for each."""
    block, ends = bytearray(), np.empty(len(items), np.int64)
    for at, name in enumerate(items):
        block += b'{"item":"%b","title":"%b %d","category":"a > b","brand":"b%d","price":1.0}' % (
            name.encode(), HIDDEN.encode(), at, at % 99
        )  # fmt: skip
        ends[at] = len(block)
    return ItemDetails(items, np.frombuffer(block, np.uint8), ends)


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
