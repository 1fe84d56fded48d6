"""Bridges that a module's tests share."""

from collections.abc import Iterator

import pytest

from recstream.bridge.server import Bridge
from recstream.core.records import decode_recommendations
from recstream.log.partitioner import partition_for
from recstream.log.topics import RECOMMENDATIONS
from recstream.settings import Settings
from tests.bridge.bridge_world import SECRET, Clock, World, running
from tests.replay.world import World as Installation

USER = "u3"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An open bridge on loopback; tests of a module share it and use users of their own."""
    with running(tmp_path_factory.mktemp("bridge")) as world:
        yield world


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A bridge with a secret."""
    folder = tmp_path_factory.mktemp("guarded")
    with running(folder, secret=SECRET, allowed_origins=("https://shop.test",)) as world:
        yield world


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """A bridge over a log in which things happened; and the lists that USER had."""
    folder = tmp_path_factory.mktemp("past")
    installation = Installation(folder)
    installation.browse(40, seed=1)
    installation.train()
    installation.work()
    installation.browse(40, seed=2)
    installation.work(group=2)
    partition = partition_for(USER.encode(), 2)
    lists = [
        decode_recommendations(each.value)
        for each in installation.records(RECOMMENDATIONS, partition)
        if each.key == USER.encode()
    ]
    installation.close()
    clock = Clock()
    settings = Settings(data_dir=str(folder), partitions=2, list_size=5, port=0)
    with Bridge(settings, now=clock) as bridge:
        yield World(bridge, bridge.deps.log, clock), lists
