"""The steering document: rules, diversity and A/B arms as checked JSON."""

from __future__ import annotations

from recstream.core.steering.describe import in_words
from recstream.core.steering.document import (
    MAX_BYTES,
    Arm,
    Blend,
    Boost,
    Condition,
    Diversity,
    Exclude,
    Pin,
    Rotation,
    Rule,
    Span,
    Steering,
    Test,
    texts_of,
)
from recstream.core.steering.validate import decode

__all__ = [
    "MAX_BYTES",
    "Arm",
    "Blend",
    "Boost",
    "Condition",
    "Diversity",
    "Exclude",
    "Pin",
    "Rotation",
    "Rule",
    "Span",
    "Steering",
    "Test",
    "decode",
    "in_words",
    "texts_of",
]
