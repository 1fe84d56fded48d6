"""Run tasks on Spark; return their values, or raise the error of one that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from recstream.errors import ArtifactCorrupt, RecstreamError, TrainingFailed
from recstream.spark.driver import run_stage
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
_T = TypeVar("_T")


class TaskResult(msgspec.Struct, frozen=True):
    """Result of a task: its value as JSON, or the error it failed with."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    corrupt: bool = False


_decode = msgspec.json.Decoder(Task).decode
_encode = msgspec.json.Encoder().encode
_decode_done = msgspec.json.Decoder(TaskResult).decode


def run_task(content: bytes) -> bytes:
    """Run one task; an error of recstream is returned, since a repetition would raise it again."""
    try:
        return _encode(TaskResult(msgspec.Raw(_encode(_decode(content).run()))))
    except RecstreamError as error:
        return _encode(TaskResult(error=str(error), corrupt=isinstance(error, ArtifactCorrupt)))


def run_tasks(spark: SparkSession, tasks: Sequence[Task], kind: type[_T], when: str) -> list[_T]:
    """Run tasks as one stage, and return their values in order.

    Parameters
    ----------
    kind : type
        Type of the values.
    when : str
        What the stage does, for the error.

    Raises
    ------
    ArtifactCorrupt
        A file is not the one that was written.
    TrainingFailed
        A task failed, or Spark gave up.
    """
    values: list[Any] = []
    for content in run_stage(spark, run_task, [_encode(each) for each in tasks], when):
        done = _decode_done(content)
        if done.error:
            raise (ArtifactCorrupt if done.corrupt else TrainingFailed)(done.error)
        values.append(msgspec.json.decode(done.value, type=kind))
    return values
