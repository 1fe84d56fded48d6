"""What every adapter of the `EventLog` port promises: topics, appends, reads, offsets."""

import threading
import time
from typing import Any

import pytest

from recstream.errors import InvalidInput, NotFound, OffsetOutOfRange, PartitionCountMismatch
from recstream.log.partitioner import partition_for
from recstream.log.port import EventLog, NewRecord, Position, Record, TopicPartition
from recstream.log.topics import TopicSpec
from tests.contracts.conftest import Opener
from tests.contracts.records import numbered, values


def test_what_is_appended_is_read_back_as_it_was(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 3)])

    positions = log.append(
        [
            NewRecord(topic, b"k", b"\x00\xff", 2, 1_700_000_000_123, (("h", b"1"), ("h", b"2"))),
            NewRecord(topic, None, None, 2, 5),
            NewRecord(topic, b"", b"", 2, 6),
        ]
    )

    assert positions == [Position(topic, 2, 0), Position(topic, 2, 1), Position(topic, 2, 2)]
    assert log.read(topic, 2, 0) == [
        Record(topic, 2, 0, 1_700_000_000_123, b"k", b"\x00\xff", (("h", b"1"), ("h", b"2"))),
        Record(topic, 2, 1, 5, None, None, ()),
        Record(topic, 2, 2, 6, b"", b"", ()),
    ]


def test_records_wait_for_a_reader_until_it_is_at_the_end(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    assert log.n_waiting(topic, 0, 0) == 0

    log.append(numbered(topic, 3))

    assert [log.n_waiting(topic, 0, offset) for offset in range(5)] == [3, 2, 1, 0, 0]


def test_a_record_without_a_time_gets_the_time_of_its_append(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    before = time.time_ns() // 1_000_000

    log.append(numbered(topic, 1))

    after = time.time_ns() // 1_000_000
    assert before <= log.read(topic, 0, 0)[0].timestamp_ms <= after


def test_a_key_always_goes_to_the_partition_that_kafkas_clients_choose(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 4)])
    keys = [b"u%d" % n for n in range(50)]

    positions = log.append([NewRecord(topic, key, b"") for key in keys])

    assert [p.partition for p in positions] == [partition_for(key, 4) for key in keys]


def test_a_record_without_key_and_partition_goes_to_the_first_one(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 4)])

    assert log.append([NewRecord(topic, None, b"v")]) == [Position(topic, 0, 0)]


def test_positions_come_in_the_order_of_the_records(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 3)])
    records = [NewRecord(topic, None, b"%d" % n, n % 3) for n in range(10)]

    positions = log.append(records)

    assert positions == [Position(topic, n % 3, n // 3) for n in range(10)]


def test_offsets_continue_where_the_last_append_ended(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    log.append(numbered(topic, 5))

    positions = log.append(numbered(topic, 2, start=5))

    assert [p.offset for p in positions] == [5, 6]
    assert log.high_watermark(topic, 0) == 7
    assert log.earliest(topic, 0) == 0


def test_appending_nothing_does_nothing(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])

    assert log.append([]) == []
    assert log.high_watermark(topic, 0) == 0


def test_reading_begins_at_the_offset_and_ends_at_the_limit(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    log.append(numbered(topic, 10))

    assert values(log.read(topic, 0, 3, max_records=4)) == [b"3", b"4", b"5", b"6"]


def test_a_reader_that_continues_after_the_last_record_reads_each_record_once(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    for start in range(0, 2_500, 500):
        log.append(numbered(topic, 500, start=start))

    seen: list[bytes | None] = []
    offset = 0
    while records := log.read(topic, 0, offset, max_records=333):
        seen += values(records)
        offset = records[-1].offset + 1

    assert seen == [b"%d" % n for n in range(2_500)]


def test_there_is_nothing_to_read_at_the_end(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    log.append(numbered(topic, 3))

    assert log.read(topic, 0, 3) == []


def test_an_offset_that_was_never_written_is_refused(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])

    with pytest.raises(OffsetOutOfRange, match=topic):
        log.read(topic, 0, 7)


def test_a_topic_that_is_not_there_is_named(log: EventLog, topic: str) -> None:
    with pytest.raises(NotFound, match=topic):
        log.partitions(topic)
    with pytest.raises(NotFound, match=topic):
        log.append([NewRecord(topic, b"k", b"v")])


def test_a_partition_that_is_not_there_is_refused_and_nothing_is_written(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 2)])

    with pytest.raises(InvalidInput, match="partition"):
        log.append([NewRecord(topic, None, b"v", 0), NewRecord(topic, None, b"v", 2)])

    assert log.high_watermark(topic, 0) == 0


def test_creating_a_topic_again_changes_nothing(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 2)])
    log.append(numbered(topic, 1))

    log.create_topics([TopicSpec(topic, 2)])

    assert log.partitions(topic) == 2
    assert log.topics()[topic] == 2
    assert log.high_watermark(topic, 0) == 1


def test_another_partition_count_is_refused_before_anything_is_created(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 2)])

    with pytest.raises(PartitionCountMismatch, match=r"\b3\b.*\b2\b"):
        log.create_topics([TopicSpec(f"{topic}-new", 1), TopicSpec(topic, 3)])

    assert f"{topic}-new" not in log.topics()


