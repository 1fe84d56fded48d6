"""The worlds of the trainer's tests."""

from tests.trainer.conftest import fed, place, world

__all__ = ["fed", "place", "world"]
