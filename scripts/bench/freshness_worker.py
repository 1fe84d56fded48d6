#!/usr/bin/env python3
"""Scenario `freshness_worker`: event acknowledged by the log → its user's new list on the topic.

A worker in a process of its own, a model the size of one on ml-latest-small (9,000 items, 64
factors), histories of about 150 items a user, and events at a steady rate. Beside it, in the same
run: how long a bare record takes from its acknowledgement to a tail of the log.

    scripts/bench/freshness_worker.py [--rate 200] [--seconds 20] [--sync full] [--json]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter, sleep

import msgspec
import numpy as np
from ingest import ENVELOPE, N_ITEMS, PARTITIONS, fill, serve_model, workload

from recstream.core.events import encode_event
from recstream.core.records import PipelineRecord, decode_recommendations
from recstream.log import INTERACTIONS, PIPELINE, RECOMMENDATIONS, NewRecord, TopicPartition
from recstream.log.embedded import EmbeddedLog
from recstream.settings import Settings
from recstream.worker import process as worker

N_USERS = 671
HISTORY = 150
WAIT_S = 120.0


def run_worker(path: Path, sync: str) -> None:
    """Run the worker here; for the child process."""
    broker = f"embedded://{path}/log.db?sync={sync}"
    worker.run(Settings(data_dir=str(path), partitions=PARTITIONS, broker=broker))


class Watch:
    """Notes when each event was acknowledged and when its list was seen."""

    def __init__(self, log: EmbeddedLog) -> None:
        self.acknowledged: dict[str, float] = {}
        self.listed: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self._stopping = threading.Event()
        topics = (RECOMMENDATIONS, INTERACTIONS)
        tps = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
        self._tail = log.tail({tp: log.high_watermark(*tp) for tp in tps})
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for record in self._tail.poll(0.5):
                moment = perf_counter()
                if record.topic == INTERACTIONS:
                    self.seen[json.loads(record.value or b"{}")["id"]] = moment
                    continue
                body = decode_recommendations(record.value or b"")
                self.listed.setdefault(body.lineage.event_id, moment)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()
        self._tail.close()


def percentiles(values: list[float]) -> dict[str, float]:
    """Return milliseconds."""
    p50, p95, p99 = (1000.0 * np.percentile(np.array(values), [50, 95, 99])).tolist()
    return {"p50_ms": round(p50, 2), "p95_ms": round(p95, 2), "p99_ms": round(p99, 2)}


def measure(path: Path, options: argparse.Namespace) -> dict[str, object]:
    """Fill a log, start the worker, drive events and collect what came of them."""
    history = workload(N_USERS * HISTORY, N_USERS)
    fill(path, history, is_enveloped=True).close()
    log = EmbeddedLog(path / "log.db", sync=options.sync)
    serve_model(log, path)
    child = subprocess.Popen(  # noqa: S603 - this file
        [sys.executable, __file__, "--worker", path, "--sync", options.sync]
    )
    try:
        wait_until_idle(log)
        watch = Watch(log)
        n_events = int(options.rate * options.seconds)
        fresh = workload(n_events, N_USERS, seed=1)
        begun = perf_counter()
        for number, event in enumerate(fresh):
            if (left := begun + number / options.rate - perf_counter()) > 0:
                sleep(left)
            each = msgspec.structs.replace(event, id=f"fresh-{number}", ts=history[-1].ts)
            log.append([NewRecord(INTERACTIONS, each.user.encode(), encode_event(each))])
            watch.acknowledged[each.id] = perf_counter()
        sleep(2.0)
        watch.stop()
    finally:
        child.terminate()
        child.wait()
    log.close()
    at = watch.acknowledged
    lists = [watch.listed[each] - at[each] for each in watch.listed if each in at]
    bare = [max(0.0, watch.seen[each] - at[each]) for each in watch.seen if each in at]
    return {
        "events": n_events,
        "lists": len(lists),
        "items": N_ITEMS,
        "envelope": ENVELOPE,
        "list": percentiles(lists),
        "bare_tail": percentiles(bare),
    }


def wait_until_idle(log: EmbeddedLog) -> None:
    """Wait until the worker has folded all histories and made all lists."""
    end = perf_counter() + WAIT_S
    quiet_since, n_seen = perf_counter(), -1
    while perf_counter() < end:
        sleep(0.2)
        n_lists = sum(log.high_watermark(RECOMMENDATIONS, p) for p in range(PARTITIONS))
        if n_lists != n_seen:
            n_seen, quiet_since = n_lists, perf_counter()
        told = log.high_watermark(PIPELINE, 0)
        if told and n_lists and perf_counter() - quiet_since > 3.0:
            last = log.read(PIPELINE, 0, told - 1)[-1]
            status = msgspec.json.decode(last.value or b"", type=PipelineRecord)
            if not any(getattr(status, "lag", {}).values()):
                return
    message = f"the worker was not idle within {WAIT_S:g} s"
    raise TimeoutError(message)


def main() -> None:
    """Print the latencies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--sync", choices=("full", "normal"), default="full")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_worker(options.worker, options.sync)
        return
    with tempfile.TemporaryDirectory(prefix="recstream-freshness-") as folder:
        found = measure(Path(folder), options)
    if options.json:
        print(json.dumps({"scenario": "freshness_worker", "options": vars(options), **found}))
        return
    print(f"{found['events']} events at {options.rate:g}/s, sync={options.sync}")
    print(f"acknowledged → list on the topic  {found['list']}  ({found['lists']} lists)")
    print(f"acknowledged → bare tail          {found['bare_tail']}")


if __name__ == "__main__":
    main()
