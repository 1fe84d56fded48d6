"""The terms of a score: the contribution of each history entry by source, and of popularity."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.generation import Generation
from recstream.core.history import Row
from recstream.core.numeric.arrays import Float64s, Int32s
from recstream.core.numeric.jit import compiled, interpretable
from recstream.core.numeric.neighbour_tables import (
    SeedRule,
    write_contributions,
    write_seed_weights,
)
from recstream.core.ranking.batch import NeighbourTable
from recstream.core.ranking.compiled_arm import neighbour_tables
from recstream.core.ranking.rank import DEFAULT_ARM
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
    seen: Row,
    generation: Generation,
    arm: Arm | None,
    rows: NDArray[np.int32],
    tables: tuple[NeighbourTable, NeighbourTable] | None = None,
) -> ScoreTerms:
    """Return the terms of the scores of some items, without boosts.

    Parameters
    ----------
    rows : (n,) int32
        The items.
    tables : tuple, optional
        The arm's `neighbour_tables`, where they are known.
    """
    columns, weights = seen
    arm = arm or DEFAULT_ARM
    blend = arm.blend or Blend()
    behaviour, content = neighbour_terms(
        columns,
        weights,
        generation.scoring.seeds,
        *(tables or neighbour_tables(generation, arm)),
        rows,
    )
    if generation.model is None or blend.factors <= 0.0 or not len(columns):
        factors = np.zeros(behaviour.shape)
    else:
        factors = blend.factors * generation.model.contributions(columns, weights, rows)
    prior = blend.popularity * generation.bias[rows].astype(np.float64)
    return ScoreTerms(columns, factors, behaviour, content, prior)


@interpretable
@compiled
def neighbour_terms(
    columns: Int32s,
    weights: NDArray[np.float32],
    rule: SeedRule,
    near: NeighbourTable,
    more: NeighbourTable,
    rows: Int32s,
) -> tuple[Float64s, Float64s]:
    """Return behaviour and content of `ScoreTerms`, (n, h) each.

    Parameters
    ----------
    columns, weights : (h,) int32, float32
        The user's row.
    near, more : NeighbourTable
        Content and behaviour neighbours; a table with gain 0 adds nothing.
    rows : (n,) int32
    """
    seeds = np.zeros(len(columns), np.float32)
    write_seed_weights(weights, rule, seeds)
    content, behaviour = np.zeros((len(rows), len(seeds))), np.zeros((len(rows), len(seeds)))
    if near.gain > 0.0:
        write_contributions(columns, seeds, near.rows, near.weights, near.gain, rows, content)
        if len(near.multiplier):
            for at in range(len(rows)):
                for entry in range(len(seeds)):
                    content[at, entry] *= np.float64(near.multiplier[rows[at]])
    if more.gain > 0.0:
        write_contributions(columns, seeds, more.rows, more.weights, more.gain, rows, behaviour)
    return behaviour, content
