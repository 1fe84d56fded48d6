#!/usr/bin/env python3
"""Scenario `checkpoint`: write and read a checkpoint, and what a worker's lists wait meanwhile.

Megabytes are those of the table's rows. Beside the checkpoint, in the same run: the same columns read and
written by Parquet alone. Freshness is the time from an event's append to its list's append, of a worker in
a process of its own on one partition's table of the same size, in turns without and with checkpoints. ::

    scripts/bench/checkpoint.py [--users 40000] [--rounds 3] [--seconds 15] [--save]
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec
import numpy as np
import pyarrow.parquet as pq
import rocksdict
from freshness_worker import run_worker
from ingest import PARTITIONS, serve_model
from log_length import append_events, has_folded
from results import Row, save

from recstream.checkpoints import open_checkpoints, read_rows
from recstream.checkpoints.columns import write_rows
from recstream.control import submit
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.core.records import CheckpointRequested, Recommendations
from recstream.log import (
    INTERACTIONS,
    RECOMMENDATIONS,
    NewRecord,
    TopicPartition,
    TopicSpec,
    histories_changelog,
    topic_specs,
)
from recstream.log.embedded import EmbeddedLog
from recstream.settings import Settings

RATE = 100.0
WAIT_S = 900.0


def throughput(table: Path, rounds: int) -> dict[str, float]:
    """Return MB/s of writing and reading, by checkpoints and by Parquet alone; medians."""
    options = rocksdict.Options(raw_mode=True)
    database = rocksdict.Rdict(str(table), options, access_type=rocksdict.AccessType.read_only())
    rows = [(k, v) for k, v in database.items() if not k.startswith((b"\0", b"__faust"))]
    database.close()
    megabytes = sum(len(key) + len(value) for key, value in rows) / 1e6
    seconds: dict[str, list[float]] = {}

    def timed(name: str, function):
        begun = perf_counter()
        result = function()
        seconds.setdefault(name, []).append(perf_counter() - begun)
        return result

    counts = None
    for _ in range(rounds):
        content, counts = timed("write", lambda: write_rows(rows))
        timed("read", lambda content=content: sum(len(its) for _, its in read_rows(content)))
        copied = timed("plain read", lambda content=content: pq.read_table(io.BytesIO(content)))
        timed(
            "plain write",
            lambda copied=copied: pq.write_table(copied, io.BytesIO(), compression="zstd"),
        )
    found = {f"{name} MB/s": megabytes / median(each) for name, each in seconds.items()}
    return found | {"rows MB": megabytes, "file MB": len(content) / 1e6, "entries": counts.entries}


class Freshness:
    """Appends events at a rate, and notes when each one's list is appended."""

    def __init__(self, log: EmbeddedLog, n_users: int) -> None:
        self._log = log
        self._n_users = n_users
        self._n_sent = 0

    def measure(self, seconds: float) -> list[float]:
        """Return milliseconds from append to list."""
        starts = {
            TopicPartition(RECOMMENDATIONS, p): self._log.high_watermark(RECOMMENDATIONS, p)
            for p in range(PARTITIONS)
        }
        sent: dict[str, float] = {}
        listed: dict[str, float] = {}
        stopping = threading.Event()
        tail = self._log.tail(starts)

        def follow() -> None:
            while not stopping.is_set():
                for record in tail.poll(0.2):
                    body = msgspec.json.decode(record.value or b"", type=Recommendations)
                    listed.setdefault(body.lineage.event_id, perf_counter())

        thread = threading.Thread(target=follow)
        thread.start()
        rng = np.random.Generator(np.random.PCG64(self._n_sent))
        end = perf_counter() + seconds
        while (now := perf_counter()) < end:
            self._n_sent += 1
            each = Event(
                id=f"f{self._n_sent}", type="purchase", user=f"u{rng.integers(self._n_users)}",
                item=f"p{rng.integers(9_000)}", ts=from_timestamp_ms(1_795_000_000_000),
            )  # fmt: skip
            self._log.append([NewRecord(INTERACTIONS, each.user.encode(), encode_event(each))])
            sent[each.id] = perf_counter()
            time.sleep(max(0.0, now + 1 / RATE - perf_counter()))
        time.sleep(2.0)
        stopping.set()
        thread.join()
        tail.close()
        return [1000 * (listed[name] - at) for name, at in sent.items() if name in listed]


