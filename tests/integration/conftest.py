"""Fixtures of the tests with real servers."""

import signal
from collections.abc import Iterator

import pytest

from tests.integration.roles import Role


@pytest.fixture
def roles() -> Iterator[list[Role]]:
    """A list to which a test adds the roles it starts; those that still run are killed at its end."""
    started: list[Role] = []
    yield started
    for role in started:
        if role.process.poll() is None:
            role.end(signal.SIGKILL)
