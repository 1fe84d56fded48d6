#!/usr/bin/env python3
"""Chaos: roles are killed, stopped and cut off in random rounds; then the whole log is verified.

A world is a fresh log with two workers, a trainer and a client that appends events. In each round one
fault happens while events come in:

* ``kill``: kill -9 of a worker or the trainer; it is started again.
* ``stop``: SIGSTOP of a worker for 1 to 20 s, then SIGCONT.
* ``cut`` (Kafka): all connections of one worker are cut for 1 to 60 s by a relay; the others keep theirs.
* ``fill_disk``: no byte is free on the disk of log, tables and models for 1 to 15 s (on Kafka: of tables
  and models). Needs the right to mount a small file system in memory; left out without it.
* ``kill_broker`` (Kafka): kill -9 of the broker; it is started again.
* ``restart_broker`` (Kafka): the broker stops and starts again: coordinators of groups and transactions
  move, and clients are told so.

After each world: the workers catch up, every acknowledged event must be in the log exactly once, nothing
may be in the dead letters, and ``recstream replay --verify`` must derive every list and history byte for
byte. Counts are printed and written as JSON.

Examples::

    python scripts/bench/chaos.py --rounds 20 --log embedded
    python scripts/bench/chaos.py --rounds 200 --per-world 20 --log both --output chaos.json --save
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recstream.core.events import Event, decode_events, encode_event, from_timestamp_ms
from recstream.errors import LogError
from recstream.log import (
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    EventLog,
    NewRecord,
    TopicPartition,
    open_log,
    topic_specs,
)
from recstream.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))

from chaos_servers import Broker, SmallDisk, unmount
from results import Row, save

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
N_USERS, N_ITEMS = 40, 60
APPEND_PAUSE_S = 0.02
READY_S = 180.0
CATCH_UP_S = 240.0
MOST_PAUSE_S = 2.0
PREFIX = "recstream-chaos-"
"""Of the folder of a world; the id of its process follows."""
PR_SET_PDEATHSIG = 1
SETTINGS = {
    "partitions": PARTITIONS,
    "list_size": 10,
    "n_factors": 4,
    "iterations": 2,
    "train_min_events": 50,
    "train_every_events": 400,
    "train_every_s": 5.0,
    "delta_every_s": 0.5,
    "keep_generations": 1000,
}


DERIVED = ("published", "lists", "underivable", "histories", "different")


def end_with_parent() -> None:
    """Have the system kill this process when the one that started it has ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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


