"""Interactions of a training that no process holds as a whole: parts and blocks in a shared folder.

In: checkpoints of the histories and their changelog. Out: `BlockedDataset`, which gives the bits of
`recstream.trainer.training.dataset.Dataset`. Tasks run on Spark, each a pure function of files.
"""

from recstream.trainer.training.blocked.dataset import BlockedDataset, read_dataset
