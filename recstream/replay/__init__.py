"""Replay: state, lists and generations derived again from the log, and compared."""

from __future__ import annotations

from recstream.replay.ranges import parse_ranges
from recstream.replay.run import Progress, ReplayPlan, Report, play, replay
from recstream.replay.slices import Slice, export

__all__ = ["Progress", "ReplayPlan", "Report", "Slice", "export", "parse_ranges", "play", "replay"]
