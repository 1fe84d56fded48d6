"""The control topic: settings that change what is recommended, read as a timeline."""

from __future__ import annotations

from recstream.control.steering_feed import NEVER_SET, ActiveSteering, SteeringFeed
from recstream.control.timeline import control_records, read_timeline

__all__ = ["NEVER_SET", "ActiveSteering", "SteeringFeed", "control_records", "read_timeline"]
