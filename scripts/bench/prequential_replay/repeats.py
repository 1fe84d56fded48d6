"""Repeats: how often users come back to an item they had, as a bonus for items of their history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recstream.core.numeric.arrays import Float64s, Int64s
from recstream.core.numeric.jit import compiled, helper

__all__ = ["REPEAT_BINS", "RepeatTable", "count_repeats", "repeat_probability"]

REPEAT_BINS = (4, 12)
"""Shape of `RepeatTable`."""
# Priors: an empty table has one repeat in so many chances; a cell starts with so many chances of all cells.
_PSEUDO = 1000.0
_DRAW = 50.0


@dataclass(frozen=True)
class RepeatTable:
    """Repeats by the number of the user's events on the item, and by the events since the last one.

    Attributes
    ----------
    hits, chances : (4, 12) float64
        Events that were a repeat, and events that could have been one. Rows: 1, 2, 3–4 and more events
        before; columns: log2 of the user's events since.
    """

    hits: Float64s
    chances: Float64s

    @classmethod
    def empty(cls) -> RepeatTable:
        """Return a table without events."""
        return cls(np.zeros(REPEAT_BINS), np.zeros(REPEAT_BINS))

    def observe(self, counts: Int64s, ages: Int64s, came: int) -> RepeatTable:
        """Return the table after one event.

        Parameters
        ----------
        counts, ages : (n,) int64
            Of each entry of the history: its events, and the user's events since its last one.
        came : int
            Index in the history of the event's item; -1 if it is new to the user.
        """
        hits, chances = self.hits.copy(), self.chances.copy()
        count_repeats(hits, chances, counts, ages, came)
        return RepeatTable(hits, chances)

    def probability(self, counts: Int64s, ages: Int64s) -> Float64s:
        """Return the probability of each entry of a history to be repeated next."""
        out = np.empty(len(counts))
        for place in range(len(counts)):
            out[place] = repeat_probability(self.hits, self.chances, counts[place], ages[place])
        return out


@helper
def _bin(count: int, age: int) -> tuple[int, int]:
    """Return the cell of an entry."""
    row = 0 if count <= 1 else 1 if count == 2 else 2 if count <= 4 else 3
    column = 0
    while age > 0 and column < REPEAT_BINS[1] - 1:
        age >>= 1
        column += 1
    return row, column


@compiled
def repeat_probability(hits: Float64s, chances: Float64s, count: int, age: int) -> float:
    """Return the repeat probability of a cell, shrunk towards that of all cells."""
    row, column = _bin(count, age)
    overall = (hits.sum() + 1.0) / (chances.sum() + _PSEUDO)
    return float((hits[row, column] + _DRAW * overall) / (chances[row, column] + _DRAW))


@compiled
def count_repeats(
    hits: Float64s, chances: Float64s, counts: Int64s, ages: Int64s, came: int
) -> None:
    """Count one event in a table of repeats."""
    for place in range(len(counts)):
        row, column = _bin(counts[place], ages[place])
        chances[row, column] += 1.0
        if place == came:
            hits[row, column] += 1.0