class Client(threading.Thread):
    """Appends events, and notes the ids of those that were acknowledged.

    An append without an answer is not repeated: its event may be in the log or not.
    """

    def __init__(self, log: EventLog, seed: int) -> None:
        super().__init__(name="client", daemon=True)
        self._log = log
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._seed = seed
        self.acknowledged: list[str] = []
        self.unanswered = 0

    def run(self) -> None:
        """Append events until `stop`."""
        number = 0
        types = ("view", "click", "cart", "purchase", "like", "dislike")
        while not self._stopping.wait(APPEND_PAUSE_S):
            number += 1
            event = Event(
                id=f"e{self._seed}-{number}",
                type=self._random.choice(types),  # type: ignore[arg-type]
                user=f"u{self._random.randrange(N_USERS)}",
                item=f"p{self._random.randrange(N_ITEMS)}",
                ts=from_timestamp_ms(time.time_ns() // 1_000_000),
            )
            try:
                self._log.append(
                    [NewRecord(INTERACTIONS, event.user.encode(), encode_event(event))]
                )
            except LogError:
                self.unanswered += 1
            else:
                self.acknowledged.append(event.id)

    def stop(self) -> None:
        """Stop appending."""
        self._stopping.set()
        self.join(120)


class World:
    """A log, two workers, a trainer and a client, and the faults that happen to them."""

    def __init__(self, kind: str, folder: Path, seed: int) -> None:
        self.folder = folder
        self.disk = SmallDisk(folder / "disk")
        data = str(self.disk.folder)
        self.broker = Broker(folder / "kafka") if kind == "kafka" else None
        url = self.broker.url if self.broker else f"embedded://{data}/log.db?sync=normal"
        self._flags = ["--data-dir", data, "--broker", url]
        self._flags += [f"--set={name}={value}" for name, value in SETTINGS.items()]
        self.settings = Settings(data_dir=data, broker=url, partitions=PARTITIONS)
        self.log = open_log(url)
        self.log.create_topics(topic_specs(PARTITIONS))
        self._output = (folder / "roles.log").open("ab")
        self.roles: dict[str, subprocess.Popen[bytes]] = {}
        self.client = Client(self.log, seed)
        self.died: list[str] = []

    def start(self) -> None:
        """Start all roles and the client; wait until events are applied."""
        for name in ("worker-0", "worker-1", "trainer"):
            self._start(name)
        self.client.start()
        wait_until(lambda: self.applied() > 0, READY_S, "the first event is applied")

    def _start(self, name: str) -> None:
        self.roles[name] = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [*(sys.executable, "-P", "-m", "recstream", name.partition("-")[0]), *self._flags],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            cwd=self.folder,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - it calls one function of the system
        )

    def revive(self) -> None:
        """Start roles again that ended by themselves; each is noted."""
        for name, process in list(self.roles.items()):
            if process.poll() is not None:
                self.died.append(f"{name}: {process.returncode}")
                self._start(name)

    def applied(self) -> int:
        """Return how many offsets of events the workers have committed."""
        with contextlib.suppress(LogError):
            committed = self.log.committed(self.settings.app_id)
            return sum(offset for tp, offset in committed.items() if tp.topic == INTERACTIONS)
        return 0

    def is_caught_up(self) -> bool:
        """Whether the workers have committed all events."""
        with contextlib.suppress(LogError):
            committed = self.log.committed(self.settings.app_id)
            return all(
                committed.get(TopicPartition(INTERACTIONS, at), 0)
                >= self.log.high_watermark(INTERACTIONS, at)
                for at in range(PARTITIONS)
            )
        return False

    # Faults

    def kill(self, rng: random.Random) -> None:
        """Kill -9 a role, and start it again."""
        name = rng.choice(list(self.roles))
        self.roles[name].kill()
        self.roles[name].wait()
        self._start(name)

    def stop(self, rng: random.Random) -> None:
        """Stop a worker for some seconds."""
        process = self.roles[rng.choice(["worker-0", "worker-1"])]
        process.send_signal(signal.SIGSTOP)
        time.sleep(rng.uniform(1.0, 20.0))
        process.send_signal(signal.SIGCONT)

    def cut(self, rng: random.Random) -> None:
        """Cut a worker's connections for some seconds."""
        relay = self._broker().relay
        relay.cut(self.roles[rng.choice(["worker-0", "worker-1"])].pid)
        time.sleep(rng.choice([rng.uniform(1.0, 5.0), rng.uniform(1.0, 60.0)]))
        relay.restore()

    def fill_disk(self, rng: random.Random) -> None:
        """Leave no space on the disk for some seconds."""
        self.disk.fill()
        deadline_s = time.monotonic() + rng.uniform(1.0, 15.0)
        while time.monotonic() < deadline_s:
            self.revive()
            time.sleep(0.5)
        self.disk.free()

    def restart_broker(self, rng: random.Random) -> None:
        """Stop the broker, and start it again."""
        broker = self._broker()
        broker.run("stop")
        time.sleep(rng.uniform(0.0, 5.0))
        broker.run("start")

    def kill_broker(self, rng: random.Random) -> None:
        """Kill -9 the broker, and start it again."""
        broker = self._broker()
        broker.kill()
        time.sleep(rng.uniform(0.0, 5.0))
        broker.run("start")

    def _broker(self) -> Broker:
        if self.broker is None:
            raise RuntimeError("only a Kafka world has a broker")
        return self.broker

    # Checks

    def settle(self) -> None:
        """Stop the client, and let the workers apply everything; stop the roles."""
        self.client.stop()
        deadline_s = time.monotonic() + CATCH_UP_S
        while not self.is_caught_up():
            if time.monotonic() > deadline_s:
                raise RuntimeError("the workers did not catch up")
            self.revive()
            time.sleep(0.2)
        time.sleep(1.0)
        for process in self.roles.values():
            process.send_signal(signal.SIGTERM)
        for process in self.roles.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
            process.wait()

    def check(self) -> dict[str, Any]:
        """Return what was found: lost, twice, dead letters, differences."""
        found: Counter[str] = Counter()
        for at in range(PARTITIONS):
            for record in records(self.log, INTERACTIONS, at):
                found.update(event.id for event in decode_events(record.value or b"[]"))
        dead = sum(1 for at in range(PARTITIONS) for _ in records(self.log, DEAD_LETTERS, at))
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [
                *(sys.executable, "-P", "-m", "recstream", "replay", "--verify", "--json"),
                *self._flags,
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        report = json.loads(done.stdout) if done.stdout else {"partitions": []}
        parts = report["partitions"]
        differences = sum(len(part["differences"]) for part in parts)
        return {
            "events": len(self.client.acknowledged),
            "unanswered": self.client.unanswered,
            "lost": sum(found[name] == 0 for name in self.client.acknowledged),
            "twice": sum(count > 1 for count in found.values()),
            "dead_letters": dead,
            "published": sum(
                1 for at in range(PARTITIONS) for _ in records(self.log, RECOMMENDATIONS, at)
            ),
            "lists": sum(part["lists"] for part in parts),
            "underivable": sum(part["underivable"] for part in parts),
            "histories": sum(max(0, part["histories"]) for part in parts),
            "different": differences if done.returncode == 0 else max(1, differences),
            "died": self.died,
            "error": done.stderr.strip()[-2000:] if done.returncode else "",
        }

    def close(self) -> None:
        """End everything."""
        self.client.stop()
        for process in self.roles.values():
            process.kill()
            process.wait()
        self.log.close()
        self._output.close()
        if self.broker is not None:
            self.broker.close()
        self.disk.close()


def records(log: EventLog, topic: str, partition: int) -> Iterator[Any]:
    """Yield the records of a partition."""
    offset = log.earliest(topic, partition)
    while found := log.read(topic, partition, offset):
        yield from found
        offset = found[-1].offset + 1


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition; return how long it took."""
    started_s = time.monotonic()
    while not holds():
        if time.monotonic() - started_s > seconds:
            raise RuntimeError(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - started_s


def run_world(
    kind: str, rounds: int, seed: int, only: list[str], keep: Path | None
) -> dict[str, Any]:
    """Run rounds of faults in a fresh world; return the counts.

    Parameters
    ----------
    kind : str
    rounds, seed : int
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
    options = parser.parse_args()
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
                    "random faults (kill -9, SIGSTOP, full disk, cut connections, broker killed or restarted)",
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


def summary(worlds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts of all worlds, and their sums."""
    keys = ("rounds", "events", "unanswered", "lost", "twice", "dead_letters")
    sums = {key: sum(world[key] for world in worlds) for key in (*keys, *DERIVED)}
    sums["longest_s"] = max(world["longest_s"] for world in worlds)
    return {"total": sums, "worlds": worlds}


if __name__ == "__main__":
    sys.exit(main())
