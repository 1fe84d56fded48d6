"""Run tasks on Spark; return their values, or raise the error of one that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from recstream.spark.driver import run_stage
from recstream.spark.tasks import result_of, values_of
from recstream.trainer.training.blocked.entries import (
    FillNeighbours,
    MergeItems,
    MergeUsers,
    SortPart,
)
from recstream.trainer.training.blocked.parts import ReadPartition

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Task = ReadPartition | SortPart | MergeItems | MergeUsers | FillNeighbours
T = TypeVar("T")
_decode = msgspec.json.Decoder(Task).decode


def run_task(content: bytes) -> bytes:
    """Run one task."""
    return result_of(_decode(content).run)


def run_tasks(spark: SparkSession, tasks: Sequence[Task], kind: type[T], when: str) -> list[T]:
    """Run tasks as one stage, and return their values, of a type, in order.

    Parameters
    ----------
    when : str
        What the stage does, for the error.

    Raises
    ------
    ArtifactCorrupt
        A file is not the one that was written.
    TrainingFailed
        A task failed, or Spark gave up.
    """
    return values_of(
        run_stage(spark, run_task, [msgspec.json.encode(each) for each in tasks], when), kind
    )
