"""A worker whose newest artifact is lost serves an older generation without what was withdrawn since."""

from pathlib import Path

import msgspec
import pytest

from recstream.analysis.slices import Slice
from recstream.control.reader import read_timeline
from recstream.core.records import DeltaAnnounced, decode_recommendations
from recstream.log import MODELS, NewRecord
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from recstream.models import ModelFeed
from recstream.replay.verify import verify_partition
from recstream.time_travel.generations import Generations
from tests.replay.world import ITEMS, World, export_slice

WITHDRAWN, LATER = ITEMS[4], ITEMS[6]


def withdraw(world: World, number: int, delta: int, item: str) -> None:
    found = DeltaAnnounced(
        generation=number, delta=delta, offsets={}, items=(), factors=b"", bias=b"", counts=b"",
        created_ts=0, catalogue={item: None},
    )  # fmt: skip
    world.log.append([NewRecord(MODELS, b"delta", msgspec.json.encode(found), 0)])


def lists_of(log, partitions):
    return [
        decode_recommendations(record.value or b"")
        for partition in range(partitions)
        for record in log.read(RECOMMENDATIONS, partition, 0, 10_000)
    ]


def differences(log, store, partitions):
    generations, timeline = Generations(log, store), read_timeline(log)
    return [
        verify_partition(log, generations, timeline, partition).differences
        for partition in range(partitions)
    ]


@pytest.fixture
def fallen_back(tmp_path: Path) -> World:
    """A worker that starts after the artifact of generation 2 was lost, and follows the models topic."""
    world = World(tmp_path)
    world.browse(60)
    world.train()
    world.train()
    withdraw(world, 1, 1, WITHDRAWN)
    world.store.delete(world._announced.artifact)
    world.browse(40, seed=2)
    world.engine = world.worker()
    feed = ModelFeed(world.log, world.store)
    world.engine.activate(feed.newest())
    world.work()
    withdraw(world, 1, 2, LATER)
    for step in feed.poll(0.0):
        world.engine.apply_delta(step)
    world.browse(40, seed=3)
    world.work()
    return world


def test_what_was_withdrawn_since_stays_out_of_lists_and_they_verify(fallen_back: World) -> None:
    lists = [each for each in lists_of(fallen_back.log, 2) if each.followed is not None]

    assert {each.generation for each in lists} == {0}
    assert {each.followed for each in lists} == {(1, 1), (1, 2)}
    listed = {each.followed: set() for each in lists}
    for each in lists:
        listed[each.followed] |= {entry.item for entry in each.items}
    assert WITHDRAWN not in listed[1, 1] | listed[1, 2]
    assert LATER in listed[1, 1]
    assert LATER not in listed[1, 2]
    assert differences(fallen_back.log, fallen_back.store, 2) == [(), ()]


def test_a_slice_of_such_lists_verifies(fallen_back: World, tmp_path: Path) -> None:
    path = tmp_path / "slice.zip"
    ends = {at: (0, fallen_back.log.high_watermark(INTERACTIONS, at)) for at in range(2)}
    export_slice(fallen_back, ends, path)

    assert differences(Slice(path), Slice(path), 2) == [(), ()]


def test_an_artifact_that_comes_back_is_served_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.browse(60)
    world.train()
    world.train()
    name = world._announced.artifact
    content = world.store.get(name)
    world.store.delete(name)
    feed = ModelFeed(world.log, world.store)
    assert feed.newest().number == 0
    assert feed.poll(0.0) == []

    world.store.put(name, content)
    feed._next_try = 0.0
    (found,) = feed.poll(0.0)

    assert found.number == 1
