#!/usr/bin/env python3
"""Chaos: roles are killed, stopped and cut off in random rounds; then the whole log is verified.

A world is a fresh log with two workers, a trainer and a client that appends events. In each round
one fault happens while events come in:

* ``kill``: kill -9 of a worker or the trainer; it is started again.
* ``stop``: SIGSTOP of a worker for 1 to 20 s, then SIGCONT.
* ``cut`` (Kafka): all connections of one worker are cut for 1 to 60 s by a relay; the others keep
  theirs.
* ``fill_disk``: no byte is free on the disk of log, tables and models for 1 to 15 s (on Kafka: of
  tables and models). Needs the right to mount a small file system in memory; left out without it.
* ``kill_broker`` (Kafka): kill -9 of the broker; it is started again.
* ``restart_broker`` (Kafka): the broker stops and starts again: coordinators of groups and
  transactions move, and clients are told so.

After each world: the workers catch up, every acknowledged event must be in the log exactly once,
nothing may be in the dead letters, and ``recstream replay --verify`` must derive every list and
history byte for byte. Counts are printed and written as JSON.

With ``--simulated`` all of this happens in one process, by ``tests/crash/simulation``: the same
code of the worker, real logs and tables, but no processes and no time that passes. A round then
takes some milliseconds, and the same seed repeats it.

Examples::

    python scripts/bench/chaos.py --rounds 20 --log embedded
    python scripts/bench/chaos.py --simulated --rounds 10000 --log embedded --save
    python scripts/bench/chaos.py --simulated --pruned --rounds 2000 --log embedded
    python scripts/bench/chaos.py --simulated --rounds 300 --log kafka --save
    python scripts/bench/chaos.py --rounds 200 --per-world 20 --log both --output chaos.json --save
"""

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from chaos_servers import Broker, unmount
from chaos_world import CATCH_UP_S, PREFIX, World, wait_until
from results import ROOT, Row, save

MOST_PAUSE_S = 2.0
DERIVED = ("published", "lists", "underivable", "histories", "different")


def remove_leftovers(parent: Path) -> None:
    """Stop brokers, unmount disks and delete folders of earlier runs that were killed."""
    for folder in parent.glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not pid.isdecimal() or Path(f"/proc/{pid}").exists():
            continue
        with contextlib.suppress(OSError, ValueError):
            broker = int((folder / "kafka" / "pid").read_text())
            if b"kafka" in Path(f"/proc/{broker}/cmdline").read_bytes():
                os.kill(broker, signal.SIGKILL)
        if (folder / "disk").is_mount():
            unmount(folder / "disk")
        shutil.rmtree(folder, ignore_errors=True)


def run_world(
    kind: str, rounds: int, seed: int, only: list[str], keep: Path | None
) -> dict[str, Any]:
    """Run rounds of faults in a fresh world; return the counts.

    Parameters
    ----------
    only : list of str
        The faults to choose from; empty: all that the log has.
    keep : Path, optional
        Where to copy the files of a world in which something is wrong.
    """
    rng = random.Random(seed)
    faults = ["kill", "kill", "stop"]
    if kind == "kafka":
        faults += ["cut", "cut", "kill_broker", "restart_broker"]
    counts: Counter[str] = Counter()
    longest_s = 0.0
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as name:
        world = World(kind, Path(name), seed)
        try:
            world.start()
            if world.disk.is_mounted:
                faults.append("fill_disk")
            faults = [fault for fault in faults if not only or fault in only]
            for _ in range(rounds):
                time.sleep(rng.random() * MOST_PAUSE_S)
                fault = rng.choice(faults)
                getattr(world, fault)(rng)
                counts[fault] += 1
                before = world.applied()

                def goes_on(before: int = before) -> bool:
                    world.revive()
                    return world.applied() > before

                try:
                    took_s = wait_until(goes_on, CATCH_UP_S, f"events are applied after {fault}")
                except RuntimeError as error:
                    raise RuntimeError(f"{error}\n{tail(world.folder / 'roles.log')}") from error
                longest_s = max(longest_s, took_s)
            world.settle()
            found = world.check()
            if found["error"] or found["lost"] or found["twice"]:
                print(tail(world.folder / "roles.log"), file=sys.stderr)
                if keep is not None:
                    shutil.copytree(world.folder, keep / f"{kind}-{seed}")
        finally:
            world.close()
    return {
        "log": kind,
        "seed": seed,
        "rounds": rounds,
        "faults": dict(counts),
        "longest_s": round(longest_s, 1),
        **found,
    }


