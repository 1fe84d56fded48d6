"""The steering document: rules, diversity and A/B arms as checked JSON."""

from __future__ import annotations

from recstream.core.steering.describe import describe_steering
from recstream.core.steering.document import (
    MAX_BYTES,
    Arm,
    AttributeTest,
    Blend,
    Boost,
    Condition,
    Diversity,
    Exclude,
    ImpressionFatigue,
    Pin,
    Range,
    Rule,
    Steering,
    as_texts,
)
from recstream.core.steering.validate import decode_steering

__all__ = [
    "MAX_BYTES",
    "Arm",
    "AttributeTest",
    "Blend",
    "Boost",
    "Condition",
    "Diversity",
    "Exclude",
    "ImpressionFatigue",
    "Pin",
    "Range",
    "Rule",
    "Steering",
    "as_texts",
    "decode_steering",
    "describe_steering",
]
