"""Effects once: whatever is delivered again, lost or cut short, tables and lists come out the same."""

from __future__ import annotations

import contextlib

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from stream_world import (
    CHANGELOG,
    GROUP,
    NOW_MS,
    PARTITIONS,
    World,
    envelope,
    event,
    generation,
    single,
    some_events,
)

from recstream.core.control import RulesTimeline
from recstream.core.events import Weights, from_timestamp_ms
from recstream.core.records import DeltaAnnounced, RulesAdopted
from recstream.errors import LogFenced, LogUnavailable
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from recstream.stream.engine import LIVE_USERS
from recstream.stream.tables import MemoryRows


def expected_table(tmp_path, records):
    """Return the rows of a run without any trouble."""
    calm = World(tmp_path)
    calm.feed(records)
    table = calm.table()
    calm.close()
    return table


def test_single_events_and_envelopes_fold_to_the_same_histories(world, tmp_path_factory):
    events = some_events(300)
    world.feed([single(each) for each in events], step=7)

    other = World(tmp_path_factory.mktemp("other"))
    other.feed(envelope(events))

    users = {key for key in world.table() if b"\0" not in key}
    for user in users:
        ours = world.engine.state(partition_for(user, PARTITIONS)).known(user.decode()).history
        theirs = other.engine.state(partition_for(user, PARTITIONS)).known(user.decode()).history
        assert {e.item: (e.weight, e.at_ms) for e in ours.entries()} == {
            e.item: (e.weight, e.at_ms) for e in theirs.entries()
        }
    other.close()


def test_the_changelog_is_the_table(world):
    world.engine.adopt(generation())
    world.feed([single(each) for each in some_events(200)], step=11)

    assert world.changelog_table() == world.rows.rows


def test_everything_delivered_again_changes_nothing(world):
    world.engine.adopt(generation())
    world.feed([single(each) for each in some_events(200)])
    table, n_lists = world.table(), len(world.lists())

    for partition in range(PARTITIONS):
        world.engine.ingest(world.read(INTERACTIONS, partition))

    assert world.table() == table
    assert len(world.lists()) == n_lists


class Trouble(Exception):
    """A crash at a chosen step."""


class BreakingRows(MemoryRows):
    """Dies in the middle of a run instead of writing: after the changelog, before the table."""

    def __init__(self, rows, fail_at):
        super().__init__()
        self.rows = rows.rows
        self.left = fail_at

    def write(self, partition, rows, changelog_offset):
        self.left -= 1
        if self.left < 0:
            raise Trouble
        super().write(partition, rows, changelog_offset)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=6),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_crashes_around_the_changelog_append_lose_and_double_nothing(
    tmp_path_factory, crashes, step, seed
):
    records = [single(each) for each in some_events(80, seed=seed)]
    expected = expected_table(tmp_path_factory.mktemp("calm"), records)
    world = World(tmp_path_factory.mktemp("crashing"))
    world.log.append(records)

    for is_before, fail_at in crashes:
        left = fail_at

        def dying(records, offsets):
            nonlocal left
            left -= 1
            if left < 0:
                raise Trouble
            return world.append(records, offsets)

        rows = world.rows if is_before else BreakingRows(world.rows, fail_at)
        world.engine = world.new_engine(rows, dying if is_before else None)
        world.engine.adopt(generation())
        with contextlib.suppress(Trouble):
            world.run(step=step)
        world.recover()
    world.engine.adopt(generation())
    world.run(step=step)
    world.engine.list_open(1000)

    assert world.table() == expected
    assert world.changelog_table() == world.rows.rows
    newest = world.newest_lists()
    assert set(newest) == {key.decode() for key in expected if b"\0" not in key}
    for user, items in newest.items():
        state = world.engine.state(partition_for(user.encode(), PARTITIONS))
        seen = {entry.item for entry in state.known(user).history.entries()}
        assert items == tuple(f"p{n}" for n in range(12) if f"p{n}" not in seen)
    world.close()


def test_a_table_that_was_deleted_comes_back_from_the_changelog(world):
    world.feed([single(each) for each in some_events(100)])
    table = world.table()

    world.rows = MemoryRows()
    world.recover()
    world.feed([])

    assert world.table() == table


