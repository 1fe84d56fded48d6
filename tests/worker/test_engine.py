"""Effects once: repeated, lost or cut deliveries give the same tables and lists."""

import contextlib

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from recstream.control import new_control_record
from recstream.core.records import ForgetRequested, Forgotten
from recstream.errors import BeyondHorizon, LogFenced, LogRecreated, LogUnavailable
from recstream.log.partitioner import partition_for
from recstream.log.port import TopicPartition
from recstream.log.topics import INTERACTIONS
from recstream.worker.forget import Forgetter
from tests.worker.memory import MemoryRows, ingest
from tests.worker.worker_world import (
    GROUP,
    NOW_MS,
    PARTITIONS,
    SETTINGS,
    World,
    envelope,
    generation,
    single,
    some_events,
)


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
        ours = world.engine.state(partition_for(user, PARTITIONS)).user(user.decode()).history
        theirs = other.engine.state(partition_for(user, PARTITIONS)).user(user.decode()).history
        assert {e.item: (e.weight, e.at_ms) for e in ours.entries()} == {
            e.item: (e.weight, e.at_ms) for e in theirs.entries()
        }
    other.close()


def test_the_changelog_is_the_table(world):
    world.engine.activate(generation())
    world.feed([single(each) for each in some_events(200)], step=11)

    assert world.changelog_table() == world.rows.rows


def test_everything_delivered_again_changes_nothing(world):
    world.engine.activate(generation())
    world.feed([single(each) for each in some_events(200)])
    table, n_lists = world.table(), len(world.lists())

    for partition in range(PARTITIONS):
        ingest(world.engine, world.read(INTERACTIONS, partition))

    assert world.table() == table
    assert len(world.lists()) == n_lists


class Trouble(Exception):
    """A crash at a chosen step."""


def test_an_error_of_one_partition_moves_no_other_past_events_that_are_not_committed(
    world, tmp_path_factory, monkeypatch
):
    records = [single(each) for each in some_events(60)]
    world.engine.activate(generation())
    world.log.append(records)
    first, second = (world.read(INTERACTIONS, partition) for partition in range(2))
    get = world.rows.get

    def fail(partition, key):
        if partition == second[0].partition:
            raise Trouble
        return get(partition, key)

    monkeypatch.setattr(world.rows, "get", fail)
    with pytest.raises(Trouble):
        world.engine.ingest([first, second])
    while world.engine.n_pending:
        world.engine.list_pending(100)
    monkeypatch.undo()
    world.recover()
    world.run()

    assert world.table() == expected_table(tmp_path_factory.mktemp("calm"), records)


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


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        world.engine.activate(generation())
        with contextlib.suppress(Trouble):
            world.run(step=step)
        world.recover()
    world.engine.activate(generation())
    world.run(step=step)
    world.engine.list_pending(1000)

    assert world.table() == expected
    assert world.changelog_table() == world.rows.rows
    newest = world.newest_lists()
    assert set(newest) == {key.decode() for key in expected if b"\0" not in key}
    for user, items in newest.items():
        state = world.engine.state(partition_for(user.encode(), PARTITIONS))
        seen = {entry.item for entry in state.user(user).history.entries()}
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
    for partition in range(PARTITIONS):
        world.engine.assign(partition)

    assert world.table() == table


def test_a_gap_before_the_delivered_records_is_read_from_the_log(world):
    world.log.append([single(each) for each in some_events(60)])
    table = expected_table(world.log.path.parent / "calm", [])
    for partition in range(PARTITIONS):
        newest = world.read(INTERACTIONS, partition)[-3:]
        ingest(world.engine, newest)

    assert table == {}
    for partition in range(PARTITIONS):
        assert world.engine.state(partition).next_offset == world.log.high_watermark(
            INTERACTIONS, partition
        )
    assert world.engine.status.events == 60


