"""The trainer's copy of all histories, read from the table's changelog."""

import math

import msgspec
import pytest

from recstream.core.history.table_rows import page_key
from recstream.log.partitioner import partition_for
from recstream.log.topics import INTERACTIONS
from recstream.trainer.histories.changelog import ChangelogFollower, Touch
from tests.trainer.trainer_world import follow, history_of, likes
from tests.worker.worker_world import CHANGELOG, PARTITIONS, event, single


def plain(history):
    """Return what training needs of a history."""
    entries = {
        each.item: (each.weight, each.at_ms, each.offset, each.n_events == 1)
        for each in history.entries()
    }
    return history.user, history.clock_ms, history.n_ids, history.n_items, entries


def everything(follower):
    return sorted(plain(history_of(follower, user)) for user in follower.histories.users)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_the_follower_has_the_histories_of_the_table(fed, step):
    follower = follow(fed, step=step, is_fresh=True)

    assert follower.n_events == 150
    assert follower.offsets == {
        p: fed.log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)
    }
    for partition in range(PARTITIONS):
        for user in follower.histories.users:
            known = fed.engine.state(partition).cache.get(user)
            if known is not None:
                assert plain(history_of(follower, user)) == plain(known.history)


def test_a_group_names_what_its_records_touched_in_their_order(world):
    follower = ChangelogFollower()
    partition = partition_for(b"u1", PARTITIONS)
    found = []
    for number, kind in enumerate(["view", "dislike", "view"]):
        start = world.log.high_watermark(CHANGELOG, partition)
        world.feed([single(event(number, "u1", f"p{number % 2}", kind))])
        found += follower.apply(world.log.read(CHANGELOG, partition, start))

    assert [group.users for group in found] == [("u1",)] * 3
    assert [group.touches for group in found] == [
        (Touch(0, "p0", "u1", is_positive=True),),
        (Touch(1, "p1", "u1", is_positive=False),),
        (Touch(2, "p0", "u1", is_positive=True),),
    ]


def test_the_follower_shows_nothing_of_a_group_before_it_is_closed(fed):
    records = fed.read(CHANGELOG, 0)
    follower = ChangelogFollower()

    follower.apply(records[:1])

    assert follower.histories.n_users == 0
    assert follower.offsets == {}


def test_the_follower_reads_a_compacted_changelog(fed):
    fed.feed([single(each) for each in likes(seed=1)], step=5)
    whole = follow(fed)

    compacted = ChangelogFollower()
    for partition in range(PARTITIONS):
        newest = {record.key: record for record in fed.read(CHANGELOG, partition)}
        compacted.apply(sorted(newest.values(), key=lambda record: record.offset))

    assert everything(compacted) == everything(whole)
    assert compacted.n_events == whole.n_events


@pytest.mark.parametrize(
    ("row", "at", "value"),
    [
        (b"u1", 3, 2**63),  # clock_ms
        (b"u1", 5, 2**64 - 1),  # n_ids
        (page_key(b"u1", 0), 1, math.nan),  # weight
        (page_key(b"u1", 0), 1, math.inf),
        (page_key(b"u1", 0), 1, -1.0),
        (page_key(b"u1", 0), 2, 2**63),  # at_ms
        (page_key(b"u1", 0), 5, 2**64 - 1),  # n_events
    ],
)
def test_a_row_with_a_number_out_of_range_loses_only_its_user(world, row, at, value):
    world.feed([single(event(0, "u1", "p1")), single(event(1, "u2", "p2"))])
    follower = ChangelogFollower()
    for partition in range(PARTITIONS):
        records = []
        for record in world.read(CHANGELOG, partition):
            if record.key == row:
                fields = msgspec.msgpack.decode(record.value)
                (fields if row == b"u1" else fields[0])[at] = value
                record = record._replace(value=msgspec.msgpack.encode(fields))  # noqa: PLW2901
            records.append(record)
        follower.apply(records)

    assert list(follower.histories.users) == ["u2"]
