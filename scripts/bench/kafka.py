#!/usr/bin/env python3
"""Scenario `ingest-kafka`: events a second through the real worker on Kafka, one and two workers.

Beside it in the same run: plain aiokafka consumption of the same topic, `KafkaLog`'s own reads, and the
same records through the worker on the embedded log. One event a record, then envelopes. ::

    scripts/bench/kafka.py [--events 40000] [--envelopes] [--json]

The workers are processes as an operator runs them. The clock starts when they have settled and the
events are in the log, and ends
when the changelog's newest rows say that all are applied. No model is served: no lists are made.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiokafka

from recstream.core.history import table_rows
from recstream.log import (
    INTERACTIONS,
    EventLog,
    NewRecord,
    TopicPartition,
    histories_changelog,
    open_log,
    partition_for,
    topic_specs,
)
from recstream.log.kafka import KafkaLog

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
PORT = 27_292
PER_ENVELOPE = 200
WARM = 400
"""Records appended first: workers are ready when they have committed them."""
SETTLE_S = 6.0
PATIENCE_S = 170.0


def events(start: int, count: int) -> list[dict[str, str]]:
    """Return made-up events of 5,003 users over 2,003 items."""
    return [
        {
            "id": f"b{n}",
            "type": ("view", "click", "purchase")[n % 3],
            "user": f"u{n * 7919 % 5003}",
            "item": f"p{n * 104_729 % 2003}",
            "ts": f"2026-01-01T{n // 3_600_000 % 24:02}:{n // 60_000 % 60:02}:{n // 1000 % 60:02}.{n % 1000:03}Z",
        }
        for n in range(start, start + count)
    ]


def records(start: int, count: int, *, envelopes: bool) -> list[NewRecord]:
    """Return the records of events, one each or many in one."""
    made = events(start, count)
    if not envelopes:
        return [
            NewRecord(INTERACTIONS, each["user"].encode(), json.dumps(each).encode())
            for each in made
        ]
    parts: dict[int, list[dict[str, str]]] = {}
    for each in made:
        parts.setdefault(partition_for(each["user"].encode(), PARTITIONS), []).append(each)
    return [
        NewRecord(INTERACTIONS, None, json.dumps(part[at : at + PER_ENVELOPE]).encode(), number)
        for number, part in parts.items()
        for at in range(0, len(part), PER_ENVELOPE)
    ]


def fill(log: EventLog, start: int, count: int, *, envelopes: bool) -> None:
    """Append events."""
    batch = records(start, count, envelopes=envelopes)
    for at in range(0, len(batch), 5000):
        log.append(batch[at : at + 5000])


def end(log: EventLog) -> int:
    """Return the number of records of interactions."""
    return sum(log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS))


def work(url: str, folder: Path, n_workers: int, n_events: int, *, envelopes: bool) -> float:
    """Return the events a second of workers that start together and share the partitions."""
    log = open_log(url)
    log.create_topics(topic_specs(PARTITIONS))
    fill(log, 0, WARM, envelopes=False)
    processes = [
        subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "recstream", "worker", "--broker", url),
                *("--data-dir", str(folder / f"{n}"), "--models", f"file://{folder}/models"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for n in range(n_workers)
    ]
    changelog = histories_changelog("recstream-worker")
    try:
        wait(lambda: sum(log.committed("recstream-worker").values()) >= end(log))
        time.sleep(SETTLE_S)
        tail = log.tail(
            {
                TopicPartition(changelog, p): log.high_watermark(changelog, p)
                for p in range(PARTITIONS)
            }
        )
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        fill(log, WARM, n_events, envelopes=envelopes)
        left = {p: log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)}
        begun = time.perf_counter()
        for process in processes:
            process.send_signal(signal.SIGCONT)
        while left:
            for record in tail.poll(1.0, 5000):
                if record.key == table_rows.APPLIED_KEY and record.value is not None:
                    partition = record.partition
                    if table_rows.decode_applied_row(record.value).next_offset >= left.get(
                        partition, 1 << 62
                    ):
                        del left[partition]
            if time.perf_counter() - begun > PATIENCE_S:
                raise SystemExit(f"not applied within {PATIENCE_S} s: {left}")
        tail.close()
        return n_events / (time.perf_counter() - begun)
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(60)
        log.close()


async def plain(n_records: int) -> float:
    """Return the records a second of an aiokafka consumer that does nothing with them."""
    consumer = aiokafka.AIOKafkaConsumer(
        INTERACTIONS,
        bootstrap_servers=f"127.0.0.1:{PORT}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        count, begun = 0, time.perf_counter()
        while count < n_records:
            found = await consumer.getmany(timeout_ms=1000, max_records=1000)
            count += sum(map(len, found.values()))
        return count / (time.perf_counter() - begun)
    finally:
        await consumer.stop()


def own_reads(log: KafkaLog, n_records: int) -> float:
    """Return the records a second of `KafkaLog`'s tail."""
    tail = log.tail({TopicPartition(INTERACTIONS, p): 0 for p in range(PARTITIONS)})
    count, begun = 0, time.perf_counter()
    while count < n_records:
        count += len(tail.poll(1.0, 1000))
    tail.close()
    return count / (time.perf_counter() - begun)


def wait(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, or end."""
    begun = time.perf_counter()
    while not condition():
        if time.perf_counter() - begun > PATIENCE_S:
            raise SystemExit(f"workers were not ready within {PATIENCE_S} s")
        time.sleep(0.05)


def kafka(action: str, folder: Path) -> None:
    """Start or stop a broker of this run."""
    command = [ROOT / "scripts" / "kafka", action, "--port", str(PORT), "--directory", str(folder)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own script


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--envelopes", action="store_true", help="200 events a record")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="recstream-bench-") as name:
        folder = Path(name)
        for n_workers in (1, 2):
            broker = folder / f"kafka-{n_workers}"
            kafka("start", broker)
            try:
                results[f"kafka, {n_workers} worker(s)"] = work(
                    f"kafka://127.0.0.1:{PORT}",
                    folder / f"work-{n_workers}",
                    n_workers,
                    options.events,
                    envelopes=options.envelopes,
                )
                if n_workers == 1:
                    log = KafkaLog(f"kafka://127.0.0.1:{PORT}")
                    n_records = end(log)
                    results["plain aiokafka (records)"] = asyncio.run(plain(n_records))
                    results["KafkaLog tail (records)"] = own_reads(log, n_records)
                    log.close()
            finally:
                kafka("stop", broker)
        results["embedded, 1 worker"] = work(
            f"embedded://{folder}/log.db",
            folder / "embedded",
            1,
            options.events,
            envelopes=options.envelopes,
        )
    if options.json:
        machine = {"cpus": os.cpu_count(), "machine": platform.machine()}
        print(json.dumps({"events": options.events, **machine, "per_second": results}))
        return
    for what, rate in results.items():
        print(f"{what:<26} {rate:>12,.0f}/s")


if __name__ == "__main__":
    main()
