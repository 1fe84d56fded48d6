"""Tasks of a training, as executors run them: gramian of a range, rotation and solution of a block.

A task and its result are JSON. It reads immutable files and writes a range of a file of its own, so
running it twice, or late, changes nothing.
"""

from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

from recstream.core.als import BlockSolver
from recstream.core.numeric.array_codec import read_arrays
from recstream.core.numeric.arrays import Float32s, Float64s, Int64s
from recstream.errors import ArtifactCorrupt, ModelError
from recstream.spark.blocks import (
    EntryBlock,
    FactorFile,
    FactorPart,
    check_parts,
    map_factors,
    read_entries,
    write_rows,
)


class GramianTask(msgspec.Struct, frozen=True, tag=True):
    """Return the weighted gramian of rows of the fixed side."""

    folder: str
    solver: BlockSolver
    fixed: FactorFile
    fixed_counts: str
    start: int
    stop: int


class RotateTask(msgspec.Struct, frozen=True, tag=True):
    """Rotate rows of a factor file into another."""

    folder: str
    source: FactorFile
    part: FactorPart
    target: str
    axes: str


class SolveTask(msgspec.Struct, frozen=True, tag=True):
    """Solve a block against the rotated fixed side, and write it into another factor file."""

    folder: str
    solver: BlockSolver
    block: EntryBlock
    fixed: FactorFile
    fixed_counts: str
    axes: str
    source: FactorFile
    target: str


Task = GramianTask | RotateTask | SolveTask


class Done(msgspec.Struct, frozen=True):
    """Result of a task.

    Attributes
    ----------
    error : str
        Why it failed for good; Spark repeats a task that raises.
    corrupt : bool
        A file was not the one that was written.
    loss, penalty : float
    gramian : bytes
        Float64, of `GramianTask`.
    """

    error: str = ""
    corrupt: bool = False
    part: FactorPart | None = None
    loss: float = 0.0
    penalty: float = 0.0
    skipped: int = 0
    gramian: bytes = b""


_decode = msgspec.json.Decoder(Task).decode
_encode = msgspec.json.Encoder().encode


def run_task(content: bytes) -> bytes:
    """Run one task; an error that would come again is returned instead of raised."""
    try:
        return _encode(_run(_decode(content)))
    except ArtifactCorrupt as error:
        return _encode(Done(error=str(error), corrupt=True))
    except ModelError as error:
        return _encode(Done(error=str(error)))


def _run(task: Task) -> Done:
    folder = Path(task.folder)
    if isinstance(task, GramianTask):
        rows = slice(task.start, task.stop)
        factors, counts = _checked(folder, task.fixed), _counts(folder, task.fixed_counts)
        return Done(gramian=task.solver.gramian(factors[rows], counts[rows]).tobytes())
    rotation, spectrum = _axes(folder, task.axes)
    if isinstance(task, RotateTask):
        factors = map_factors(folder, task.source)
        check_parts(factors, task.source, [task.part])
        rows_of = factors[task.part.start : task.part.stop]
        BlockSolver.rotate_all(rows_of, rotation)
        return Done(part=write_rows(folder, task.target, task.part.start, rows_of))
    fixed = _checked(folder, task.fixed)
    before = map_factors(folder, task.source)
    check_parts(before, task.source, [p for p in task.source.parts if p.start == task.block.start])
    out = before[task.block.start : task.block.stop]
    entries = read_entries(folder.parent, task.block, task.fixed.n_rows)
    counts = _counts(folder, task.fixed_counts)
    solved = task.solver.solve(entries, fixed, counts, rotation, spectrum, out)
    part = write_rows(folder, task.target, task.block.start, out)
    return Done(part=part, loss=solved.loss, penalty=solved.penalty, skipped=solved.skipped)


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
