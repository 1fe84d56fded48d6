"""Item deltas between trainings: fold in what changed since a generation, and publish it.

In: a trained generation, changed users, changed catalogue items. Out: records of the models topic.
"""

from recstream.trainer.deltas.deltas import MAX_PRODUCTS, Deltas
from recstream.trainer.deltas.pace import DeltaPacer
from recstream.trainer.deltas.publisher import Publisher, StoredArtifact
from recstream.trainer.deltas.restore import (
    Found,
    Restored,
    copy_generation,
    find_newest,
    start_restoring,
)
