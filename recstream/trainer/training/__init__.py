"""Training: a snapshot of histories and catalogue becomes a generation.

In: a `TrainingSnapshot`, the parent generation, hyper-parameters and a seed. Out: `Trained`.
"""

from recstream.trainer.training.dataset import (
    MatrixRows,
    TrainingSnapshot,
    columns_of,
    deleted_products,
    popularity_of,
)
from recstream.trainer.training.item_features import ItemFeatures, LiveItemFeatures
from recstream.trainer.training.train import (
    Trained,
    counts_of,
    hyperparameters,
    popularity_weight,
    train,
)
