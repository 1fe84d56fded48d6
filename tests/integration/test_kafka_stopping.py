"""A worker that is told to end does so in its time, whether or not a broker answers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from roles import Role, until

from recstream.errors import LogUnavailable
from recstream.log.kafka import KafkaLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS, histories_changelog
from recstream.supervisor import DRAIN_S

if TYPE_CHECKING:
    from conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def roles() -> Iterator[list[Role]]:
    started: list[Role] = []
    yield started
    for role in started:
        role.end(signal.SIGKILL)


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


def test_a_worker_ends_in_time_while_the_broker_is_away_and_nothing_is_lost(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    broker = start_server("kafka")
    options = ("--broker", broker.kafka_url, "--set", "partitions=2")
    worker = Role("worker", tmp_path / "worker", *options)
    roles.append(worker)
    until(lambda: "worker ready" in worker.said(), "the worker's start", roles)
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
    broker.kill()
    until(lambda: "Connection refused" in worker.said(), "a worker that misses the broker", roles)
    begun = time.monotonic()
    code = worker.end()

    assert time.monotonic() - begun < DRAIN_S
    assert code == 0, worker.said()[-3000:]
    broker.start()
    n_before = n_appended
    until(lambda: n_appended > n_before, "events after the restart", roles)
    stopping.set()
    traffic.join()
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
