"""Training: a dataset becomes a generation, in this process or in one of its own."""

from __future__ import annotations

from recstream.trainer.training.dataset import Snapshot, materialise
from recstream.trainer.training.item_features import Contents, LiveContents
from recstream.trainer.training.train import (
    DEFAULT_POPULARITY_WEIGHT,
    Trained,
    counts_of,
    hyperparameters,
    popularity_weight,
    train,
)

__all__ = [
    "DEFAULT_POPULARITY_WEIGHT",
    "Contents",
    "LiveContents",
    "Snapshot",
    "Trained",
    "counts_of",
    "hyperparameters",
    "materialise",
    "popularity_weight",
    "train",
]
