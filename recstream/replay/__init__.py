"""Replay: derive state, lists and generations from the log again, and compare them byte for byte.

In: a log or an exported slice, a model store, a plan. Out: a report of what differs.
"""

from __future__ import annotations

from recstream.replay.ranges import parse_ranges
from recstream.replay.run import Progress, ReplayPlan, Report, play, replay
from recstream.replay.slices import Slice, export

__all__ = ["Progress", "ReplayPlan", "Report", "Slice", "export", "parse_ranges", "play", "replay"]
