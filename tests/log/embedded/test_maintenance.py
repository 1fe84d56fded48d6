"""Merging, compaction, retention and redaction, against a list that keeps everything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recstream.errors import InvalidInput, OffsetOutOfRange
from recstream.log.embedded import EmbeddedLog, MaintenanceResult, maintain, maintenance, redact
from recstream.log.port import NewRecord, Record, TopicPartition
from recstream.log.topics import TopicSpec

TOPIC = "t"


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(tmp_path: Path, clock: Clock) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "log.db", sync="normal", clock_ms=clock)
    yield log
    log.close()


def everything(log: EmbeddedLog) -> list[Record]:
    records: list[Record] = []
    offset = log.earliest(TOPIC, 0)
    while found := log.read(TOPIC, 0, offset):
        records += found
        offset = found[-1].offset + 1
    return records


def n_segments(log: EmbeddedLog) -> int:
    with log.storage.read() as connection:
        return int(connection.execute("SELECT count(*) FROM segments").fetchone()[0])


def put(log: EmbeddedLog, *pairs: tuple[bytes | None, bytes | None]) -> None:
    for key, value in pairs:
        log.append([NewRecord(TOPIC, key, value, 0)])


def test_small_segments_are_merged_and_the_records_stay(log: EmbeddedLog) -> None:
    log.create_topics([TopicSpec(TOPIC, 1)])
    for n in range(2_500):
        log.append([NewRecord(TOPIC, b"k", b"%d" % n, 0, headers=(("n", b"%d" % n),))])
    before = everything(log)

    done = maintain(log)

    assert done == MaintenanceResult(merged=2_497)
    assert n_segments(log) == 3
    assert everything(log) == before
    assert maintain(log) == MaintenanceResult()


def test_only_the_newest_record_of_a_key_stays_at_its_offset(log: EmbeddedLog) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True)])
    put(log, (b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (None, b"4"), (b"b", b"5"), (b"c", b"6"))

    done = maintain(log)

    assert done.compacted == 2
    assert [(r.offset, r.key, r.value) for r in everything(log)] == [
        (2, b"a", b"3"),
        (3, None, b"4"),
        (4, b"b", b"5"),
        (5, b"c", b"6"),
    ]
    assert log.earliest(TOPIC, 0) == 0
    assert log.high_watermark(TOPIC, 0) == 6


def test_a_topic_that_is_not_compacted_keeps_everything(log: EmbeddedLog) -> None:
    log.create_topics([TopicSpec(TOPIC, 1)])
    put(log, (b"a", b"1"), (b"a", b"2"))

    maintain(log)

    assert [r.value for r in everything(log)] == [b"1", b"2"]


def test_reading_and_tailing_skip_what_was_compacted_away(log: EmbeddedLog) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True)])
    put(log, *[(b"a", b"%d" % n) for n in range(10)], (b"b", b"x"))
    maintain(log)
    tail = log.tail({TopicPartition(TOPIC, 0): 3})

    assert [r.offset for r in log.read(TOPIC, 0, 0)] == [9, 10]
    assert [r.offset for r in log.read(TOPIC, 0, 9, max_records=1)] == [9]
    assert [r.offset for r in tail.poll(0)] == [9, 10]
    assert tail.positions() == {TopicPartition(TOPIC, 0): 11}
    tail.close()


def test_a_tombstone_outlives_its_key_by_the_delay(log: EmbeddedLog, clock: Clock) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True)])
    put(log, (b"a", b"1"), (b"a", None), (b"z", b"last"))

    maintain(log, tombstone_delay_ms=1_000)
    assert [r.offset for r in everything(log)] == [1, 2]

    clock.now_ms += 1_001
    maintain(log, tombstone_delay_ms=1_000, min_dirty_ratio=0.0)
    assert [r.offset for r in everything(log)] == [1, 2]  # nothing new: the pass is not due

    put(log, (b"y", b"new"))
    maintain(log, tombstone_delay_ms=1_000, min_dirty_ratio=0.0)
    assert [r.offset for r in everything(log)] == [2, 3]


def test_the_last_record_stays_even_if_it_is_an_old_tombstone(
    log: EmbeddedLog, clock: Clock
) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True)])
    put(log, (b"a", b"1"), (b"a", None))
    clock.now_ms += 10_000

    maintain(log, tombstone_delay_ms=1)

    assert [r.offset for r in everything(log)] == [1]


def test_a_partition_that_hardly_changed_is_not_compacted_again(log: EmbeddedLog) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True)])
    put(log, *[(b"%d" % n, b"x" * 50) for n in range(100)])
    maintain(log)
    put(log, (b"0", b"y"))

    assert maintain(log, min_dirty_ratio=0.5).compacted == 0
    assert maintain(log, min_dirty_ratio=0.0).compacted == 1


def test_records_older_than_the_retention_go_and_their_offsets_are_out_of_range(
    log: EmbeddedLog, clock: Clock
) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, retention_ms=1_000)])
    put(log, (b"a", b"1"), (b"a", b"2"))
    clock.now_ms += 800
    put(log, (b"a", b"3"))
    clock.now_ms += 300

    assert maintain(log).expired == 2

    assert [r.offset for r in everything(log)] == [2]
    assert log.earliest(TOPIC, 0) == 2
    with pytest.raises(OffsetOutOfRange, match="2 to 3, got 1"):
        log.read(TOPIC, 0, 1)


def test_retention_goes_by_the_time_of_the_append_not_of_the_event(
    log: EmbeddedLog, clock: Clock
) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, retention_ms=1_000)])
    log.append([NewRecord(TOPIC, b"a", b"an old event, imported now", 0, timestamp_ms=1)])
    clock.now_ms += 500

    assert maintain(log).expired == 0


def test_a_partition_whose_records_all_expired_continues_at_the_next_offset(
    log: EmbeddedLog, clock: Clock
) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, retention_ms=10)])
    put(log, (b"a", b"1"), (b"a", b"2"))
    clock.now_ms += 100
    maintain(log)

    assert log.earliest(TOPIC, 0) == log.high_watermark(TOPIC, 0) == 2
    assert log.read(TOPIC, 0, 2) == []
    put(log, (b"a", b"3"))
    assert [r.offset for r in everything(log)] == [2]


def test_a_tail_that_fell_behind_the_retention_continues_at_the_earliest_offset(
    log: EmbeddedLog, clock: Clock
) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, retention_ms=10)])
    tail = log.tail({TopicPartition(TOPIC, 0): 0})
    put(log, (b"a", b"1"))
    clock.now_ms += 100
    maintain(log)
    put(log, (b"a", b"2"))

    assert [r.offset for r in tail.poll(0)] == [1]
    tail.close()


def test_a_redaction_empties_records_at_their_offsets_and_leaves_no_bytes_behind(
    log: EmbeddedLog,
) -> None:
    log.create_topics([TopicSpec(TOPIC, 1)])
    log.append([NewRecord(TOPIC, b"%d" % (n % 3), b"secret-%d" % n * 5, 0) for n in range(9)])

    def without_1(record: Record) -> Record:
        return record._replace(key=None, value=None) if record.key == b"1" else record

    assert redact(log, TOPIC, 0, without_1) == 3

    records = everything(log)
    assert [r.offset for r in records] == list(range(9))
    assert [r.offset for r in records if r.value is None] == [1, 4, 7]
    log.close()
    left = b"".join(path.read_bytes() for path in log.path.parent.iterdir())
    assert b"secret-0" in left
    assert b"secret-4" not in left


def test_a_redaction_may_not_move_records(log: EmbeddedLog) -> None:
    log.create_topics([TopicSpec(TOPIC, 1)])
    put(log, (b"a", b"1"))

    with pytest.raises(InvalidInput, match="must keep topic, partition and offset"):
        redact(log, TOPIC, 0, lambda record: record._replace(offset=5))


@pytest.mark.parametrize("step", ["before reading", "before writing"])
@pytest.mark.parametrize("work", ["redact", "merge", "compact"])
def test_what_is_deleted_during_maintenance_does_not_come_back(
    log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch, step: str, work: str
) -> None:
    log.create_topics([TopicSpec(TOPIC, 1, compacted=work == "compact")])
    put(log, *[(b"%d" % (n % 4), b"%d" % n) for n in range(9)])
    name = "_load" if step == "before reading" else "_replace"
    step_of_maintenance = getattr(maintenance, name)

    def delete_before(*arguments: Any) -> Any:
        if step == "before reading":
            log.delete_before(TOPIC, 0, 5)
        else:  # in the transaction, as if it had been committed just before
            arguments[0].execute(
                "DELETE FROM segments WHERE id IN (SELECT id FROM segments ORDER BY id LIMIT 5)"
            )
            arguments[0].execute("UPDATE heads SET low=5")
            monkeypatch.setattr(maintenance, name, step_of_maintenance)
        return step_of_maintenance(*arguments)

    monkeypatch.setattr(maintenance, name, delete_before)
    if work == "redact":
        redact(log, TOPIC, 0, lambda record: record._replace(value=b"?"))
    else:
        maintain(log, min_dirty_ratio=0.0)

    assert log.earliest(TOPIC, 0) == 5
    with log.storage.read() as connection:
        (n_below,) = connection.execute("SELECT count(*) FROM segments WHERE next <= 5").fetchone()
    assert n_below == 0
    assert [each.offset for each in everything(log)] == [5, 6, 7, 8]


def test_only_one_process_maintains_at_a_time(log: EmbeddedLog) -> None:
    log.create_topics([TopicSpec(TOPIC, 1)])
    put(log, (b"a", b"1"), (b"a", b"2"))
    done: list[MaintenanceResult] = []

    def change(record: Record) -> Record:
        done.append(maintain(log))
        return record

    redact(log, TOPIC, 0, change)

    assert done == [MaintenanceResult(), MaintenanceResult()]


_KEYS = st.sampled_from([b"a", b"b", b"c", None])
_VALUES = st.sampled_from([b"1", b"22", None])
_STEPS = st.lists(
    st.one_of(
        st.lists(st.tuples(_KEYS, _VALUES), min_size=1, max_size=8),
        st.sampled_from(["maintain", "time passes"]),
    ),
    max_size=14,
)


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_compaction_keeps_order_offsets_and_the_newest_of_each_key(
    steps: list[str | list[tuple[bytes | None, bytes | None]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    clock = Clock()
    log = EmbeddedLog(tmp_path_factory.mktemp("p") / "log.db", sync="normal", clock_ms=clock)
    log.create_topics([TopicSpec(TOPIC, 1, compacted=True)])
    appended: list[tuple[int, bytes | None, bytes | None]] = []

    for step in steps:
        if step == "maintain":
            maintain(log, tombstone_delay_ms=100, min_dirty_ratio=0.0)
        elif step == "time passes":
            clock.now_ms += 101
        elif not isinstance(step, str):
            log.append([NewRecord(TOPIC, key, value, 0) for key, value in step])
            appended += [(len(appended) + n, *pair) for n, pair in enumerate(step)]
    kept = [(r.offset, r.key, r.value) for r in everything(log)]
    log.close()

    assert set(kept) <= set(appended)
    assert [offset for offset, *_ in kept] == sorted(offset for offset, *_ in kept)
    newest = {key: (offset, key, value) for offset, key, value in appended if key is not None}
    alive = {record for record in newest.values() if record[2] is not None}
    assert alive <= set(kept)
    assert {record for record in appended if record[1] is None} <= set(kept)
    assert not appended or kept[-1] == appended[-1]
