"""Everything on real servers: two workers, trainer, bridge; Kafka and MongoDB's protocol beneath."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recstream.log import open_log
from recstream.log.kafka import KafkaLog
from recstream.log.port import EventLog, NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS, topic_specs

if TYPE_CHECKING:
    from conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITIONS = 4
TRAFFIC_S = float(os.environ.get("RECSTREAM_TEST_TRAFFIC_S", "20"))
EVENTS_PER_S = 300
STEP_S = 0.1
GROUP = "recstream-worker"
TYPES = ("view", "click", "cart", "purchase", "like", "remove", "dislike", "view")


class Role:
    """One of the roles as a process of its own, as an operator runs it."""

    def __init__(self, role: str, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._output = (folder / "output").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recstream", role, "--data-dir", str(folder), *options],
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def said(self) -> str:
        return (self.folder / "output").read_text(errors="replace")

    def end(self, how: int = signal.SIGTERM) -> int:
        self._output.close()
        self.process.send_signal(how)
        return self.process.wait(60)


def until(condition: Callable[[], bool], what: str, roles: list[Role], seconds: float = 90) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline_s:
            tails = "\n".join(f"--- {role.folder.name}\n{role.said()[-1500:]}" for role in roles)
            pytest.fail(f"{what} did not happen within {seconds} s\n{tails}")
        time.sleep(0.05)


@pytest.fixture
def roles() -> Iterator[list[Role]]:
    started: list[Role] = []
    yield started
    for role in started:
        role.end(signal.SIGKILL)


def event(number: int) -> dict[str, Any]:
    seconds, thousandth = divmod(number, 1000)
    return {
        "id": f"e{number}",
        "type": TYPES[number % len(TYPES)],
        "user": f"u{number * 31 % 57}",
        "item": f"p{number * 7 % 83}",
        "ts": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}.{thousandth:03}Z",
    }


class Traffic(threading.Thread):
    """Posts events at a rate; what is not accepted is sent again, under the same ids."""

    def __init__(self, port: int) -> None:
        super().__init__(name="traffic")
        self._port = port
        self.accepted = 0
        self.refused = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        size = int(EVENTS_PER_S * STEP_S)
        at = 0
        while not self.stopping.wait(STEP_S):
            batch = [event(number) for number in range(at, at + size)]
            while not self._post(batch):
                self.refused += 1
                time.sleep(0.1)
            at += size
            self.accepted = at

    def _post(self, batch: list[dict[str, Any]]) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(
                "POST", "/v1/events", json.dumps(batch), {"Content-Type": "application/json"}
            )
            return connection.getresponse().status == 202
        except OSError:
            return False
        finally:
            connection.close()


def is_worked_off(log: EventLog) -> bool:
    committed = log.committed(GROUP)
    return all(
        committed.get(TopicPartition(INTERACTIONS, p), 0) == log.high_watermark(INTERACTIONS, p)
        for p in range(PARTITIONS)
    )


def verified(*options: str) -> list[dict[str, Any]]:
    """Return the lines of `recstream replay --verify`, which must find every byte the same."""
    done = subprocess.run(
        [sys.executable, "-m", "recstream", "replay", "--verify", "--json", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def digests(lines: list[dict[str, Any]]) -> dict[int, str]:
    reports = [part for line in lines for part in line.get("partitions", [line])]
    found = {part["partition"]: part["digest"] for part in reports if "digest" in part}
    assert set(found) == set(range(PARTITIONS))
    return found


def undisturbed(kafka: KafkaLog, folder: Path, roles: list[Role]) -> dict[int, str]:
    """Return the histories' digests of an embedded run over the same records."""
    url = f"embedded://{folder}/log.db"
    log = open_log(url)
    log.create_topics(topic_specs(PARTITIONS))
    for partition in range(PARTITIONS):
        at = 0
        while records := kafka.read(INTERACTIONS, partition, at):
            log.append(
                [NewRecord(r.topic, r.key, r.value, r.partition, r.timestamp_ms) for r in records]
            )
            at = records[-1].offset + 1
    worker = Role("worker", folder, "--broker", url)
    roles.append(worker)
    until(lambda: is_worked_off(log), "the embedded run", roles)
    worker.end()
    log.close()
    return digests(verified("--data-dir", str(folder), "--broker", url))


def test_a_killed_worker_and_a_restarted_broker_lose_nothing_and_count_nothing_twice(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    broker, mongo = start_server("kafka"), start_server("mongo")
    shared = [
        *("--broker", broker.kafka_url),
        *("--models", f"mongodb://127.0.0.1:{mongo.port}/models"),
        *("--catalogue", f"mongodb://127.0.0.1:{mongo.port}/catalogue"),
        *("--set", f"partitions={PARTITIONS}", "--set", "train_every_events=2000"),
    ]
    roles += [Role(name.rstrip("12"), tmp_path / name, *shared) for name in ("worker1", "worker2")]
    roles.append(Role("trainer", tmp_path / "trainer", *shared))
    roles.append(Role("bridge", tmp_path / "bridge", "--port", "0", *shared))
    address = tmp_path / "bridge" / "bridge.json"
    until(address.exists, "the bridge's start", roles)
    port = int(json.loads(address.read_text())["url"].rpartition(":")[2])
    log = KafkaLog(broker.kafka_url)
    traffic = Traffic(port)

    def n_lists() -> int:
        return sum(log.high_watermark(RECOMMENDATIONS, p) for p in range(PARTITIONS))

    until(lambda: all("worker ready" in role.said() for role in roles[:2]), "both workers", roles)
    traffic.start()
    until(lambda: n_lists() > 100, "the first lists", roles)
    begun = traffic.accepted
    third = TRAFFIC_S * EVENTS_PER_S / 3
    until(lambda: traffic.accepted - begun > third, "the first third", roles)
    roles[0].end(signal.SIGKILL)
    until(lambda: traffic.accepted - begun > 2 * third, "the second third", roles)
    broker.stop()
    broker.start()
    until(lambda: traffic.accepted - begun > 3 * third, "the last third", roles)
    traffic.stopping.set()
    traffic.join()
    until(lambda: is_worked_off(log), "the end of the work", roles)

    kept: dict[str, int] = {}
    for partition in range(PARTITIONS):
        at = 0
        while records := log.read(INTERACTIONS, partition, at):
            for record in records:
                name = json.loads(record.value or b"{}")["id"]
                kept[name] = kept.get(name, 0) + 1
            at = records[-1].offset + 1
    assert set(kept) == {f"e{number}" for number in range(traffic.accepted)}
    until(lambda: "model published generation=2" in roles[2].said(), "two generations", roles)
    assert [role.process.poll() for role in roles[1:]] == [None] * 3
    for role in roles[1:]:
        assert role.end() == 0, role.said()[-2000:]
    found = digests(verified("--data-dir", str(tmp_path / "bridge"), *shared))
    assert found == undisturbed(log, tmp_path / "embedded", roles)
    log.close()
