"""How fast a log is replayed: events through the folds, lists made again, beside reading it raw.

    python scripts/bench/replay.py [--events 200000] [--json]

Makes a log of events (one a record), lets the real engine fold them and publish lists by a real
generation, and then measures: reading the interactions raw; reading and decoding them; a replay; a replay that
compares every list; and a question about the past, the first time and afterwards.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from results import Row, save

sys.path.insert(0, str(Path(__file__).parents[2]))

from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.log import INTERACTIONS, NewRecord, decode, read_batches
from recstream.replay import ReplayPlan, replay
from recstream.settings import Settings
from recstream.time_travel import Moment, Snapshots, TimeTravel
from tests.replay.world import START_MS, World

N_USERS, N_ITEMS = 4_000, 2_000


def build(folder: Path, n_events: int) -> World:
    """Return a world in which the events happened, with lists published along the way."""
    settings = Settings(partitions=2, list_size=20, n_factors=32, iterations=4, refresh_users=100)
    world = World(folder, settings)
    rng = np.random.default_rng(0)
    users = rng.zipf(1.3, n_events * 2) % N_USERS
    items = (rng.zipf(1.2, n_events * 2) + users * 7) % N_ITEMS
    new = []
    for at in range(n_events):
        user = f"u{users[at]}"
        event = Event(
            id=f"e{at}",
            type="view",
            user=user,
            item=f"i{items[at]}",
            ts=from_timestamp_ms(START_MS + at * 1000),
        )
        new.append(NewRecord(INTERACTIONS, user.encode(), encode_event(event)))
    third = n_events // 3
    for part in (new[:third], new[third:]):
        for start in range(0, len(part), 1000):
            world.log.append(part[start : start + 1000])
        world.work(group=200)
        world.train()
        world.work(group=200)
    return world


def timed(what: str, n: int, begun: float, unit: str = "events") -> dict[str, object]:
    """Return a row of the table for what began then and ends now."""
    seconds = perf_counter() - begun
    return {"step": what, unit: n, "seconds": round(seconds, 3), "per second": round(n / seconds)}


def save_rates(rows: list[dict[str, object]]) -> None:
    """Write the result file."""
    said = {
        "replay": "Events through the folds.",
        "replay --verify": "The same, every list made again and compared.",
        "read and decode": "Read and decode.",
        "read raw": "Raw read: the upper limit.",
    }
    rates = {row["step"]: row.get("per second") for row in rows}
    save("replay", "Replay", [Row(rates[step], "events/s", said[step]) for step in said])


def show(machine: str, rows: list[dict[str, object]]) -> None:
    """Print the table."""
    print(machine)
    for row in rows:
        rate = f"{row['per second']:>12,}/s" if "per second" in row else ""
        lists = f"  {row['lists']:,} lists" if "lists" in row else ""
        print(f"{row['step']:<32}{row['seconds']:>9.3f} s{rate}{lists}")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/replay.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        world = build(Path(folder), options.events)
        log, n = world.log, options.events
        partitions = range(world.settings.partitions)
        rows: list[dict[str, object]] = []

        begun = perf_counter()
        for partition in partitions:
            for _ in read_batches(log, INTERACTIONS, partition):
                pass
        rows.append(timed("read raw", n, begun))

        begun = perf_counter()
        for partition in partitions:
            for group in read_batches(log, INTERACTIONS, partition):
                for record in group:
                    decode(record)
        rows.append(timed("read and decode", n, begun))

        ranges = {at: (0, log.high_watermark(INTERACTIONS, at)) for at in partitions}
        begun = perf_counter()
        replay(log, world.store, ReplayPlan(ranges=ranges))
        rows.append(timed("replay", n, begun))

        begun = perf_counter()
        plan = ReplayPlan(ranges=ranges, verify=True, changelog=world.changelog)
        report = replay(log, world.store, plan)
        rows.append(timed("replay --verify", n, begun))
        n_lists = sum(each.lists for each in report.partitions)
        rows[-1]["lists"] = n_lists
        if not report.is_identical:
            sys.exit(f"differences: {report}")

        snapshots = Snapshots(log, Path(folder) / "snapshots")
        travel = TimeTravel(log, world.store, snapshots)
        for what in ("first question about the past", "second", "third"):
            middle = log.high_watermark(INTERACTIONS, snapshots.partition("u5")) // 2
            begun = perf_counter()
            travel.list_at("u5", Moment(offset=middle))
            rows.append({"step": what, "seconds": round(perf_counter() - begun, 4)})
        snapshots.close()
        world.close()
    if options.save:
        save_rates(rows)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}))
        return
    show(machine, rows)


if __name__ == "__main__":
    main()
