"""The terms of a score: the contribution of each history entry by source, and of popularity."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.generation import Generation
from recstream.core.history import Row
from recstream.core.neighbours import neighbour_contributions, seed_weights
from recstream.core.ranking.rank import DEFAULT_ARM
from recstream.core.ranking.rerank import neighbour_tables_of
from recstream.core.steering import Arm, Blend


class ScoreTerms(NamedTuple):
    """The terms of the scores of n items for a history of h entries.

    Attributes
    ----------
    columns : (h,) int32
        Item rows of the entries.
    factors, behaviour, content : (n, h) float64
        Contribution of each entry, by source.
    popularity : (n,) float64
        Contribution of the items' priors.
    """

    columns: NDArray[np.int32]
    factors: NDArray[np.float64]
    behaviour: NDArray[np.float64]
    content: NDArray[np.float64]
    popularity: NDArray[np.float64]


def score_terms(
    seen: Row, generation: Generation, arm: Arm | None, rows: NDArray[np.int32]
) -> ScoreTerms:
    """Return the terms of the scores of some items, without boosts."""
    columns, weights = seen
    arm = arm or DEFAULT_ARM
    blend = arm.blend or Blend()
    by_table = {name: np.zeros((len(rows), len(columns))) for name in ("content", "behaviour")}
    factors = np.zeros((len(rows), len(columns)))
    if len(columns):
        tables = neighbour_tables_of(generation, arm)
        seeds = seed_weights(columns, weights) if tables else weights
        for name, (table, gain) in tables.items():
            by_table[name] = neighbour_contributions(columns, seeds, table, gain, rows)
        if len(multiplier := generation.content_multiplier):
            by_table["content"] *= multiplier[rows].astype(np.float64)[:, None]
        if generation.model is not None and blend.factors > 0.0:
            shares = generation.model.contributions(columns, weights, rows)
            factors = blend.factors * shares
    prior = blend.popularity * generation.bias[rows].astype(np.float64)
    return ScoreTerms(columns, factors, by_table["behaviour"], by_table["content"], prior)