def tail(path: Path, lines: int = 30) -> str:
    """Return the last lines of a file."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def main() -> int:
    """Run the rounds that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="for each log (default 20)")
    parser.add_argument("--per-world", type=int, default=10, help="rounds before a verification")
    parser.add_argument("--log", choices=["embedded", "kafka", "both"], default="both")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", nargs="*", default=[], help="only these (default all)")
    parser.add_argument("--keep", type=Path, help="copy worlds in which something is wrong here")
    parser.add_argument("--output", type=Path, help="write the counts here as JSON")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/chaos.json")
    parser.add_argument("--simulated", action="store_true", help="in one process")
    parser.add_argument("--pruned", action="store_true", help="simulate checkpoints and retention")
    options = parser.parse_args()
    if options.simulated:
        return simulated(options)
    remove_leftovers(Path(tempfile.gettempdir()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    worlds: list[dict[str, Any]] = []
    for kind in ("embedded", "kafka") if options.log == "both" else (options.log,):
        left, seed = options.rounds, options.seed
        while left > 0:
            worlds.append(
                run_world(kind, min(left, options.per_world), seed, options.faults, options.keep)
            )
            print(json.dumps(worlds[-1]), flush=True)
            left -= options.per_world
            seed += 1
            if options.output is not None:
                options.output.write_text(json.dumps(summary(worlds), indent=2) + "\n")
    total = summary(worlds)
    print(json.dumps(total["total"], indent=2))
    if options.save:
        what = "over both logs" if options.log == "both" else f"on the {options.log} log"
        rows = [
            Row(total["total"][key], unit, f"{text} {what}")
            for key, unit, text in (
                (
                    "rounds",
                    "rounds",
                    (
                        "random faults (kill -9, SIGSTOP, full disk, cut connections, "
                        "broker killed or restarted)"
                    ),
                ),
                ("events", "events", "acknowledged"),
                ("lost", "events", "acknowledged and lost"),
                ("twice", "events", "in the log twice"),
                ("different", "lists or histories", "derived again with other bytes"),
            )
        ]
        print(save("chaos", "Chaos", rows))
    bad = total["total"]
    return int(any(bad[key] for key in ("lost", "twice", "dead_letters", "different")))


def simulated(options: argparse.Namespace) -> int:
    """Run simulated rounds; return 0. A fault ends the script with the command that repeats it."""
    sys.path.insert(0, str(ROOT))
    from tests.crash.simulation.kafka import KafkaFaults, KafkaWorld  # noqa: PLC0415 - only here
    from tests.crash.simulation.pruned import PrunedWorld  # noqa: PLC0415
    from tests.crash.simulation.world import World as SimulatedWorld  # noqa: PLC0415
    from tests.crash.simulation.world import simulate  # noqa: PLC0415

    def kafka_world(folder: Path, seed: int, faults: Any) -> Any:
        folder.mkdir()
        return KafkaWorld(folder, seed, faults, Broker(folder / "kafka", is_relayed=False))

    logging.disable(logging.CRITICAL)
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    started_s = time.monotonic()
    embedded = {"new_world": PrunedWorld if options.pruned else SimulatedWorld}
    on_kafka = {"faults": KafkaFaults(), "new_world": kafka_world, "per_world": 50}
    with tempfile.TemporaryDirectory(
        prefix=f"{PREFIX}{os.getpid()}-", dir=memory if memory.is_dir() else None
    ) as name:
        counts = simulate(
            Path(name),
            options.seed,
            options.rounds,
            progress=lambda n: print(n, end="\r", flush=True),
            **(on_kafka if options.log == "kafka" else embedded),
        )
    print(json.dumps(counts, indent=2))
    if options.save:
        per_s = counts["rounds"] / (time.monotonic() - started_s)
        faults = ", ".join(f"{name} {n:,}" for name, n in sorted(counts["faults"].items()))
        rows = [
            Row(counts["rounds"], "rounds", f"in one process; faults: {faults}"),
            Row(per_s, "rounds/s", "verification included"),
            Row(counts["events"], "events", "acknowledged, repeated ones included"),
            Row(counts["lists"], "lists", "derived again with the same bytes"),
            Row(counts["letters"], "dead letters", "each written once"),
            Row(0, "events, lists, rows or dead letters", "lost, twice or different"),
        ]
        kafka = options.log == "kafka"
        title = f"Chaos, simulated ({'Kafka' if kafka else 'embedded log'})"
        print(save(f"chaos-simulated{'-kafka' * kafka}", title, rows))
    return 0


def summary(worlds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts of all worlds, and their sums."""
    keys = ("rounds", "events", "unanswered", "lost", "twice", "dead_letters")
    sums = {key: sum(world[key] for world in worlds) for key in (*keys, *DERIVED)}
    sums["longest_s"] = max(world["longest_s"] for world in worlds)
    return {"total": sums, "worlds": worlds}


if __name__ == "__main__":
    sys.exit(main())
