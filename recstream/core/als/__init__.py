"""Implicit alternating least squares: training, the trained model, fold-in of users and items."""

from __future__ import annotations

from recstream.core.als.half_step import as_rows
from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.als.scaling import Proportions, typical_score
from recstream.core.als.trainer import ALS, Iteration

__all__ = [
    "ALS",
    "ALSModel",
    "Iteration",
    "Objective",
    "Proportions",
    "as_rows",
    "typical_score",
]