@pytest.mark.parametrize("keeps_table", [True, False])
def test_a_rebuild_refuses_where_events_in_between_were_pruned(world, keeps_table):
    world.feed([single(each) for each in some_events(200)])
    offsets = {
        TopicPartition(INTERACTIONS, p): world.log.high_watermark(INTERACTIONS, p) + 20
        for p in range(PARTITIONS)
    }
    world.log.append([single(each) for each in some_events(200, seed=5)])
    world.log.append([], group=GROUP, offsets=offsets)  # as if a lost table had folded them
    for partition in range(PARTITIONS):
        world.log.delete_before(INTERACTIONS, partition, offsets[INTERACTIONS, partition] - 10)
    if not keeps_table:
        world.rows.rows.clear()
    engine = world.new_engine()

    with pytest.raises(BeyondHorizon, match="were pruned"):
        engine.assign(0)


def test_a_table_with_more_events_than_the_log_is_refused_by_name(world, tmp_path_factory):
    world.feed([single(each) for each in some_events(200)])
    again = World(tmp_path_factory.mktemp("again"))  # the topic was deleted and made again
    again.rows = world.rows
    again.feed([])
    engine = again.new_engine()
    n_folded = world.log.high_watermark(INTERACTIONS, 0)

    with pytest.raises(LogRecreated, match="another app_id") as refused:
        engine.assign(0)
    assert f"up to offset {n_folded - 1}," in str(refused.value)
    assert "ends before offset 0:" in str(refused.value)
    again.close()


def test_a_new_worker_starts_where_a_log_that_never_had_one_begins(world):
    world.log.append([single(each) for each in some_events(200)])
    world.log.delete_before(INTERACTIONS, 0, 30)
    engine = world.new_engine()

    engine.assign(0)
    ingest(engine, world.log.read(INTERACTIONS, 0, 30))

    assert engine.state(0).next_offset == world.log.high_watermark(INTERACTIONS, 0)


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

    engine = world.engine
    append, engine._append = engine._append, unavailable
    with pytest.raises(LogUnavailable):
        world.run()
    engine._append = append
    world.run()

    assert world.table() == expected_table(world.log.path.parent / "calm", records)


def test_groups_of_all_partitions_wait_for_the_disk_once_and_one_refused_leaves_the_others_alone(
    world, tmp_path_factory
):
    world.engine.activate(generation())
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
    world.engine.activate(generation())
    groups = [world.read(INTERACTIONS, partition) for partition in range(PARTITIONS)]

    refused = world.engine.ingest(groups)

    assert [str(each) for each in refused] == ["another's", "None"]
    committed = world.log.committed(GROUP)
    assert committed == {TopicPartition(INTERACTIONS, 1): len(groups[1])}
    assert world.rows.rows.keys() == {1}

    assert world.engine.ingest(groups) == [None, None]
    assert [len(call) for call in calls] == [2, 1]
    expected = World(tmp_path_factory.mktemp("expected"))
    expected.engine.activate(generation())
    expected.feed(records)
    assert world.table() == expected.table()
    assert world.newest_lists() == expected.newest_lists()
    assert [each.rec_id for each in world.lists()] == [each.rec_id for each in expected.lists()]
    expected.close()


def test_copies_with_erased_rows_are_named_until_they_are_scrubbed_whatever_fails_between(
    world, monkeypatch
):
    forgetter = Forgetter(world.log, world.engine, SETTINGS, lambda: NOW_MS)
    forgetter.begin({0})
    here = next(f"u{n}" for n in range(9) if partition_for(f"u{n}".encode(), PARTITIONS) == 0)
    elsewhere = Forgotten(id="other", partition=1, at_offset=0, forgotten_ts=NOW_MS)
    mine = ForgetRequested(id="mine", user=here, requested_ts=NOW_MS)
    world.log.append([new_control_record(elsewhere), new_control_record(mine)])

    def refuse(_: object) -> None:
        raise LogFenced("another worker has it")

    with monkeypatch.context() as patched:
        patched.setattr(world.engine, "forget", refuse)
        with pytest.raises(LogFenced):
            forgetter.begin({0})

    forgetter.begin({0})

    assert forgetter.copies == {1}
