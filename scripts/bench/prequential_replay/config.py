"""Replay configuration: the parameters of a prequential replay, and the grid it chooses from.

`evaluate` runs it, `tune_stream` searches for a better one.
"""

import itertools
from dataclasses import dataclass, field

from recstream.core.als import Proportions
from recstream.core.neighbours import SeedRule
from recstream.core.popularity import HALF_LIVES

__all__ = ["BEHAVIOUR_WEIGHTS", "BETAS", "ReplayConfig"]

BETAS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0, 1e4)
"""Grid of weights of popularity, in units of `typical_score`: from none to popularity alone."""
BEHAVIOUR_WEIGHTS = (0.0, 2.0, 5.0, 10.0, 20.0)
"""Grid of weights of behaviour neighbours, in the same units."""


@dataclass(frozen=True)
class ReplayConfig:
    """Parameters of a prequential replay.

    Attributes
    ----------
    proportions : Proportions
        The objective, relative to the size of the data at each training.
    history_half_life : float
        In events of the same user; infinity: no fading.
    half_lives : tuple of float
        Half-lives of the popularity memories, in events.
    betas : tuple of float
        Grid of β, the weight of popularity.
    repeat : bool
        Whether seen items may be recommended.
    behaviour_weights : tuple of float
        Grid of w, the weight of behaviour neighbours.
    repeat_weights : tuple of float
        Grid of ρ, with `repeat`: the weight of the probability of a repeat, which replaces the factors
        of seen items; 0 scores seen items like others.
    seed_decay : float
        Of `recstream.core.neighbours.SeedRule`.
    update_every : int
        Events between two deltas.
    grow : float
        Train again when the number of events has grown by this part.
    """

    n_factors: int = 64
    iterations: int = 12
    proportions: Proportions = field(default_factory=Proportions)
    history_half_life: float = 10.0
    half_lives: tuple[float, ...] = HALF_LIVES
    betas: tuple[float, ...] = BETAS
    behaviour_weights: tuple[float, ...] = BEHAVIOUR_WEIGHTS
    seed_decay: float = SeedRule().decay
    repeat: bool = False
    repeat_weights: tuple[float, ...] = (0.0, 0.3, 0.6)
    update_every: int = 32
    grow: float = 0.1
    seed: int = 0

    def options(self) -> list[tuple[float, float, float]]:
        """Return the grid as triples of β, ρ and w."""
        repeats = self.repeat_weights if self.repeat else (0.0,)
        return list(itertools.product(self.betas, repeats, self.behaviour_weights))
