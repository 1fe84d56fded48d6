"""How fast the embedded log appends, reads and wakes, beside SQLite rows and the bare file system.

    python scripts/bench/log.py [--records 200000] [--rounds 5] [--json]

All contenders write the same 95-byte events in batches of 1,000 in the same folder, in turns, so
that a busy machine slows all of them. The bare file is the physical limit: the same bytes written
and flushed to the disk, and read back without looking at them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from results import Row, save

from recstream.log import NewRecord, TopicPartition, TopicSpec, open_log

TOPIC = "recstream.interactions"
PARTITIONS = 4
BATCH = 1_000
EVENT = b'{"id":"01J8ZQ4N3T8V7K5B2M1C9X6W0D","type":"view","user":"u%05d","item":"p%05d","ts":1763805600123}'

TAILS = """
import sys, time
from recstream.log import open_log
from recstream.log import TopicPartition
log = open_log(sys.argv[1])
tail = log.tail({TopicPartition("wake", 0): 0})
print("ready", flush=True)
n = int(sys.argv[2])
seen = []
while len(seen) < n:
    for record in tail.poll(1.0):
        seen.append((time.perf_counter_ns() - int(record.value)) / 1e6)
before = time.process_time()
tail.poll(2.0)
print(*seen, (time.process_time() - before) / 2.0, flush=True)
"""

BYSTANDER = """
import sys, time
from recstream.log import open_log
from recstream.log import TopicPartition
tail = open_log(sys.argv[1]).tail({TopicPartition("quiet", 0): 0})
print("ready", flush=True)
before, end = time.process_time(), time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    tail.poll(0.5)
print((time.process_time() - before) / float(sys.argv[2]), flush=True)
"""


def events(count: int) -> list[tuple[bytes, bytes]]:
    """Return users and events; the same for every contender."""
    return [(b"u%05d" % (n * 7919 % 20_000), EVENT % (n % 20_000, n % 5_000)) for n in range(count)]


def embedded(folder: Path, sync: str, data: list[tuple[bytes, bytes]]) -> tuple[Spent, Spent]:
    """Append and read through the log; return the seconds of each."""
    log = open_log(f"embedded://{folder}/{sync}.db?sync={sync}")
    log.create_topics([TopicSpec(TOPIC, PARTITIONS)])
    records = [NewRecord(TOPIC, key, value) for key, value in data]
    append_s = timed(
        lambda: [log.append(records[at : at + BATCH]) for at in range(0, len(records), BATCH)]
    )

    def read_all() -> None:
        n_read = 0
        for partition in range(PARTITIONS):
            offset = 0
            while found := log.read(TOPIC, partition, offset):
                n_read += len(found)
                offset = found[-1].offset + 1
        require(n_read == len(data), f"read {n_read} records of {len(data)}")

    read_s = timed(read_all)
    log.close()
    return append_s, read_s


def sqlite_rows(folder: Path, sync: str, data: list[tuple[bytes, bytes]]) -> tuple[Spent, Spent]:
    """Do the same with one SQLite row a record and one transaction a batch."""
    connection = sqlite3.connect(folder / f"rows-{sync}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={sync}")
    connection.execute("CREATE TABLE rec (off INTEGER PRIMARY KEY, ts INTEGER, key BLOB, val BLOB)")

    def append_all() -> None:
        for at in range(0, len(data), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO rec VALUES (?, 1763805600123, ?, ?)",
                [(at + n, *pair) for n, pair in enumerate(data[at : at + BATCH])],
            )
            connection.execute("COMMIT")

    def read_all() -> None:
        at = 0
        while rows := connection.execute(
            "SELECT off, ts, key, val FROM rec WHERE off >= ? LIMIT 1000", (at,)
        ).fetchall():
            at = rows[-1][0] + 1
        require(at == len(data), f"read {at} rows of {len(data)}")

    result = timed(append_all), timed(read_all)
    connection.close()
    return result


def bare_file(folder: Path, sync: str, data: list[tuple[bytes, bytes]]) -> tuple[Spent, Spent]:
    """Write and flush the same bytes, and read them back without looking at them."""
    chunks = [
        b"".join(key + value for key, value in data[at : at + BATCH])
        for at in range(0, len(data), BATCH)
    ]
    path = folder / f"bare-{sync}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append_all() -> None:
        for chunk in chunks:
            os.write(descriptor, chunk)
            if sync == "full":
                os.fdatasync(descriptor)

    append_s = timed(append_all)
    os.close(descriptor)
    return append_s, timed(path.read_bytes)


def wake_ups(folder: Path, sync: str, count: int = 400) -> tuple[list[float], float]:
    """Return milliseconds from before an append to another process that has the record, and the idle CPU share."""
    url = f"embedded://{folder}/wake-{sync}.db?sync={sync}"
    log = open_log(url)
    log.create_topics([TopicSpec("wake", 1)])
    tails = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", TAILS, url, str(count)], stdout=subprocess.PIPE, text=True
    )
    require(tails.stdout is not None and tails.stdout.readline() == "ready\n", "the tail failed")
    for _ in range(count):
        log.append([NewRecord("wake", None, b"%d" % time.perf_counter_ns())])
        time.sleep(0.005)
    *latencies, idle = map(float, tails.communicate()[0].split())
    log.close()
    return sorted(latencies), idle


def bystander(folder: Path, sync: str, rate: int = 1_000, seconds: float = 5.0) -> float:
    """Return the CPU share of a process that reads one topic while another one is appended to."""
    url = f"embedded://{folder}/bystander-{sync}.db?sync={sync}"
    log = open_log(url)
    log.create_topics([TopicSpec("busy", 1), TopicSpec("quiet", 1)])
    reader = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", BYSTANDER, url, str(seconds)], stdout=subprocess.PIPE, text=True
    )
    require(reader.stdout is not None and reader.stdout.readline() == "ready\n", "the tail failed")
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        log.append([NewRecord("busy", None, b"x" * 95)])
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
    share = float(reader.communicate()[0])
    log.close()
    return share


def append_latency(folder: Path, sync: str, count: int = 400) -> list[float]:
    """Return milliseconds of appends of one record, sorted."""
    log = open_log(f"embedded://{folder}/single-{sync}.db?sync={sync}")
    log.create_topics([TopicSpec(TOPIC, PARTITIONS)])
    record = [NewRecord(TOPIC, b"u1", EVENT % (1, 1))]
    latencies = sorted(timed(lambda: log.append(record)).wall_s * 1e3 for _ in range(count))
    require(sum(log.high_watermark(TOPIC, p) for p in range(PARTITIONS)) == count, "records lost")
    log.read(TOPIC, 0, 0)
    log.tail({TopicPartition(TOPIC, 0): 0}).close()
    log.close()
    return latencies


class Spent(NamedTuple):
    """What work took: by the clock, and of this process's CPU."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Spent:
    """Return the seconds that work takes."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - began, time.process_time() - cpu)


def require(claim: object, otherwise: str) -> None:
    """End with a message if a check fails."""
    if not claim:
        raise SystemExit(otherwise)


def percentile(ordered: list[float], share: float) -> float:
    """Return the value below which a share of ordered values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(records: int, rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    """Run all contenders in turns; return medians by contender."""
    data = events(records)
    contenders = {
        f"{name}, sync={sync}": (run, sync)
        for name, run in (("log", embedded), ("rows", sqlite_rows), ("file", bare_file))
        for sync in ("full", "normal")
    }
    found: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        for name, (run, sync) in contenders.items():
            place = Path(tempfile.mkdtemp(dir=folder))
            seconds = run(place, sync, data)
            shutil.rmtree(place)
            if round_ > 0:  # the first one warms up
                found[name].append(seconds)
    results: dict[str, dict[str, float]] = {}
    for name, each in found.items():
        results[name] = {
            f"{what}_per_{second}": records / statistics.median(spent[at] for spent in column)
            for what, column in zip(("appends", "reads"), zip(*each, strict=True), strict=True)
            for at, second in enumerate(("s", "cpu_s"))
        }
    for sync in ("full", "normal"):
        single = append_latency(folder, sync)
        latencies, idle = wake_ups(folder, sync)
        results[f"log, sync={sync}"] |= {
            "append_1_p50_ms": percentile(single, 0.5),
            "append_1_p99_ms": percentile(single, 0.99),
            "append_to_other_process_p50_ms": percentile(latencies, 0.5),
            "append_to_other_process_p99_ms": percentile(latencies, 0.99),
            "idle_tail_cpu_percent": idle * 100,
            "tail_of_another_topic_at_1000_appends_per_s_cpu_percent": bystander(folder, sync)
            * 100,
        }
    return results


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/log.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        results = measure(options.records, options.rounds, Path(folder))
    machine = {
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "records": options.records,
        "rounds": options.rounds,
    }
    if options.save:
        said = {
            "log, sync=full": f"the embedded log, batches of {BATCH:,}, `sync=full`",
            "log, sync=normal": "the same, `sync=normal`",
            "rows, sync=full": "Peer: rows in SQLite, `synchronous=FULL`",
            "file, sync=full": "Upper limit: a bare file, flushed after each batch",
        }
        rows = [
            Row(results[name][f"{what}_per_s"], "records/s", f"{text}: {what}.")
            for name, text in said.items()
            for what in ("appends", "reads")
        ]
        rows += [
            Row(results["log, sync=full"][f"append_{name}_{part}_ms"], "ms", f"{text}, {part}.")
            for name, text in (
                ("1", "Append of one record"),
                ("to_other_process", "Append until another process has the record"),
            )
            for part in ("p50", "p99")
        ]
        save("log", "Embedded log", rows)
    if options.json:
        print(json.dumps({"scenario": "log", **machine, "results": results}, indent=2))
        return
    print(" ".join(f"{name}={value}" for name, value in machine.items()))
    names = ("appends_per_s", "appends_per_cpu_s", "reads_per_s", "reads_per_cpu_s")
    print(" " * 22 + "".join(f"{name:>20}" for name in names))
    for name, result in results.items():
        print(f"{name:22}" + "".join(f"{result[each]:20,.0f}" for each in names))
    for name, result in results.items():
        for measured, value in list(result.items())[4:]:
            print(f"{name:22}{measured:58}{value:10.3f}")


if __name__ == "__main__":
    main()
