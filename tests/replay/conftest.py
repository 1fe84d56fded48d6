"""A world in which things happened."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.replay.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A log with nothing in it."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def eventful(world: World) -> World:
    """A log with two generations, a delta, changed rules, and lists of all kinds."""
    world.browse(20, seed=7)
    world.train(factors=False)
    world.browse(60, seed=1)
    world.work()
    world.train()
    world.browse(40, seed=2)
    world.work()
    world.move("i03", [0.5, -0.25, 0.125, 1.0], 0.75)
    world.do("u1", "i05", "dislike")
    world.do("u2", "i04", "remove")
    world.browse(30, seed=3)
    world.work(group=3)
    world.train()
    world.work()
    return world
