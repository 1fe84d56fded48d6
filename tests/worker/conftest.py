"""A world for each test of this folder."""

import pytest

from tests.worker.installation import Installation
from tests.worker.worker_world import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def installation(tmp_path):
    installation = Installation(tmp_path)
    yield installation
    installation.close()
