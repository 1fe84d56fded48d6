"""Dislikes push away similar items: each disliked item lowers the scores of its nearest neighbours.

The term of a neighbour is ``strength · typical score · similarity``. It is added to the bias of the
user's search, so that lists stay the exact best items.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recstream.core.events import EVENT_TYPES
from recstream.core.generation import Generation
from recstream.core.history import History
from recstream.core.numeric.arrays import Float64s, Int32s
from recstream.core.steering import Arm

MAX_DISLIKED = 16
"""Newest disliked items of a user that count."""
_DISLIKE = EVENT_TYPES.index("dislike")


class Push(NamedTuple):
    """What a disliked item takes from its neighbours' scores.

    Attributes
    ----------
    item : str
        The disliked one.
    rows : (k,) int32
        Its neighbours.
    amounts : (k,) float64
        Subtracted from their scores.
    """

    item: str
    rows: Int32s
    amounts: Float64s


def pushes_of(history: History, generation: Generation, arm: Arm) -> tuple[Push, ...]:
    """Return what a user's disliked items take from similar ones, the newest dislikes first."""
    if arm.dislikes is None or not arm.dislikes.strength:
        return ()
    disliked = [entry for entry in history.entries() if entry.kind == _DISLIKE]
    disliked.sort(key=lambda entry: (-entry.offset, entry.item))
    unit = arm.dislikes.strength * generation.scoring.popularity_unit
    found = []
    for entry in disliked[:MAX_DISLIKED]:
        row = generation.rows.get(entry.item)
        if row is not None:
            similarity: dict[int, float] = {}
            for table in (generation.behaviour, generation.content):
                for near, weight in zip(*(each.tolist() for each in table.of(row)), strict=True):
                    similarity[near] = min(1.0, similarity.get(near, 0.0) + weight)
            rows = np.array(sorted(similarity), np.int32)
            amounts = unit * np.array([similarity[near] for near in sorted(similarity)])
            found.append(Push(entry.item, rows, amounts))
    return tuple(found)


def subtract_pushes(bias: Float64s, pushes: Sequence[Push]) -> None:
    """Subtract pushes from biases, in place."""
    for push in pushes:
        bias[push.rows] -= push.amounts
