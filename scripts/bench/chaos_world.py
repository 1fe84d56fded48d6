"""A world of chaos.py: a log, two workers, a trainer and a client, and the faults that happen to them."""

import contextlib
import ctypes
import json
import random
import signal
import subprocess
import sys
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

from chaos_servers import Broker, SmallDisk

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
N_USERS, N_ITEMS = 40, 60
APPEND_PAUSE_S = 0.02
READY_S = 180.0
CATCH_UP_S = 240.0
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


def end_with_parent() -> None:
    """Have the system kill this process when the one that started it has ended (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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
