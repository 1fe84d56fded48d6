"""The worlds of the replay's tests."""

from tests.replay.conftest import eventful, world

__all__ = ["eventful", "world"]
