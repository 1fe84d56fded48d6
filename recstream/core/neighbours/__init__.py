"""Item-item neighbours from behaviour: which items occur close to each other in histories."""

from __future__ import annotations

from recstream.core.neighbours.behaviour import (
    BEHAVIOUR_WEIGHT,
    WIDTH,
    Neighbours,
    NeighbourScores,
    fit_behaviour,
    gather,
    gather_all,
    neighbour_contributions,
    seed_weights,
)

__all__ = [
    "BEHAVIOUR_WEIGHT",
    "WIDTH",
    "NeighbourScores",
    "Neighbours",
    "fit_behaviour",
    "gather",
    "gather_all",
    "neighbour_contributions",
    "seed_weights",
]
