"""Tasks of a training, as executors run them: gramian of a range, rotation and solution of a block.

A task and its result are JSON. It reads immutable files and writes a range of a file of its own, so
running it twice, or late, changes nothing.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from recstream.core.als import BlockSolver
from recstream.core.numeric.array_codec import read_arrays
from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.errors import ArtifactCorrupt, RecstreamError, TrainingFailed
from recstream.spark.blocks import (
    EntryBlock,
    FactorFile,
    FactorPart,
    check_parts,
    map_factors,
    read_entries,
    write_rows,
)

T = TypeVar("T")


class GramianTask(msgspec.Struct, frozen=True, tag=True):
    """Task: the weighted gramian of rows of the fixed side."""

    folder: str
    solver: BlockSolver
    fixed: FactorFile
    fixed_counts: str
    start: int
    stop: int

    def run(self) -> bytes:
        """Return the gramian as float64."""
        folder, rows = Path(self.folder), slice(self.start, self.stop)
        factors, counts = _checked(folder, self.fixed), _counts(folder, self.fixed_counts)
        return self.solver.gramian(factors[rows], counts[rows]).tobytes()


class RotateTask(msgspec.Struct, frozen=True, tag=True):
    """Task: rotate rows of a factor file into another."""

    folder: str
    source: FactorFile
    part: FactorPart
    target: str
    axes: str

    def run(self) -> FactorPart:
        """Return the rotated part."""
        folder = Path(self.folder)
        rotation, _ = _axes(folder, self.axes)
        factors = map_factors(folder, self.source)
        check_parts(factors, self.source, [self.part])
        rows = factors[self.part.start : self.part.stop]
        BlockSolver.rotate_all(rows, rotation)
        return write_rows(folder, self.target, self.part.start, rows)


class SolvedBlock(msgspec.Struct, frozen=True):
    """The factors of a block, its part of the loss, and the number of skipped rows."""

    part: FactorPart
    loss: float
    penalty: float
    skipped: int


class SolveTask(msgspec.Struct, frozen=True, tag=True):
    """Task: solve a block against the rotated fixed side, and write it into another factor file."""

    folder: str
    solver: BlockSolver
    block: EntryBlock
    fixed: FactorFile
    fixed_counts: str
    axes: str
    source: FactorFile
    target: str

    def run(self) -> SolvedBlock:
        """Return the solved block."""
        folder, block = Path(self.folder), self.block
        rotation, spectrum = _axes(folder, self.axes)
        fixed = _checked(folder, self.fixed)
        before = map_factors(folder, self.source)
        check_parts(before, self.source, [p for p in self.source.parts if p.start == block.start])
        out = before[block.start : block.stop]
        entries = read_entries(folder.parent, block, self.fixed.n_rows)
        counts = _counts(folder, self.fixed_counts)
        solved = self.solver.solve(entries, fixed, counts, rotation, spectrum, out)
        part = write_rows(folder, self.target, block.start, out)
        return SolvedBlock(part, solved.loss, solved.penalty, solved.skipped)


Task = GramianTask | RotateTask | SolveTask


class TaskResult(msgspec.Struct, frozen=True):
    """Result of a task: its value as JSON, or the error it failed with."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    corrupt: bool = False


_decode = msgspec.json.Decoder(Task).decode
_decode_result = msgspec.json.Decoder(TaskResult).decode


def run_task(content: bytes) -> bytes:
    """Run one task."""
    return result_of(_decode(content).run)


def result_of(run: Callable[[], Any]) -> bytes:
    """Run a task; an error of recstream is returned, since a repetition would raise it again."""
    try:
        return msgspec.json.encode(TaskResult(msgspec.Raw(msgspec.json.encode(run()))))
    except RecstreamError as error:
        return msgspec.json.encode(
            TaskResult(error=str(error), corrupt=isinstance(error, ArtifactCorrupt))
        )


def values_of(results: Iterable[bytes], kind: type[T]) -> list[T]:
    """Return the values of tasks, which have one type.

    Raises
    ------
    ArtifactCorrupt
        A file is not the one that was written.
    TrainingFailed
        A task failed.
    """
    values: list[T] = []
    for done in map(_decode_result, results):
        if done.error:
            raise (ArtifactCorrupt if done.corrupt else TrainingFailed)(done.error)
        values.append(msgspec.json.decode(done.value, type=kind))
    return values


@lru_cache(maxsize=2)
def _checked(folder: Path, file: FactorFile) -> Float32s:
    """Return a factor file whose checksums hold; each process checks it once."""
    factors = map_factors(folder, file)
    check_parts(factors, file, file.parts)
    return factors


@lru_cache(maxsize=4)
def _counts(folder: Path, name: str) -> Int64s:
    counts: Int64s = np.load(folder / name, allow_pickle=False)
    return counts


def _axes(folder: Path, name: str) -> tuple[Float64s, Float32s]:
    with (folder / name).open("rb") as stream:
        _, named = read_arrays(stream, name)
    return named["rotation"], named["spectrum"]
