"""Replay: state, lists and generations derived again from the log, and compared."""

from __future__ import annotations

from recstream.replay.ranges import ranges_of
from recstream.replay.run import Plan, Progress, Report, play, replay
from recstream.replay.slices import Slice, export

__all__ = ["Plan", "Progress", "Report", "Slice", "export", "play", "ranges_of", "replay"]
