"""A world for each test of this folder, fed or with trainers."""

import pytest

from tests.trainer.trainer_world import Place, likes
from tests.worker.worker_world import World, single


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def fed(world):
    world.feed([single(each) for each in likes()], step=7)
    return world


@pytest.fixture
def place(world, tmp_path):
    return Place(world, tmp_path)
