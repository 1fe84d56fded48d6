#!/usr/bin/env python3
"""Scenario `ingest`: events a second through the real worker, effects once, on one core.

Faust agent, RocksDB table, changelog and consumer offsets on the embedded log; a model is served,
so every user touched also gets a list. Beside it, in the same run and on the same core: the log's
own read rate, and a plain Faust agent that writes a table, one event at a time.

    scripts/bench/ingest.py [--events 100000] [--users 2000] [--json] [--rounds 3]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import faust
import msgspec
import numpy as np
from results import Row, save

from recstream.core.als import ALSModel, Objective
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.core.generation import Generation
from recstream.core.records import GenerationAnnounced
from recstream.log import (
    INTERACTIONS,
    MODELS,
    NewRecord,
    TopicPartition,
    partition_for,
    topic_specs,
)
from recstream.log.embedded import EmbeddedLog
from recstream.models import DirectoryStore, artifact_name, pack
from recstream.settings import Settings
from recstream.worker import process as worker_module
from recstream.worker.loop import WorkerLoop
from recstream.worker.rocksdb_rows import ROCKSDB_OPTIONS

N_ITEMS = 9_000
N_FACTORS = 64
ENVELOPE = 500
PARTITIONS = 4
SCENARIOS = ("log_read", "plain_faust", "single", "envelopes")
PLAIN_SHARE = 0.1
"""The plain agent gets fewer events: it is slow."""


def workload(n_events: int, n_users: int, seed: int = 0):
    """Return events: users by a heavy tail, items by Zipf, in the order of time."""
    rng = np.random.Generator(np.random.PCG64(seed))
    activity = rng.lognormal(0.0, 1.0, n_users)
    users = rng.choice(n_users, n_events, p=activity / activity.sum())
    items = np.minimum(rng.zipf(1.2, n_events), N_ITEMS) - 1
    kinds = np.array(["view", "click", "cart", "purchase"])[
        rng.choice(4, n_events, p=[0.7, 0.2, 0.07, 0.03])
    ]
    return [
        Event(
            id=f"01J{number:010d}", type=str(kind), user=f"u{user}", item=f"p{item}",
            ts=from_timestamp_ms(1_790_000_000_000 + 50 * number),
        )
        for number, (kind, user, item) in enumerate(zip(kinds, users, items, strict=True))
    ]  # fmt: skip


def fill(path: Path, events, *, is_enveloped: bool):
    """Make a log that holds the events; return it."""
    log = EmbeddedLog(path / "log.db", sync="normal")
    log.create_topics(topic_specs(PARTITIONS))
    if is_enveloped:
        parts: dict[int, list[bytes]] = {}
        for event in events:
            partition = partition_for(event.user.encode(), PARTITIONS)
            parts.setdefault(partition, []).append(encode_event(event))
        for partition, part in sorted(parts.items()):
            log.append(
                [
                    NewRecord(
                        INTERACTIONS, None, b"[" + b",".join(part[at : at + ENVELOPE]) + b"]", partition
                    )
                    for at in range(0, len(part), ENVELOPE)
                ]
            )  # fmt: skip
    else:
        records = [NewRecord(INTERACTIONS, e.user.encode(), encode_event(e)) for e in events]
        for at in range(0, len(records), 1000):
            log.append(records[at : at + 1000])
    return log


def serve_model(log, path: Path) -> None:
    """Announce a generation the size of one on ml-latest-small."""
    rng = np.random.Generator(np.random.PCG64(1))
    factors = (0.1 * rng.standard_normal((N_ITEMS, N_FACTORS))).astype(np.float32)
    model = ALSModel(
        factors, rng.integers(1, 99, N_ITEMS), objective=Objective(), mean_user_count=50.0
    )
    generation = Generation(
        number=1, parent=None, offsets={}, hyperparameters={}, seed=0,
        items=[f"p{n}" for n in range(N_ITEMS)], bias=np.zeros(N_ITEMS, np.float32), model=model,
    )  # fmt: skip
    digest, content = pack(generation)
    name = artifact_name(1, digest)
    DirectoryStore(path / "models").put(name, content)
    announced = GenerationAnnounced(
        generation=1, parent=None, artifact=name, digest=digest, offsets={}, hyperparameters={},
        seed=0, n_users=0, n_items=N_ITEMS, n_interactions=0, loss=None, train_seconds=0.0,
        created_ts=0,
    )  # fmt: skip
    log.append([NewRecord(MODELS, b"generation", msgspec.json.encode(announced))])


def log_read(path: Path, events) -> dict[str, float]:
    """Read everything, records as they come: what no consumer of the log can beat."""
    log = fill(path, events, is_enveloped=False)
    begun = now()
    n_read = 0
    for partition in range(PARTITIONS):
        at = 0
        while records := log.read(INTERACTIONS, partition, at, 1000):
            n_read += len(records)
            at = records[-1].offset + 1
    found = rates(n_read, begun, now())
    log.close()
    return found


def now() -> tuple[float, float]:
    """Return the wall's clock and this process's own, all threads."""
    return perf_counter(), process_time()


def rates(
    n_events: int, begun: tuple[float, float], ended: tuple[float, float]
) -> dict[str, float]:
    """Return events a second by both clocks: a shared machine slows the first one only."""
    wall, cpu = (end - begin for begin, end in zip(begun, ended, strict=True))
    return {
        "events": n_events,
        "seconds": wall,
        "events_per_s": n_events / wall,
        "events_per_cpu_s": n_events / cpu,
    }


def plain_faust(path: Path, events) -> dict[str, float]:
    """Count events per user in a Faust table over RocksDB, one event at a time."""
    events = events[: int(PLAIN_SHARE * len(events))]
    fill(path, events, is_enveloped=False).close()

    async def main() -> dict[str, float]:
        app = faust.App(
            "plain", broker=f"embedded://{path}/log.db?sync=normal", store="rocksdb://",
            datadir=path / "faust", topic_partitions=PARTITIONS, topic_disable_leader=True,
            web_enabled=False, autodiscover=False, stream_wait_empty=False,
            logging_config={"version": 1, "disable_existing_loggers": False},
        )  # fmt: skip
        table = app.Table(
            "counts", default=int, partitions=PARTITIONS, options=dict(ROCKSDB_OPTIONS)
        )
        topic = app.topic(INTERACTIONS, key_type=bytes, value_type=bytes, value_serializer="raw")
        done = asyncio.Event()
        times: list[tuple[float, float]] = []

        @app.agent(topic)
        async def count(stream):
            n_done = 0
            async for value in stream:
                if not times:
                    times.append(now())
                user = json.loads(value)["user"]
                table[user] += 1
                n_done += 1
                if n_done == len(events):
                    times.append(now())
                    done.set()

        await app.start()
        await done.wait()
        await app.stop()
        return rates(len(events), *times)

    return asyncio.run(main())


def worker(path: Path, events, *, is_enveloped: bool) -> dict[str, float]:
    """Run the real worker over a full log until everything is folded, then until all lists are made."""
    log = fill(path, events, is_enveloped=is_enveloped)
    serve_model(log, path)
    ends = {
        TopicPartition(INTERACTIONS, p): log.high_watermark(INTERACTIONS, p)
        for p in range(PARTITIONS)
    }
    times: list[tuple[float, float]] = []
    runners: list[WorkerLoop] = []
    ingest = WorkerLoop.ingest

    async def timed(self, records):
        if not times:
            runners.append(self)
            times.append(now())
        await ingest(self, records)
        times[1:] = [now()]

    WorkerLoop.ingest = timed

    async def main() -> float:
        stop = asyncio.Event()
        settings = Settings(
            data_dir=str(path), partitions=PARTITIONS,
            broker=f"embedded://{path}/log.db?sync=normal",
        )  # fmt: skip
        serving = asyncio.create_task(worker_module.serve(settings, stop=stop))
        while any(
            log.committed(settings.app_id).get(tp, 0) < end for tp, end in ends.items()
        ) or any(each.engine.n_pending for each in runners):
            await asyncio.sleep(0.1)
            if serving.done():
                break
        listed = perf_counter()
        stop.set()
        await serving
        return listed

    listed = asyncio.run(main())
    status = runners[0].engine.status
    log.close()
    return {
        **rates(status.events, *times),
        "lists": status.published,
        "seconds_until_all_lists": listed - times[0][0],
    }


def run_scenario(name: str, n_events: int, n_users: int) -> dict[str, float]:
    """Run one scenario in this process."""
    events = workload(n_events, n_users)
    with tempfile.TemporaryDirectory(prefix="recstream-ingest-") as folder:
        path = Path(folder)
        if name == "log_read":
            return log_read(path, events)
        if name == "plain_faust":
            return plain_faust(path, events)
        return worker(path, events, is_enveloped=name == "envelopes")


def in_child(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Run one scenario in a process of its own, on one core."""
    done = subprocess.run(  # noqa: S603 - this file
        [
            sys.executable, __file__, "--scenario", name, "--events", str(options.events),
            "--users", str(options.users),
        ],
        check=True, capture_output=True, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {options.core}),
        env={**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print one table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/ingest.json")
    parser.add_argument("--scenario", choices=SCENARIOS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.scenario:
        print(json.dumps(run_scenario(options.scenario, options.events, options.users)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SCENARIOS}
    for _ in range(options.rounds):
        for name in SCENARIOS:
            found[name].append(in_child(name, options))
    results = {
        name: {key: median(each[key] for each in rounds) for key in rounds[0]}
        for name, rounds in found.items()
    }
    read = results["log_read"]["events_per_cpu_s"]
    for each in results.values():
        each["share_of_log_read"] = each["events_per_cpu_s"] / read
    if options.save:
        said = {
            "single": "recstream worker, effects once, one event per record.",
            "envelopes": f"recstream worker, imports with {ENVELOPE} events per record.",
            "plain_faust": "Peer: a plain Faust table, one event at a time.",
            "log_read": "Raw read of the log: the upper limit.",
        }
        rows = [Row(results[name]["events_per_s"], "events/s", said[name]) for name in said]
        save("ingest", "Ingest on one core", rows)
    if options.json:
        print(json.dumps({"scenario": "ingest", "options": vars(options), "results": results}))
        return
    print(
        f"{'scenario':<14}{'events':>9}{'events/s':>12}{'per CPU s':>12}{'of log read':>13}"
        f"{'all lists, s':>14}"
    )
    for name, each in results.items():
        print(
            f"{name:<14}{each['events']:>9,.0f}{each['events_per_s']:>12,.0f}"
            f"{each['events_per_cpu_s']:>12,.0f}"
            f"{each['share_of_log_read']:>13.1%}{each.get('seconds_until_all_lists', 0):>14.2f}"
        )


if __name__ == "__main__":
    main()