def test_the_offset_at_a_time_is_the_first_record_not_before_it(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    log.append([NewRecord(topic, None, b"", 0, ms) for ms in (100, 200, 200, 300)])

    assert [log.offset_at(topic, 0, ms) for ms in (0, 100, 150, 200, 201, 300)] == [
        0, 0, 1, 1, 3, 3,
    ]  # fmt: skip
    assert log.offset_at(topic, 0, 301) == 4


def test_a_group_reads_back_the_offsets_it_committed(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 2)])
    log.append([*numbered(topic, 9), *numbered(topic, 4, partition=1)])
    group = f"group-{topic}"
    assert log.committed(group) == {}

    log.append([], group=group, offsets={TopicPartition(topic, 0): 7})
    log.append([], group=group, offsets={TopicPartition(topic, 1): 2, TopicPartition(topic, 0): 8})

    assert log.committed(group) == {TopicPartition(topic, 0): 8, TopicPartition(topic, 1): 2}
    assert log.committed(f"{group}-other") == {}


def test_records_and_offsets_are_committed_together(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1), TopicSpec(f"{topic}-out", 1)])
    log.append(numbered(topic, 3))
    group = f"group-{topic}"

    log.append(numbered(f"{topic}-out", 1), group=group, offsets={TopicPartition(topic, 0): 3})

    assert values(log.read(f"{topic}-out", 0, 0)) == [b"0"]
    assert log.committed(group) == {TopicPartition(topic, 0): 3}


def test_what_one_client_appends_another_one_reads(open_client: Opener, topic: str) -> None:
    writer, reader = open_client(), open_client()
    writer.create_topics([TopicSpec(topic, 1)])

    writer.append(numbered(topic, 2))

    assert values(reader.read(topic, 0, 0)) == [b"0", b"1"]
    assert reader.epoch == writer.epoch


def test_a_log_is_the_same_when_it_is_opened_again(open_client: Opener, topic: str) -> None:
    first = open_client()
    first.create_topics([TopicSpec(topic, 1)])
    first.append(numbered(topic, 2))
    epoch = first.epoch
    first.close()

    again = open_client()

    assert again.epoch == epoch
    assert values(again.read(topic, 0, 0)) == [b"0", b"1"]


def test_threads_that_append_at_once_all_get_offsets_of_their_own(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    positions: list[Position] = []

    def work(number: int) -> None:
        for n in range(20):
            (position,) = log.append([NewRecord(topic, None, b"%d/%d" % (number, n), 0)])
            positions.append(position)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(p.offset for p in positions) == list(range(160))
    found = values(log.read(topic, 0, 0))
    for number in range(8):
        mine = [v for v in found if v is not None and v.startswith(b"%d/" % number)]
        assert mine == [b"%d/%d" % (number, n) for n in range(20)]


def test_records_before_an_offset_are_deleted_and_the_others_keep_theirs(
    log: EventLog, topic: str
) -> None:
    log.create_topics([TopicSpec(topic, 2)])
    for start in range(0, 60, 20):
        log.append(numbered(topic, 20, start=start))
    log.append(numbered(topic, 3, partition=1))

    assert log.delete_before(topic, 0, 25) == 25

    assert (log.earliest(topic, 0), log.high_watermark(topic, 0)) == (25, 60)
    assert values(log.read(topic, 0, 25, 2)) == [b"25", b"26"]
    with pytest.raises(OffsetOutOfRange):
        log.read(topic, 0, 24)
    assert log.earliest(topic, 1) == 0
    assert log.append(numbered(topic, 1, start=60))[0].offset == 60


def test_deletion_ends_at_the_newest_record_and_never_goes_back(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    log.append(numbered(topic, 10))

    assert log.delete_before(topic, 0, 1_000) == 10
    assert log.delete_before(topic, 0, 3) == 10

    assert log.read(topic, 0, 10) == []


@pytest.mark.parametrize(
    "fault",
    [
        {"key": "k"},
        {"value": 1},
        {"timestamp_ms": 1.5},
        {"timestamp_ms": True},
        {"timestamp_ms": 1 << 63},
        {"headers": (("name", "text"),)},
        {"headers": ((b"name", b"value"),)},
        {"headers": (("\ud800", b"value"),)},
    ],
    ids=str,
)
def test_a_record_that_no_reader_could_decode_is_refused_and_nothing_is_written(
    log: EventLog, topic: str, fault: dict[str, Any]
) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    record = NewRecord(topic, b"k", b"v", 0)

    with pytest.raises(InvalidInput, match=f"record 1 for {topic}"):
        log.append([record, record._replace(**fault)])

    assert log.high_watermark(topic, 0) == 0


def test_the_offset_at_a_time_is_never_one_that_was_deleted(log: EventLog, topic: str) -> None:
    log.create_topics([TopicSpec(topic, 1)])
    log.append([NewRecord(topic, None, b"v", 0, ms) for ms in (100, 200, 300, 400)])
    log.delete_before(topic, 0, 2)

    assert log.offset_at(topic, 0, 100) == 2
