"""Item-item neighbours: which items occur close to each other in histories.

In: (user, item, time) entries. Out: a `Neighbours` table, and the scores a history gets from it.
"""

from recstream.core.neighbours.behaviour import (
    BEHAVIOUR_VERSION,
    BEHAVIOUR_WEIGHT,
    Neighbours,
    NeighbourScores,
    behaviour_lists,
    fit_behaviour,
    gather,
    seed_weights,
)
from recstream.core.neighbours.co_occurrence import WINDOW
from recstream.core.numeric.neighbour_tables import WIDTH, SeedRule
