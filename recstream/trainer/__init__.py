"""The trainer's process: trains generations and publishes them, and item deltas between trainings.

In: the histories' changelog, the catalogue and control topics. Out: artifacts and the models topic.
Start at `recstream.trainer.process.run`; `recstream.trainer.loop.Trainer` is the order of its work.
"""

from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.histories import Histories, UserColumns
from recstream.trainer.self_tuning import search_hyperparameters
