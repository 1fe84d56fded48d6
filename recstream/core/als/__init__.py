"""Implicit alternating least squares (ALS): a sparse matrix of weights in, item and user factors out.

A trained `ALSModel` folds users and items in, ranks items and explains scores. `BlockSolver` does half-steps
on blocks of rows, for training on several machines.
"""

from recstream.core.als.block_solver import BlockSolver
from recstream.core.als.half_step import axes_of, gramian_ranges, width_of
from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.als.scaling import Proportions, mean_score, sample_step, scaled, typical_score
from recstream.core.als.trainer import ALS, Iteration

__all__ = [
    "ALS",
    "ALSModel",
    "BlockSolver",
    "Iteration",
    "Objective",
    "Proportions",
    "axes_of",
    "gramian_ranges",
    "mean_score",
    "sample_step",
    "scaled",
    "typical_score",
    "width_of",
]