def test_a_lost_changelog_and_table_come_back_from_the_interactions(world):
    world.feed([single(each) for each in some_events(100)])
    table = world.table()

    world.rows = MemoryRows()
    world.engine = world.new_engine()
    committed = world.log.committed(GROUP)
    for partition in range(PARTITIONS):
        world.engine.recall(partition, committed[TopicPartition(INTERACTIONS, partition)])

    assert world.table() == table


def test_a_gap_before_the_delivered_records_is_read_from_the_log(world):
    world.log.append([single(each) for each in some_events(60)])
    table = expected_table(world.log.path.parent / "calm", [])
    for partition in range(PARTITIONS):
        newest = world.read(INTERACTIONS, partition)[-3:]
        world.engine.ingest(newest)

    assert table == {}
    for partition in range(PARTITIONS):
        assert world.engine.state(partition).next_offset == world.log.high_watermark(
            INTERACTIONS, partition
        )
    assert world.engine.status.events == 60


def test_another_workers_partition_is_left_alone(world):
    def fenced(_records, _offsets):
        raise LogFenced("another has it")

    world.log.append([single(each) for each in some_events(20)])
    world.engine = world.new_engine(append=fenced)
    with pytest.raises(LogFenced):
        world.run()

    assert world.rows.rows == {}


def test_nothing_is_forgotten_when_the_log_can_not_be_written(world):
    records = [single(each) for each in some_events(50)]
    world.log.append(records)

    def unavailable(_works):
        raise LogUnavailable("disk full")

    append, world.engine._append = world.engine._append, unavailable
    with pytest.raises(LogUnavailable):
        world.run()
    world.engine._append = append
    world.run()

    assert world.table() == expected_table(world.log.path.parent / "calm", records)


def test_groups_of_all_partitions_wait_for_the_disk_once_and_one_refused_leaves_the_others_alone(
    world, tmp_path_factory
):
    world.engine.adopt(generation())
    records = [single(each) for each in some_events(60)]
    world.log.append(records)
    calls = []

    def append_all(works):
        calls.append([dict(offsets) for _, offsets in works])
        if len(calls) == 1:
            return [LogFenced("another's"), world.append(*works[1])]
        return [world.append(*work) for work in works]

    world.engine = world.new_engine()
    world.engine._append = append_all
    world.engine.adopt(generation())
    groups = [world.read(INTERACTIONS, partition) for partition in range(PARTITIONS)]

    refused = world.engine.ingest_all(groups)

    assert [str(each) for each in refused] == ["another's", "None"]
    committed = world.log.committed(GROUP)
    assert committed == {TopicPartition(INTERACTIONS, 1): len(groups[1])}
    assert world.rows.rows.keys() == {1}

    assert world.engine.ingest_all(groups) == [None, None]
    assert [len(call) for call in calls] == [2, 1]
    expected = World(tmp_path_factory.mktemp("expected"))
    expected.engine.adopt(generation())
    expected.feed(records)
    assert world.table() == expected.table()
    assert world.newest_lists() == expected.newest_lists()
    assert [each.rec_id for each in world.lists()] == [each.rec_id for each in expected.lists()]
    expected.close()


# Lists


def test_a_list_follows_its_event_in_the_same_append(world):
    world.engine.adopt(generation())

    world.feed([single(event(1, "u1", "p0"))])

    (listed,) = world.lists()
    assert [each.item for each in listed.items] == [f"p{n}" for n in range(1, 12)]
    assert (listed.generation, listed.delta, listed.source) == (1, 0, "popular")
    assert listed.as_of.offset == 0
    assert listed.lineage.event_id == "e1"
    assert listed.lineage.appended_ts == NOW_MS


def test_a_list_is_published_only_when_it_changed(world):
    world.engine.adopt(generation())

    world.feed([single(event(1, "u1", "p0")), single(event(2, "u1", "p0"))], step=1)
    world.feed([single(event(3, "u1", "p1"))])

    assert [each.lineage.event_id for each in world.lists()] == ["e1", "e3"]
    assert [each.was for each in world.lists()[1].items][:2] == [2, 3]


def test_the_same_list_derived_again_has_the_same_id(world, tmp_path_factory):
    other = World(tmp_path_factory.mktemp("other"))
    for each in (world, other):
        each.engine.adopt(generation())
        each.feed([single(event(1, "u1", "p0"))])

    assert world.lists()[0] == other.lists()[0]
    other.close()


