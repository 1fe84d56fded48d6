"""Implicit alternating least squares (ALS): a sparse matrix of weights in, item and user factors out.

A trained `ALSModel` folds users and items in, ranks items and explains scores.
"""

from __future__ import annotations

from recstream.core.als.model import ALSModel
from recstream.core.als.objective import Objective
from recstream.core.als.scaling import Proportions, typical_score
from recstream.core.als.trainer import ALS, Iteration

__all__ = ["ALS", "ALSModel", "Iteration", "Objective", "Proportions", "typical_score"]
