"""Bridges that a module's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bridge.bridge_world import SECRET, World, running


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
