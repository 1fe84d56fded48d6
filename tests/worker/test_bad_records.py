"""What can't be read becomes a dead letter, once, and stops nobody."""

import msgspec
import pytest

from recstream.core.events import from_timestamp_ms
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from tests.worker.memory import ingest
from tests.worker.worker_world import (
    CHANGELOG,
    NOW_MS,
    PARTITIONS,
    envelope,
    event,
    generation,
    single,
)


def raw(value, user="u1", **more):
    partition = partition_for(user.encode(), PARTITIONS)
    return NewRecord(INTERACTIONS, user.encode(), value, partition, NOW_MS, **more)


@pytest.mark.parametrize(
    ("value", "reason", "pointer"),
    [
        (b"{not json", "malformed-json", ""),
        (b"\xff\xfe", "malformed-json", ""),
        (b"[", "malformed-json", ""),
        (b'{"id":"a","type":"jump","user":"u1","item":"p","ts":"2024-01-01T00:00:00Z"}',
         "invalid-enum", "/type"),
        (b'{"id":"a","type":"view","user":"u1","ts":"2024-01-01T00:00:00Z"}', "missing", "/item"),
        (b'{"id":"a","type":"view","user":"u1","item":"p"}', "invalid-time", "/ts"),
        (b'{"type":"view","user":"u1","item":"p","ts":"2024-01-01T00:00:00Z"}', "missing", "/id"),
        (b'{"id":"a","type":"view","user":"u1","item":"p","ts":"2999-01-01T00:00:00Z"}',
         "in-the-future", "/ts"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_becomes_a_dead_letter_and_stops_nobody(world, value, reason, pointer):
    world.engine.activate(generation())

    world.feed([raw(value), single(event(1, "u1", "p0"))])

    (letter,) = world.letters()
    assert (letter.reason, letter.pointer, letter.offset) == (reason, pointer, 0)
    assert letter.value.encode() == value or reason == "malformed-json"
    assert world.engine.status.events == 1
    assert len(world.lists()) == 1


def test_a_bad_event_in_an_envelope_does_not_take_the_good_ones_along(world):
    good = [event(n, "u1", f"p{n}") for n in range(3)]
    (record,) = envelope(good)
    value = record.value[:-1] + b',{"id":"x","type":"view","user":"u1"}]'

    world.feed([record._replace(value=value)])

    (letter,) = world.letters()
    assert (letter.reason, letter.pointer) == ("missing", "/3/item")
    assert world.engine.status.events == 3


def test_an_event_in_another_users_partition_is_a_dead_letter(world):
    misplaced = single(event(1, "u1", "p0"))
    wrong = 1 - partition_for(b"u1", PARTITIONS)

    world.feed([misplaced._replace(partition=wrong)])

    (letter,) = world.letters()
    assert (letter.reason, letter.pointer) == ("wrong-partition", "/user")
    assert world.table() == {}


def test_a_redacted_record_holds_nothing(world):
    world.feed([raw(None), single(event(1, "u1", "p0"))])

    assert world.letters() == []
    assert world.engine.status.events == 1


def test_dead_letters_are_written_once_however_often_the_record_comes(world):
    world.feed([raw(b"{")])
    partition = partition_for(b"u1", PARTITIONS)

    ingest(world.engine, world.read(INTERACTIONS, partition))

    assert len(world.letters()) == 1


def test_the_newest_event_time_is_bounded_by_the_records_own(world):
    late = from_timestamp_ms(NOW_MS + 23 * 3600 * 1000)

    world.feed([single(msgspec.structs.replace(event(1, "u1", "p0"), ts=late))])

    assert world.letters() == []
    assert world.log.high_watermark(RECOMMENDATIONS, 0) == 0
    assert world.log.high_watermark(CHANGELOG, partition_for(b"u1", PARTITIONS)) > 0
