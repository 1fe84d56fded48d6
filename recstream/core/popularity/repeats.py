"""Steps 4–8 of the flow: how often users come back to what they had, as a bonus of their own items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.core.numeric.jit import compiled

__all__ = ["REPEAT_BINS", "RepeatTable", "count_repeats", "repeat_bonus", "repeat_probability"]

REPEAT_BINS = (4, 12)
"""Cells of `RepeatTable`."""
# A new table starts from one return in so many chances, and a cell from so many like the rest.
_PSEUDO = 1000.0
_DRAW = 50.0


@dataclass(frozen=True)
class RepeatTable:
    """How often users come back to an item, by how often and how long ago they did it.

    Attributes
    ----------
    hits, chances : (4, 12) float64
        Events that were such a return, and times that it could have been one: rows are 1, 2,
        3–4 and more events before, columns the logarithm (base 2) of the user's events since.
    """

    hits: Float64s
    chances: Float64s

    @classmethod
    def empty(cls) -> RepeatTable:
        """Return a table that has seen nothing."""
        return cls(np.zeros(REPEAT_BINS), np.zeros(REPEAT_BINS))

    def observe(self, counts: Int64s, ages: Int64s, came: int) -> RepeatTable:
        """Return the table after one event.

        Parameters
        ----------
        counts, ages : (n,) int64
            Of each entry of the user's history: events, and events of the user since the last.
        came : int
            Place in the history of the item that came; -1 if it is new to the user.
        """
        hits, chances = self.hits.copy(), self.chances.copy()
        count_repeats(hits, chances, counts, ages, came)
        return RepeatTable(hits, chances)

    def probability(self, counts: Int64s, ages: Int64s) -> Float64s:
        """Return, for each entry of a history, the chance that it comes next."""
        out = np.empty(len(counts))
        for place in range(len(counts)):
            out[place] = repeat_probability(self.hits, self.chances, counts[place], ages[place])
        return out


def repeat_bonus(prior: Float64s, probability: Float64s, beta: float) -> Float32s:
    """Return what a user's habit adds to the bias of the items of the history.

    ``β log(1 + h_i / prior_i)``: the bias of popularity and habit together, less that of
    popularity.

    Parameters
    ----------
    prior : (n,) float64
        Of the history's items, as in `Popularity.prior`.
    probability : (n,) float64
        h, of `RepeatTable`.
    beta : float
    """
    return (beta * np.log1p(probability / prior)).astype(np.float32)


@compiled
def _bin(count: int, age: int) -> tuple[int, int]:
    """Return the cell of an entry."""
    row = 0 if count <= 1 else 1 if count == 2 else 2 if count <= 4 else 3  # noqa: PLR2004
    column = 0
    while age > 0 and column < REPEAT_BINS[1] - 1:
        age >>= 1
        column += 1
    return row, column


@compiled
def repeat_probability(hits: Float64s, chances: Float64s, count: int, age: int) -> float:
    """Return the chance of a cell, drawn towards that of all cells where it has seen little."""
    row, column = _bin(count, age)
    overall = (hits.sum() + 1.0) / (chances.sum() + _PSEUDO)
    return float((hits[row, column] + _DRAW * overall) / (chances[row, column] + _DRAW))


@compiled
def count_repeats(
    hits: Float64s, chances: Float64s, counts: Int64s, ages: Int64s, came: int
) -> None:
    """Count one event in a table of returns."""
    for place in range(len(counts)):
        row, column = _bin(counts[place], ages[place])
        chances[row, column] += 1.0
        if place == came:
            hits[row, column] += 1.0
