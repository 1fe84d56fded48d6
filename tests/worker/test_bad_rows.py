"""Table rows that no decoder can read are made again from the log, and stop nobody."""

import pytest

from recstream.control import submit
from recstream.core.history.table_rows import APPLIED_KEY, chunk_key, list_key, page_key
from recstream.core.records import ForgetRequested
from recstream.errors import BeyondHorizon
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS
from tests.worker.worker_world import (
    CHANGELOG,
    GROUP,
    PARTITIONS,
    World,
    event,
    generation,
    single,
    some_events,
)

USER = "u1"
PARTITION = partition_for(USER.encode(), PARTITIONS)
ROWS = {
    "header": USER.encode(),
    "page": page_key(USER.encode(), 0),
    "chunk of ids": chunk_key(USER.encode(), 0),
    "list": list_key(USER.encode()),
    "position": APPLIED_KEY,
}
GARBAGE = [b"", b"\xff" * 40, b"\x93\xa1a\x02\x03", b"[]"]
EVENTS = [*some_events(60), *(event(1000 + number, USER, f"p{number % 3}") for number in range(80))]
MORE = event(5000, USER, "p5")


def calm(path) -> World:
    world = World(path)
    world.engine.activate(generation())
    feed(world, EVENTS)
    return world


def feed(world: World, events) -> None:
    world.feed([single(each) for each in events])
    while world.engine.n_pending:
        world.engine.list_pending(64)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_can_not_be_read_is_made_again_with_the_next_event(
    tmp_path, caplog, row, garbage
):
    world, expected = calm(tmp_path / "damaged"), calm(tmp_path / "calm")
    assert ROWS[row] in world.rows.rows[PARTITION]
    # In the log too, as after a recovery from the changelog.
    world.log.append([NewRecord(CHANGELOG, ROWS[row], garbage, PARTITION)])
    world.recover()
    world.engine.activate(generation())

    for each in (world, expected):
        feed(each, [MORE])

    assert "can't be read" in caplog.text
    assert world.table() == expected.table()
    assert world.newest_lists() == expected.newest_lists()
    assert {k: v for k, v in world.changelog_table()[PARTITION].items() if k in ROWS.values()} == {
        k: v for k, v in expected.changelog_table()[PARTITION].items() if k in ROWS.values()
    }
    world.close()
    expected.close()


def test_the_first_event_after_an_erasure_that_is_not_finished_counts(tmp_path):
    worlds = calm(tmp_path / "damaged"), calm(tmp_path / "calm")
    for world in worlds:
        request = ForgetRequested(id="f", user=USER, requested_ts=0)
        submit(world.log, request)
        forgotten = world.engine.forget(request)
        feed(world, [MORE])
        assert world.log.high_watermark(INTERACTIONS, PARTITION) == forgotten.at_offset + 1
    damaged, expected = worlds
    damaged.rows.rows[PARTITION][ROWS["page"]] = b"\xff"
    damaged.engine = damaged.new_engine()
    damaged.engine.activate(generation())

    for world in worlds:
        feed(world, [event(5001, USER, "p6")])

    assert damaged.table() == expected.table()
    for world in worlds:
        world.close()


def test_a_list_is_made_for_a_user_whose_rows_can_not_be_read(tmp_path):
    world, expected = calm(tmp_path / "damaged"), calm(tmp_path / "calm")
    world.rows.rows[PARTITION][ROWS["header"]] = b"\xff"
    world.engine = world.new_engine()

    for each in (world, expected):
        each.engine.activate(generation(2))
        each.run()
        each.engine.assign(PARTITION)
        while each.engine.n_to_refresh:
            each.engine.refresh(64)

    assert world.newest_lists()[USER] == expected.newest_lists()[USER]
    world.close()
    expected.close()


def test_users_whose_lists_waited_are_listed_when_the_position_can_not_be_read(tmp_path):
    world = World(tmp_path)
    world.feed([single(each) for each in EVENTS])  # no generation: every list waits
    for partition in range(PARTITIONS):
        world.rows.rows[partition][APPLIED_KEY] = b"\xff"
    world.engine = world.new_engine()
    for partition in range(PARTITIONS):
        world.engine.assign(partition)
    world.engine.activate(generation())
    while world.engine.n_pending:
        world.engine.list_pending(64)

    assert set(world.newest_lists()) == {each.user for each in EVENTS}
    world.close()


def test_a_history_that_the_log_can_not_give_again_is_not_made_of_a_part(tmp_path):
    world = calm(tmp_path)
    world.rows.rows[PARTITION][ROWS["header"]] = b"\xff"
    world.engine = world.new_engine()
    world.log.delete_before(INTERACTIONS, PARTITION, 5)
    committed = world.log.committed(GROUP)

    with pytest.raises(BeyondHorizon, match="delete the partition's folder"):
        world.feed([single(MORE)])

    at = TopicPartition(INTERACTIONS, PARTITION)
    assert world.log.committed(GROUP)[at] == committed[at]
    world.close()
