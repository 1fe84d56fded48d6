#!/usr/bin/env python3
"""Scenario `log_length`: start of each role after logs of different length, checkpoint at 90 %.

Users and items are the same in every log; only the number of events differs. A worker folds 90 % of
them, makes checkpoints, and folds the rest. Then each role starts with nothing of its own: a worker whose
tables are gone, a trainer's inputs, a bridge's views, and the first question about a history. Beside it,
in the same run: the same starts without the checkpoints. ::

    scripts/bench/log_length.py [--events 1000000 10000000] [--users 50000] [--save]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
import rocksdict
from results import Row, save

from recstream.bridge.views.lists import Views
from recstream.checkpoints import open_checkpoints
from recstream.control import submit
from recstream.core.records import CheckpointRequested
from recstream.log import (
    INTERACTIONS,
    NewRecord,
    TopicPartition,
    TopicSpec,
    histories_changelog,
    partition_for,
    topic_specs,
)
from recstream.log.embedded import EmbeddedLog, maintain
from recstream.settings import Settings
from recstream.time_travel import Snapshots
from recstream.trainer.inputs import Inputs
from recstream.worker import process as worker

PARTITIONS = 4
ITEMS_EACH = 20
N_ITEMS = 20_000
ENVELOPE = 500
START_MS = 1_790_000_000_000
WAIT_S = 3_600.0


def append_events(log: EmbeddedLog, first: int, count: int, n_users: int) -> None:
    """Append events: each user returns to the same items again and again."""
    rng = np.random.Generator(np.random.PCG64(first))
    parts: dict[int, list[bytes]] = {p: [] for p in range(PARTITIONS)}
    partitions = [partition_for(b"u%d" % user, PARTITIONS) for user in range(n_users)]
    users = rng.integers(n_users, size=count)
    which = rng.integers(ITEMS_EACH, size=count)
    records: list[NewRecord] = []
    for number, (user, item) in enumerate(zip(users.tolist(), which.tolist(), strict=True), first):
        seconds = number // 100
        part = parts[partitions[user]]
        part.append(
            b'{"id":"e%d","type":"view","user":"u%d","item":"p%d","ts":"2026-%02d-%02dT%02d:%02d:%02dZ"}'
            % (
                *(number, user, (user * 7 + item * 997) % N_ITEMS),
                *(1 + seconds // 2_419_200 % 12, 1 + seconds // 86_400 % 28),
                *(seconds // 3600 % 24, seconds // 60 % 60, seconds % 60),
            )
        )
        if len(part) == ENVELOPE:
            records.append(_envelope(part, partitions[user]))
            if len(records) == 100:
                log.append(records)
                records = []
    records += [_envelope(part, partition) for partition, part in parts.items() if part]
    log.append(records)


def _envelope(part: list[bytes], partition: int) -> NewRecord:
    record = NewRecord(INTERACTIONS, None, b"[" + b",".join(part) + b"]", partition, START_MS)
    part.clear()
    return record


def has_folded(log: EmbeddedLog, settings: Settings) -> bool:
    """Return whether the workers have committed all events."""
    committed = log.committed(settings.app_id)
    return all(
        committed.get(TopicPartition(INTERACTIONS, p), 0) == log.high_watermark(INTERACTIONS, p)
        for p in range(PARTITIONS)
    )


async def run_worker(log: EmbeddedLog, settings: Settings, *, checkpoint: bool = False) -> float:
    """Run a worker until it has folded everything, and made checkpoints; return the seconds."""
    stop = asyncio.Event()
    begun = perf_counter()
    task = asyncio.create_task(worker.serve(settings, stop=stop))
    while not (has_folded(log, settings) and _tables(log, settings)):
        await asyncio.sleep(0.02)
        if task.done() or perf_counter() - begun > WAIT_S:
            message = f"the worker did not fold the events: {task}"
            raise SystemExit(message)
    seconds = perf_counter() - begun
    if checkpoint:
        submit(log, CheckpointRequested(id="bench", requested_ts=1))
        checkpoints = open_checkpoints(log, settings)
        while len(checkpoints.all()) < PARTITIONS:  # noqa: ASYNC110 - another process makes them
            await asyncio.sleep(0.1)
    stop.set()
    await task
    return seconds


def _tables(log: EmbeddedLog, settings: Settings) -> bool:
    """Return whether all tables hold what the changelog holds, by the position that Faust keeps."""
    folder = settings.path("tables", settings.app_id, log.epoch)
    paths = list(folder.glob("worker-1/*.db"))
    if len(paths) < PARTITIONS:
        return False
    changelog = histories_changelog(settings.app_id)
    for path in paths:
        try:
            options = rocksdict.Options(raw_mode=True)
            database = rocksdict.Rdict(
                str(path), options, access_type=rocksdict.AccessType.read_only()
            )
        except Exception:  # noqa: BLE001 - rocksdict raises no other
            return False
        offset = database.get(b"__faust\0offset__")
        database.close()
        partition = int(path.stem.rpartition("-")[2])
        if offset is None or int(offset) + 1 < log.high_watermark(changelog, partition):
            return False
    return True


def measure_starts(log: EmbeddedLog, settings: Settings, folder: Path) -> dict[str, float]:
    """Return the seconds that each role takes to start with nothing of its own."""
    found = {}
    shutil.rmtree(settings.path("tables"), ignore_errors=True)
    found["worker"] = asyncio.run(run_worker(log, settings))
    begun = perf_counter()
    inputs = Inputs(settings, log)
    while not inputs.is_caught_up:
        inputs.poll(1.0)
    inputs.close()
    found["trainer"] = perf_counter() - begun
    begun = perf_counter()
    checkpoints = open_checkpoints(log, settings)
    views = Views(
        folder / "views",
        epoch=log.epoch,
        changelog=histories_changelog(settings.app_id),
        checkpoints=checkpoints,
    )
    for tp, offset in views.positions(log).items():
        at = offset
        while records := log.read(*tp, at, 2_000):
            views.apply(records)
            at = records[-1].offset + 1
    views.close()
    found["bridge"] = perf_counter() - begun
    begun = perf_counter()
    snapshots = Snapshots(log, folder / "past", checkpoints=checkpoints)
    partition = snapshots.partition("u1")
    snapshots.history("u1", log.high_watermark(INTERACTIONS, partition) - 1)
    snapshots.close()
    found["time travel"] = perf_counter() - begun
    return found


def measure(n_events: int, n_users: int) -> dict[str, dict[str, float]]:
    """Return the starts after so many events, with and without checkpoints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(
            data_dir=name, partitions=PARTITIONS, broker=f"embedded://{name}/log.db?sync=normal",
            log_level="WARNING",
        )  # fmt: skip
        log = EmbeddedLog(folder / "log.db", sync="normal")
        changelog = TopicSpec(histories_changelog(settings.app_id), PARTITIONS, compacted=True)
        log.create_topics((*topic_specs(PARTITIONS), changelog))
        first = n_events * 9 // 10
        append_events(log, 0, first, n_users)
        asyncio.run(run_worker(log, settings, checkpoint=True))
        append_events(log, first, n_events - first, n_users)
        asyncio.run(run_worker(log, settings))
        maintain(log)
        size = sum(each.size for each in open_checkpoints(log, settings).all())
        found = {"with": measure_starts(log, settings, folder / "a")}
        without = msgspec.structs.replace(settings, checkpoints=f"file://{name}/none")
        (folder / "none").mkdir()
        # The announcements stay, but their files are gone: everything starts as before checkpoints.
        found["without"] = measure_starts(log, without, folder / "b")
        found["sizes"] = {"checkpoints": size, "log": (folder / "log.db").stat().st_size}
        log.close()
        return found


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--save", action="store_true", help="write the result file")
    options = parser.parse_args()
    found = {}
    for n_events in options.events:
        found[n_events] = measure(n_events, options.users)
        print(n_events, json.dumps(found[n_events]), file=sys.stderr)
    print(json.dumps(found, indent=2))
    if options.save:
        rows = [
            Row(round(seconds, 2), "s", f"start of {role}, {n:,} events, {how} checkpoints")
            for role in ("worker", "trainer", "bridge", "time travel")
            for how in ("with", "without")
            for n in options.events
            for seconds in [found[n][how][role]]
        ]
        title = f"Starts by the log's length: {options.users:,} users × {ITEMS_EACH} items"
        save("log_length", title, rows)


if __name__ == "__main__":
    main()
