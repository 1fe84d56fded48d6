"""Appends of a partition's owner: all or nothing, once, and refused after a successor has come."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest

from recstream.errors import LogFenced
from recstream.log.kafka import KafkaLease, KafkaLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import TopicSpec
from tests.integration.relay import Relay
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = pytest.mark.integration

_names = itertools.count()


@pytest.fixture
def log(kafka_url: str) -> Iterator[KafkaLog]:
    opened = KafkaLog(kafka_url)
    yield opened
    opened.close()


@pytest.fixture
def owned(log: KafkaLog) -> TopicPartition:
    tp = TopicPartition(f"writers-{next(_names)}", 0)
    log.create_topics([TopicSpec(tp.topic, 1)])
    return tp


def values(log: KafkaLog, topic: str) -> list[bytes | None]:
    found: list[bytes | None] = []
    at = 0
    while records := log.read(topic, 0, at):
        found += [record.value for record in records]
        at = records[-1].offset + 1
    return found


def test_positions_are_those_of_the_records(log: KafkaLog, owned: TopicPartition) -> None:
    writers = log.transactions("g")
    writers.own([owned])

    first = writers.append(
        [NewRecord(owned.topic, None, b"a"), NewRecord(owned.topic, None, b"b")], owned
    )
    second = writers.append([NewRecord(owned.topic, None, b"c")], owned)

    assert values(log, owned.topic) == [b"a", b"b", b"c"]
    for position, value in zip([*first, *second], [b"a", b"b", b"c"], strict=True):
        assert log.read(owned.topic, 0, position.offset, 1)[0].value == value
    writers.close()


def test_the_visible_end_is_behind_the_last_record_and_not_behind_the_transaction(
    log: KafkaLog, owned: TopicPartition
) -> None:
    writers = log.transactions("g")
    writers.own([owned])
    assert log.visible_end(*owned) == 0

    (position,) = writers.append([NewRecord(owned.topic, None, b"a")], owned)

    # The broker writes a transaction's marker a moment after it acknowledged the commit.
    wait_until(lambda: log.visible_end(*owned) > 0, "the record is visible")
    assert log.visible_end(*owned) == position.offset + 1
    assert log.high_watermark(*owned) == position.offset + 2
    writers.close()


def test_who_does_not_own_the_partition_is_refused(log: KafkaLog, owned: TopicPartition) -> None:
    writers = log.transactions("g")

    with pytest.raises(LogFenced, match="is not this worker's"):
        writers.append([NewRecord(owned.topic, None, b"a")], owned)

    writers.own([owned])
    writers.release([owned])
    with pytest.raises(LogFenced):
        writers.append([NewRecord(owned.topic, None, b"a")], owned)
    assert values(log, owned.topic) == []
    writers.close()


def test_an_owner_that_was_taken_for_dead_cannot_write_past_its_successor(
    log: KafkaLog, owned: TopicPartition
) -> None:
    old, new = log.transactions("g"), log.transactions("g")
    old.own([owned])
    old.append([NewRecord(owned.topic, None, b"old")], owned)

    new.own([owned])
    new.append([NewRecord(owned.topic, None, b"new")], owned)
    for _ in range(2):
        with pytest.raises(LogFenced, match=r"can't write any more|is not this worker's"):
            old.append([NewRecord(owned.topic, None, b"late")], owned)

    assert values(log, owned.topic) == [b"old", b"new"]
    old.close()
    new.close()


@pytest.mark.slow
def test_every_append_happens_once_and_whole_when_the_broker_is_killed(
    start_server: Callable[..., Server],
) -> None:
    broker = start_server("kafka")
    log = KafkaLog(broker.kafka_url)
    log.create_topics([TopicSpec("a", 1), TopicSpec("b", 1)])
    writers = log.transactions("g")
    owned = TopicPartition("a", 0)
    writers.own([owned])
    done: list[int] = []
    stopping = threading.Event()

    def append() -> None:
        while not stopping.is_set():
            value = b"%d" % len(done)
            try:
                writers.append([NewRecord("a", None, value), NewRecord("b", None, value)], owned)
            except LogFenced:
                # As after a new assignment: own it, and read what was written.
                writers.own([owned])
                if values(log, "a")[-1:] != [value]:
                    continue
            done.append(len(done))

    worker = threading.Thread(target=append)
    worker.start()
    wait_until(lambda: len(done) > 50, "the first fifty")
    broker.kill()
    before = len(done)
    broker.start()
    wait_until(lambda: len(done) > before + 50, "fifty after the restart")
    stopping.set()
    worker.join(30)

    expected = [b"%d" % number for number in done]
    assert values(log, "a") == values(log, "b") == expected
    assert set(Counter(expected).values()) == {1}
    writers.close()
    log.close()


@pytest.fixture
def relayed(start_server: Callable[..., Server]) -> Iterator[tuple[Relay, KafkaLog]]:
    """A log whose clients can be cut off from the broker, and come back."""
    relay = Relay()
    relay.broker_port = start_server("kafka", "--advertise", str(relay.port)).port
    log = KafkaLog(f"kafka://127.0.0.1:{relay.port}")
    yield relay, log
    log.close()
    relay.close()


@pytest.mark.slow
@pytest.mark.parametrize("cut_s", [1.0, 20.0])
def test_an_owner_that_was_cut_off_writes_nothing_behind_its_successor(
    relayed: tuple[Relay, KafkaLog], cut_s: float
) -> None:
    relay, log = relayed
    log.create_topics([TopicSpec("a", 1)])
    owned = TopicPartition("a", 0)
    old = log.transactions("g")
    old.own([owned])
    old.append([NewRecord("a", None, b"a0")], owned)
    outcome: list[object] = []

    def append_late() -> None:
        try:
            outcome.append(old.append([NewRecord("a", None, b"stale")], owned))
        except LogFenced as error:
            outcome.append(error)

    relay.cut_off()
    late = threading.Thread(target=append_late, daemon=True)
    late.start()
    successor_log = KafkaLog(f"kafka://127.0.0.1:{relay.port}")
    successor = successor_log.transactions("g")
    successor.own([owned])
    successor.append([NewRecord("a", None, b"b1")], owned)
    ended_s = time.monotonic() + cut_s
    wait_until(lambda: time.monotonic() >= ended_s, "the end of the cut")
    relay.restore()
    wait_until(lambda: bool(outcome), "the late append ends", 90)

    assert isinstance(outcome[0], LogFenced)
    for number in range(3):
        successor.append([NewRecord("a", None, b"b%d" % (number + 2))], owned)
    assert values(successor_log, "a") == [b"a0", b"b1", b"b2", b"b3", b"b4"]
    with pytest.raises(LogFenced, match="is not this worker's"):
        old.append([NewRecord("a", None, b"later")], owned)
    old.close()
    successor.close()
    successor_log.close()


@pytest.mark.slow
def test_an_owner_that_was_disconnected_briefly_continues_without_a_second_copy(
    relayed: tuple[Relay, KafkaLog],
) -> None:
    relay, log = relayed
    log.create_topics([TopicSpec("a", 1)])
    owned = TopicPartition("a", 0)
    owner = log.transactions("g")
    owner.own([owned])
    done: list[int] = []
    stopping = threading.Event()

    def append() -> None:
        while not stopping.is_set():
            value = b"%d" % len(done)
            try:
                owner.append([NewRecord("a", None, value)], owned)
            except LogFenced:
                owner.own([owned])
                if values(log, "a")[-1:] != [value]:
                    continue
            done.append(len(done))

    worker = threading.Thread(target=append, daemon=True)
    worker.start()
    for _ in range(3):
        before = len(done)
        wait_until(partial(lambda n: len(done) > n + 20, before), "twenty more")
        relay.cut_off()
        relay.restore()
    before = len(done)
    wait_until(lambda: len(done) > before + 20, "twenty more at the end")
    stopping.set()
    worker.join(60)

    reader = KafkaLog(f"kafka://127.0.0.1:{relay.port}")
    assert values(reader, "a") == [b"%d" % number for number in done]
    reader.close()
    owner.close()


def test_one_of_two_holds_the_lease_and_the_other_goes_on_when_it_is_released(
    log: KafkaLog, owned: TopicPartition
) -> None:
    first = KafkaLease(log, "trainers", owned)
    wait_until(first.hold, "the first lease")
    second = KafkaLease(log, "trainers", owned)

    def is_settled() -> bool:
        held = [lease.hold() for lease in (first, second)]
        return sum(held) == 1

    wait_until(is_settled, "one lease of two")
    active, standing = (first, second) if first.hold() else (second, first)
    active.append([NewRecord(owned.topic, None, b"active")])
    with pytest.raises(LogFenced, match="another process's"):
        standing.append([NewRecord(owned.topic, None, b"standing by")])
    active.release()
    wait_until(standing.hold, "the lease going over")
    standing.append([NewRecord(owned.topic, None, b"next")])

    assert values(log, owned.topic) == [b"active", b"next"]
    standing.release()