def freshness(folder: Path, n_users: int, rounds: int, seconds: float) -> dict[str, float]:
    """Return medians of the rounds' p99 in milliseconds, without and with checkpoints."""
    settings = Settings(data_dir=str(folder), partitions=PARTITIONS)
    log = EmbeddedLog(folder / "log.db", sync="normal")
    changelog = TopicSpec(histories_changelog(settings.app_id), PARTITIONS, compacted=True)
    log.create_topics((*topic_specs(PARTITIONS), changelog))
    serve_model(log, folder)
    append_events(log, 0, n_users * 12, n_users)
    process = subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, __file__, "--worker", str(folder)]
    )
    try:
        begun = perf_counter()
        while not has_folded(log, settings) or log.high_watermark(RECOMMENDATIONS, 0) < n_users / 8:
            time.sleep(0.2)
            if perf_counter() - begun > WAIT_S:
                message = "the worker did not fold the events"
                raise SystemExit(message)
        _settle(log)
        load = Freshness(log, n_users)
        load.measure(5.0)
        checkpoints = open_checkpoints(log, settings)
        p99: dict[str, list[float]] = {"without": [], "with": []}
        p50: dict[str, list[float]] = {"without": [], "with": []}
        for number in range(rounds):
            for how in ("without", "with"):
                if how == "with":
                    n_before = time.time_ns() // 1_000_000
                    submit(log, CheckpointRequested(id=str(number), requested_ts=n_before))
                values = load.measure(seconds)
                p50[how].append(float(np.percentile(values, 50)))
                p99[how].append(float(np.percentile(values, 99)))
                if how == "with":
                    made = [each for each in checkpoints.all() if each.made_ts >= n_before]
                    print("checkpoints made within the window:", len(made), file=sys.stderr)
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    return {
        f"{name} {how} ms": median(values[how])
        for name, values in (("p50", p50), ("p99", p99))
        for how in values
    }


def _settle(log: EmbeddedLog) -> None:
    """Wait until no list was published for two seconds."""
    before = -1
    while (now := sum(log.high_watermark(RECOMMENDATIONS, p) for p in range(PARTITIONS))) != before:
        before = now
        time.sleep(2.0)


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--users", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--save", action="store_true", help="write the result file")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_worker(options.worker, "normal")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = freshness(folder, options.users, options.rounds, options.seconds)
        table = max(folder.glob("tables/*/*/worker-1/*.db"), key=lambda path: path.name)
        found |= throughput(table, options.rounds)
    print(json.dumps(found, indent=2))
    if options.save:
        rows = [
            Row(round(found["write MB/s"], 1), "MB/s", "table rows into a checkpoint"),
            Row(
                round(found["plain write MB/s"], 1),
                "MB/s",
                "the same columns written by Parquet alone",
            ),
            Row(round(found["read MB/s"], 1), "MB/s", "a checkpoint into table rows"),
            Row(
                round(found["plain read MB/s"], 1), "MB/s", "the same columns read by Parquet alone"
            ),
            Row(round(found["p99 without ms"], 1), "ms", "freshness p99 without a checkpoint"),
            Row(round(found["p99 with ms"], 1), "ms", "freshness p99 while checkpoints are made"),
            Row(round(found["p99 with ms"] / found["p99 without ms"], 2), "", "ratio of the two"),
        ]
        save("checkpoint", f"Checkpoints: {options.users:,} users, {PARTITIONS} partitions", rows)


if __name__ == "__main__":
    main()
