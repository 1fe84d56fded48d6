"""Roles that are told to end do so in their time, whether or not Kafka and MongoDB answer."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from recstream.errors import LogUnavailable
from recstream.log.kafka import KafkaLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS, histories_changelog
from recstream.runtime.supervisor import DRAIN_S
from tests.integration.roles import Role, until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def misses_the_broker(role: Role) -> bool:
    return "Connection refused" in role.said() or "brokers are down" in role.said()


def views(start: int, count: int) -> list[NewRecord]:
    return [
        NewRecord(
            INTERACTIONS,
            f"u{number % 50}".encode(),
            msgspec.json.encode(
                {
                    "id": f"e{number}",
                    "type": "view",
                    "user": f"u{number % 50}",
                    "item": f"p{number % 31}",
                    "ts": "2026-01-01T00:00:00Z",
                }
            ),
        )
        for number in range(start, start + count)
    ]


def test_all_roles_end_in_time_while_their_servers_are_away_and_nothing_is_lost(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    broker, mongo = start_server("kafka"), start_server("mongo")
    options = (
        *("--broker", broker.kafka_url, "--set", "partitions=2"),
        *("--models", f"mongodb://127.0.0.1:{mongo.port}/models"),
        *("--catalogue", f"mongodb://127.0.0.1:{mongo.port}/catalogue"),
    )
    worker, trainer = (Role(name, tmp_path / name, *options) for name in ("worker", "trainer"))
    bridge = Role("bridge", tmp_path / "bridge", "--port", "0", *options)
    roles += [worker, trainer, bridge]
    until(lambda: "worker started" in worker.said(), "the worker's start", roles)
    until(lambda: "trainer active" in trainer.said(), "the trainer's start", roles)
    until(bridge.url, "the bridge's start", roles)
    log = KafkaLog(broker.kafka_url)
    stopping = threading.Event()
    n_appended = 0

    def append() -> None:
        nonlocal n_appended
        while not stopping.is_set():
            try:
                log.append(views(n_appended, 20))
            except LogUnavailable:
                continue
            n_appended += 20

    traffic = threading.Thread(target=append)
    traffic.start()
    changelog = histories_changelog("recstream-worker")
    until(lambda: log.high_watermark(changelog, 0) > 0, "the first histories", roles)
    mongo.kill()
    broker.kill()
    for role in roles:
        until(partial(misses_the_broker, role), "a role that misses the broker", roles)
    begun = time.monotonic()
    for role in roles:
        role.process.send_signal(signal.SIGTERM)
    codes = {role.folder.name: role.process.wait(60) for role in roles}

    assert time.monotonic() - begun < DRAIN_S
    assert codes == {"worker": 0, "trainer": 0, "bridge": 0}, [r.said()[-1500:] for r in roles]
    broker.start()
    n_before = n_appended
    until(lambda: n_appended > n_before, "events after the restart", roles)
    stopping.set()
    traffic.join()
    mongo.start()
    again = Role("worker", tmp_path / "worker", *options)
    roles.append(again)

    def is_worked_off() -> bool:
        committed = log.committed("recstream-worker")
        return all(
            committed.get(TopicPartition(INTERACTIONS, p), 0) == log.high_watermark(INTERACTIONS, p)
            for p in range(2)
        )

    until(is_worked_off, "the end of the work", roles)
    assert again.end() == 0
    log.close()
