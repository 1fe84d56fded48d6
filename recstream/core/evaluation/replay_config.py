"""Beside the flow: all choices behind the scores that a replay ranks by, and what it chooses among.

`recstream.core.evaluation.prequential` replays by a recipe, `recstream.core.evaluation.search` looks for a better one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from recstream.core.als import Proportions
from recstream.core.popularity import HALF_LIVES

__all__ = ["BEHAVIOUR_WEIGHTS", "BETAS", "Recipe"]

BETAS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 1e4)
"""Worths of popularity to choose from, in units of `typical_score`: from none to nothing else."""
BEHAVIOUR_WEIGHTS = (0.0, 2.0, 5.0, 10.0, 20.0)
"""Worths of behaviour neighbours to choose from, in the same units."""


@dataclass(frozen=True)
class Recipe:
    """All choices behind a score.

    Attributes
    ----------
    n_factors, iterations : int
    proportions : Proportions
        The objective; its numbers follow the size of the data at each training.
    history_half_life : float
        In events of the same user; infinity keeps every entry at its full weight.
    half_lives : tuple of float
        Memories of popularity, in events.
    betas : tuple of float
        Worths of popularity to choose from.
    repeat : bool
        Whether seen items may be recommended again.
    behaviour_weights : tuple of float
        Worths w of behaviour neighbours to choose from.
    own_gains : tuple of float
        Worths g of ``x·y`` for seen items to choose from, where they may be recommended.
    update_every : int
        Events between two deltas.
    grow : float
        Train again when the events have grown by this part.
    seed : int
    """

    n_factors: int = 64
    iterations: int = 12
    proportions: Proportions = field(default_factory=Proportions)
    history_half_life: float = 10.0
    half_lives: tuple[float, ...] = HALF_LIVES
    betas: tuple[float, ...] = BETAS
    behaviour_weights: tuple[float, ...] = BEHAVIOUR_WEIGHTS
    repeat: bool = False
    own_gains: tuple[float, ...] = (0.0, 1.0)
    update_every: int = 32
    grow: float = 0.1
    seed: int = 0

    def options(self) -> list[tuple[float, float, float]]:
        """Return the triples of β, g and w to choose from."""
        gains = self.own_gains if self.repeat else (1.0,)
        return list(itertools.product(self.betas, gains, self.behaviour_weights))
