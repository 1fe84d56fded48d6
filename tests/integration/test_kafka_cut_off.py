"""Clients of Kafka that will never find a broker again are replaced by others, which do.

librdkafka's issue 5301: a broker that is starting may answer that there is no broker, and a client
may then forget for good how to reach one. It takes a race; the relay does it by force.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from recstream.errors import LogFenced, LogUnavailable
from recstream.log.kafka import KafkaLease, KafkaLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import TopicSpec
from tests.integration.relay import Relay
from tests.integration.roles import until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

AGAIN_S = 15.0
"""Less than an append takes to time out."""


@pytest.fixture
def between() -> Iterator[list[Relay]]:
    relays: list[Relay] = []
    yield relays
    for relay in relays:
        relay.close()


def forever(
    work: Callable[[], bool], stopping: threading.Event
) -> tuple[threading.Thread, list[float]]:
    """Do something again and again; return when it went well."""
    times: list[float] = []

    def run() -> None:
        while not stopping.is_set():
            try:
                if work():
                    times.append(time.monotonic())
            except (LogUnavailable, LogFenced):
                stopping.wait(0.1)
            stopping.wait(0.02)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, times


def test_clients_that_lost_the_broker_for_good_are_replaced_and_no_record_is_missed(
    start_server: Callable[..., Server], between: list[Relay]
) -> None:
    relay = Relay()
    between.append(relay)
    relay.broker_port = start_server("kafka", "--advertise", str(relay.port)).port
    log = KafkaLog(f"kafka://127.0.0.1:{relay.port}")
    log.create_topics([TopicSpec("a", 2), TopicSpec("led", 1)])
    tail = log.tail({TopicPartition("a", 0): 0, TopicPartition("a", 1): 0})
    lease = KafkaLease(log, "trainers", TopicPartition("led", 0))
    appended: list[int] = []
    seen: list[int] = []

    def append() -> bool:
        number = appended[-1] + 1 if appended else 0
        log.append([NewRecord("a", None, b"%d" % number, number % 2)])
        appended.append(number)
        return True

    def follow() -> bool:
        records = tail.poll(0.2)
        seen.extend(int(record.value or b"-1") for record in records)
        return bool(records)

    def lead() -> bool:
        return lease.hold() and bool(lease.append([NewRecord("led", None, b"x", 0)]))

    stopping = threading.Event()
    doing = {
        "append": append,
        "follow": follow,
        "lead": lead,
        "ask": lambda: log.high_watermark("a", 0) > 0,
        "read": lambda: bool(log.read("a", 0, 0, 1)),
        "list": lambda: "a" in log.topics(),
        "commit": lambda: log.append([], group="g", offsets={TopicPartition("a", 0): 1}) == [],
    }
    running = {name: forever(work, stopping) for name, work in doing.items()}

    def is_done_since(name: str, since_s: float) -> bool:
        return running[name][1][-1] > since_s

    until(lambda: all(times for _, times in running.values()), "all of it at first", [], 30)
    relay.cut_off()
    cut_s = time.monotonic()
    until(partial(is_done_since, "append", cut_s), "an append", [], AGAIN_S)
    for name in doing:
        until(partial(is_done_since, name, cut_s), f"to {name} again", [], 4 * AGAIN_S)
    stopping.set()
    for thread, _ in running.values():
        thread.join(30)

    def has_seen_all() -> bool:
        follow()
        return set(appended) <= set(seen)

    until(has_seen_all, "the end of the records", [], 30)
    tail.close()
    lease.release()
    log.close()