def test_lists_wait_for_a_generation_and_are_made_when_it_comes(world):
    world.feed([single(event(1, "u1", "p0")), single(event(2, "u2", "p1"))])
    assert world.lists() == []

    world.engine.adopt(generation())
    assert world.engine.list_open(10) == 2

    assert set(world.newest_lists()) == {"u1", "u2"}
    assert world.engine.n_open == 0


def test_under_a_backlog_each_user_gets_one_list_of_the_newest_state(world):
    world.engine.adopt(generation())
    n_users = 2 * PARTITIONS * LIVE_USERS
    events = [event(n, f"u{n % n_users}", f"p{n // n_users}") for n in range(3 * n_users)]

    world.feed(envelope(events))
    assert world.lists() == []
    while world.engine.list_open(50):
        pass

    assert len(world.lists()) == n_users
    assert set(world.newest_lists().values()) == {tuple(f"p{n}" for n in range(3, 12))}


def test_lists_that_waited_when_the_worker_died_are_made_by_the_next(world):
    world.feed([single(each) for each in some_events(40)])

    world.recover()
    world.engine.adopt(generation())
    for partition in range(PARTITIONS):
        world.engine.state(partition)
    world.engine.list_open(1000)

    assert set(world.newest_lists()) == {k.decode() for k in world.table() if b"\0" not in k}
    world.recover()
    for partition in range(PARTITIONS):
        assert world.engine.state(partition).open_lists == {}


def test_users_seen_lately_are_refreshed_after_a_new_generation(world):
    world.engine.adopt(generation(1))
    world.feed([single(event(1, "u1", "p0")), single(event(2, "u2", "p1"))])

    world.engine.adopt(generation(2, bias=np.arange(12)))
    while world.engine.refresh(1):
        pass

    assert {user: items[0] for user, items in world.newest_lists().items()} == {
        "u1": "p11",
        "u2": "p11",
    }
    assert {each.generation for each in world.lists()[-1:]} == {2}


def test_a_new_worker_remembers_who_was_seen_lately(world):
    world.engine.adopt(generation(1))
    world.feed([single(event(1, "u1", "p0"))])

    world.recover()
    partition = partition_for(b"u1", PARTITIONS)
    world.engine.recall(partition, 0)
    world.engine.adopt(generation(2))

    assert world.engine.n_to_refresh == 1


def test_a_delta_moves_the_lists_that_follow(world):
    world.engine.adopt(generation())
    moved = DeltaAnnounced(
        generation=1, delta=1, offsets={}, items=("p11", "new"), factors=b"",
        bias=np.array([9.0, 8.0], np.float32).tobytes(),
        counts=np.zeros(2, np.int32).tobytes(), created_ts=0,
    )  # fmt: skip

    world.engine.move(moved)
    world.feed([single(event(1, "u1", "p0"))])

    (listed,) = world.lists()
    assert [each.item for each in listed.items][:3] == ["p11", "new", "p1"]
    assert (listed.generation, listed.delta) == (1, 1)


# Rules


def test_events_are_folded_by_the_rules_that_held_at_their_offset(world):
    user = "u1"
    partition = partition_for(user.encode(), PARTITIONS)
    world.timeline.add(
        5,
        RulesAdopted(
            partition=partition, from_offset=1, weights=Weights(view=7.0), half_life_ms=1e12,
            list_size=2, adopted_ts=0,
        ),
    )  # fmt: skip
    world.engine.adopt(generation())

    world.feed([single(event(1, user, "p0")), single(event(2, user, "p1"))])

    known = world.engine.state(partition).known(user).history
    assert [known.find(item).weight for item in ("p0", "p1")] == [1.0, 7.0]
    assert len(world.lists()[-1].items) == 2
    assert world.lists()[-1].control == 5
    assert isinstance(world.timeline, RulesTimeline)


# Bad input


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
    world.engine.adopt(generation())

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

    world.engine.ingest(world.read(INTERACTIONS, partition))

    assert len(world.letters()) == 1


def test_the_newest_event_time_is_bounded_by_the_records_own(world):
    late = from_timestamp_ms(NOW_MS + 23 * 3600 * 1000)

    world.feed([single(msgspec.structs.replace(event(1, "u1", "p0"), ts=late))])

    assert world.letters() == []
    assert world.log.high_watermark(RECOMMENDATIONS, 0) == 0
    assert world.log.high_watermark(CHANGELOG, partition_for(b"u1", PARTITIONS)) > 0
