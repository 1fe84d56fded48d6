"""Item-item neighbours from behaviour: which items occur close to each other in histories."""

from __future__ import annotations

from recstream.core.neighbours.behaviour import (
    BEHAVIOUR_WEIGHT,
    WIDTH,
    Gathered,
    Neighbours,
    behaviour_of,
    gather,
    gather_all,
    parts,
    strengths,
)

__all__ = [
    "BEHAVIOUR_WEIGHT",
    "WIDTH",
    "Gathered",
    "Neighbours",
    "behaviour_of",
    "gather",
    "gather_all",
    "parts",
    "strengths",
]
