"""What the tail of every adapter of the `EventLog` port promises."""

import threading
import time

from recstream.log.port import EventLog, Record, Tail, TopicPartition
from recstream.log.topics import TopicSpec
from tests.contracts.conftest import Opener
from tests.contracts.records import numbered, values

DEADLINE_S = 60.0


def take(tail: Tail, count: int) -> list[Record]:
    """Return the next ``count`` records, or what came before the deadline."""
    records: list[Record] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(records) < count and time.monotonic() < deadline:
        records += tail.poll(0.2)
    return records


def test_a_tail_returns_existing_records_and_then_new_ones(open_client: Opener, topic: str) -> None:
    writer, reader = open_client(), open_client()
    writer.create_topics([TopicSpec(topic, 2)])
    writer.append(numbered(topic, 3))
    tail = reader.tail({TopicPartition(topic, 0): 1, TopicPartition(topic, 1): 0})

    there = take(tail, 2)
    writer.append(numbered(topic, 2, partition=1))
    came = take(tail, 2)

    assert values(there) == [b"1", b"2"]
    assert [(r.partition, r.offset) for r in came] == [(1, 0), (1, 1)]
    assert tail.positions() == {TopicPartition(topic, 0): 3, TopicPartition(topic, 1): 2}
    tail.close()


def test_a_tail_that_waits_is_woken_by_an_append(open_client: Opener, topic: str) -> None:
    writer, reader = open_client(), open_client()
    writer.create_topics([TopicSpec(topic, 1)])
    tail = reader.tail({TopicPartition(topic, 0): 0})
    found: list[Record] = []
    thread = threading.Thread(target=lambda: found.extend(tail.poll(DEADLINE_S)))
    thread.start()

    writer.append(numbered(topic, 1))
    thread.join()

    assert values(found) == [b"0"]
    tail.close()


def test_a_tail_with_nothing_to_read_returns_after_the_timeout(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    tail = log.tail({TopicPartition(topic, 0): 0})
    began = time.monotonic()

    assert tail.poll(0.05) == []

    assert 0.04 <= time.monotonic() - began < DEADLINE_S
    tail.close()


def test_a_tail_that_waits_can_be_woken_from_another_thread(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    tail = log.tail({TopicPartition(topic, 0): 0})
    began = time.monotonic()
    thread = threading.Thread(target=lambda: tail.poll(4 * DEADLINE_S))
    thread.start()

    tail.wake()
    thread.join(DEADLINE_S)

    assert not thread.is_alive()
    assert time.monotonic() - began < DEADLINE_S
    tail.close()


def test_a_tail_gives_no_more_than_it_was_asked_for_and_loses_nothing(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 2)])
    log.append([*numbered(topic, 25), *numbered(topic, 25, partition=1)])
    tail = log.tail({TopicPartition(topic, 0): 0, TopicPartition(topic, 1): 0})

    polls: list[list[Record]] = []
    deadline = time.monotonic() + DEADLINE_S
    while sum(map(len, polls)) < 50 and time.monotonic() < deadline:
        polls.append(tail.poll(0.2, max_records=10))

    assert max(map(len, polls)) <= 10
    for partition in (0, 1):
        offsets = [r.offset for poll in polls for r in poll if r.partition == partition]
        assert offsets == list(range(25))
    tail.close()


def test_a_tail_can_be_moved_and_given_another_partition(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 2)])
    log.append([*numbered(topic, 4), *numbered(topic, 2, partition=1)])
    tail = log.tail({TopicPartition(topic, 0): 4})

    tail.seek(TopicPartition(topic, 0), 2)
    tail.seek(TopicPartition(topic, 1), 1)
    records = take(tail, 3)

    assert sorted((r.partition, r.offset) for r in records) == [(0, 2), (0, 3), (1, 1)]
    tail.close()
