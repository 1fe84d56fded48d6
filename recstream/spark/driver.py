"""Driver of a training on Spark: the half-steps of `recstream.ALS` as stages over blocks.

A half-step is three stages: gramians of the fixed side, its rotation into principal axes, and the
solution of the other side's blocks. After each half-step a manifest names the factor files. A driver
that starts again with the same data and parameters continues from the manifest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from recstream.core.als import (
    ALS,
    ALSModel,
    BlockSolver,
    Iteration,
    axes_of,
    gramian_ranges,
    width_of,
)
from recstream.core.numeric.array_codec import array_digest, write_arrays
from recstream.core.numeric.arrays import Float32s, Int64s
from recstream.core.validation import as_csr_rows
from recstream.errors import ArtifactCorrupt, InvalidInput, TrainingFailed
from recstream.spark.blocks import (
    EntryBlock,
    FactorFile,
    FactorPart,
    create,
    cut,
    default_blocks,
    map_factors,
    row_slices,
    save_array,
    write_entries,
    write_rows,
)
from recstream.spark.tasks import (
    GramianTask,
    RotateTask,
    SolvedBlock,
    SolveTask,
    Task,
    run_task,
    values_of,
)

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SIDES = ("users", "items")
T = TypeVar("T")
SMALL_BYTES = 1 << 28
"""Up to this size of the fixed side, the driver computes gramians and rotation itself: a stage of Spark
takes longer."""


@dataclass(frozen=True)
class BlockedMatrix:
    """A matrix of weights as blocks in a folder.

    Attributes
    ----------
    folder : Path
        Seen by driver and executors under the same name.
    blocks : dict of str to list of EntryBlock
        Lists of ``"users"`` and ``"items"``; each list covers all rows of its side.
    counts : dict of str to (n,) int64
        Positive entries of each row.
    """

    folder: Path
    blocks: dict[str, list[EntryBlock]]
    counts: dict[str, Int64s]

    def check(self) -> None:
        """Raise `InvalidInput` if no weight is above 0."""
        if not self.counts["users"].any():
            shape = " × ".join(str(len(self.counts[side])) for side in SIDES)
            raise InvalidInput(f"interactions must have a weight above 0, got none in {shape}")


class TrainingState(msgspec.Struct, frozen=True):
    """State of a training after a number of half-steps."""

    half_steps: int
    files: dict[str, FactorFile]
    penalty: float = 0.0


def block_matrix(matrix: object, folder: Path, n_blocks: tuple[int, int]) -> BlockedMatrix:
    """Write the blocks of a sparse matrix that the driver holds.

    Parameters
    ----------
    matrix : scipy sparse, (n_users, n_items)
    n_blocks : (int, int)
        Numbers of blocks of users and of items.
    """
    users = as_csr_rows(matrix, "interactions")
    counts = dict(zip(SIDES, users.counts_by_side(), strict=True))
    blocks = {}
    for side, rows, n in zip(SIDES, (users, users.transposed()), n_blocks, strict=True):
        ranges = cut(np.diff(rows.indptr), n)
        blocks[side] = [
            write_entries(folder, part, start)
            for part, (start, _) in zip(row_slices(rows, ranges), ranges, strict=True)
        ]
    return BlockedMatrix(folder, blocks, counts)


def fit_matrix(
    spark: SparkSession,
    als: ALS,
    matrix: object,
    *,
    folder: str | Path,
    n_blocks: tuple[int, int] | None = None,
    init: ALSModel | None = None,
    callback: Callable[[Iteration], object] | None = None,
) -> ALSModel:
    """Train on a matrix that the driver holds; the model is that of ``als.fit``, bit for bit.

    Parameters
    ----------
    matrix : scipy sparse, (n_users, n_items)
    folder : str or Path
        Seen by driver and executors under the same name.
    n_blocks : (int, int), optional
        Numbers of blocks of users and of items; they change nothing but the size of the tasks. By default by the number
        of entries and of processors.
    init, callback
        As for `ALS.fit`. The sum of the loss may differ in its last digits.

    Raises
    ------
    InvalidInput
        As `ALS.fit`.
    ArtifactCorrupt
        A file of the folder is not the one that was written.
    TrainingFailed
        Spark gave up. The next call with the same arguments continues from the last half-step.
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if n_blocks is None:
        n_entries = int(getattr(matrix, "nnz", 0))
        n_blocks = (default_blocks(n_entries, spark.sparkContext.defaultParallelism),) * 2
    return fit_blocks(
        spark, als, block_matrix(matrix, folder, n_blocks), init=init, callback=callback
    )


def fit_blocks(
    spark: SparkSession,
    als: ALS,
    matrix: BlockedMatrix,
    *,
    init: ALSModel | None = None,
    callback: Callable[[Iteration], object] | None = None,
) -> ALSModel:
    """Train on blocks; see `fit_matrix`."""
    matrix.check()
    return _Training(spark, als, matrix, init, callback or (lambda _: None)).run()


class _Training:
    """One training: its files are in a folder named by the digest of data, start and parameters."""

    def __init__(
        self,
        spark: SparkSession,
        als: ALS,
        matrix: BlockedMatrix,
        init: ALSModel | None,
        report: Callable[[Iteration], object],
    ) -> None:
        self._spark = spark
        self._als = als
        self._matrix = matrix
        self._report = report
        counts = matrix.counts
        users, items = als.initial_factors(len(counts["users"]), len(counts["items"]), init)
        start = {"users": users, "items": items}
        key = hashlib.blake2b(digest_size=8)
        parameters = {**als.get_params(), "threads": None}
        key.update(msgspec.json.encode([parameters, matrix.blocks, array_digest(start)]))
        self._folder = matrix.folder / f"training-{key.hexdigest()}"
        self._folder.mkdir(exist_ok=True)
        self._solvers = {
            side: BlockSolver.of(
                side,  # type: ignore[arg-type]
                counts[side],
                counts[_other(side)],
                objective=als.objective,
                n_factors=als.n_factors,
                solver=als.solver,
                tolerance=als.tolerance,
            )
            for side in SIDES
        }
        self._state = self._resume() or self._begin(start)

    def _resume(self) -> TrainingState | None:
        try:
            return msgspec.json.decode(
                (self._folder / "manifest.json").read_bytes(), type=TrainingState
            )
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ArtifactCorrupt(
                f"{self._folder / 'manifest.json'} can't be read ({error}); delete the folder"
            ) from error

    def _begin(self, start: dict[str, Float32s]) -> TrainingState:
        width = width_of(self._als.n_factors)
        files = {}
        for side in SIDES:
            save_array(self._folder, f"{side}.npy", self._matrix.counts[side])
            name = f"{side}-0.f32"
            create(self._folder, name, len(start[side]), width)
            parts = tuple(
                write_rows(self._folder, name, block.start, start[side][block.start : block.stop])
                for block in self._matrix.blocks[side]
            )
            files[side] = FactorFile(name, width, parts)
        return self._keep(TrainingState(0, files))

    def _keep(self, state: TrainingState) -> TrainingState:
        """Write the manifest, then delete the factor files that it no longer names."""
        part = self._folder / ".manifest.part"
        part.write_bytes(msgspec.json.encode(state))
        part.replace(self._folder / "manifest.json")
        named = {file.name for file in state.files.values()}
        for path in self._folder.glob("*.f32"):
            if path.name not in named:
                path.unlink(missing_ok=True)
        return state

    def run(self) -> ALSModel:
        """Train to the end and return the model."""
        als = self._als
        for number in range(self._state.half_steps // 2 + 1, als.iterations + 1):
            begun = als.clock()
            loss, skipped = 0.0, 0
            for side in SIDES[self._state.half_steps % 2 :]:
                loss, more = self._half_step(side)
                skipped += more
            self._report(Iteration(number, loss, als.clock() - begun, skipped=skipped))
        last = 2 * als.iterations
        axes, spectrum = self._axes("users", last)
        factors = []
        for side in SIDES:
            source = self._state.files[side]
            target = f"{side}-final.f32"
            file = self._rotate(source, target, axes)
            factors.append(map_factors(self._folder, file)[:, : als.n_factors])
        counts = self._matrix.counts
        return ALSModel(
            np.ascontiguousarray(factors[1]),
            counts["items"],
            objective=als.objective,
            mean_user_count=self._solvers["users"].mean,
            user_factors=np.ascontiguousarray(factors[0]),
            user_counts=counts["users"],
            spectrum=spectrum[: als.n_factors],
            missing_total=self._solvers["users"].missing_total,
        )

    def _axes(self, side: str, step: int) -> tuple[str, Float32s]:
        """Compute the principal axes of the fixed side; return their file and the spectrum."""
        fixed, solver = self._state.files[_other(side)], self._solvers[side]
        tasks = [
            GramianTask(str(self._folder), solver, fixed, f"{_other(side)}.npy", start, stop)
            for start, stop in gramian_ranges(fixed.n_rows)
        ]
        parts = np.array([np.frombuffer(each) for each in self._run(tasks, bytes, fixed)])
        size = int(np.sqrt(parts.shape[1]))
        rotation, spectrum = axes_of(
            parts.reshape(-1, size, size),
            fixed.width,
            self._als.n_factors,
            self._als.unobserved_weight,
        )
        name = f"axes-{step}.npz"
        with (self._folder / name).open("wb") as stream:
            write_arrays(stream, {"rotation": rotation, "spectrum": spectrum})
        return name, spectrum

    def _rotate(self, source: FactorFile, target: str, axes: str) -> FactorFile:
        create(self._folder, target, source.n_rows, source.width)
        tasks = [RotateTask(str(self._folder), source, part, target, axes) for part in source.parts]
        return FactorFile(target, source.width, tuple(self._run(tasks, FactorPart, source)))

    def _half_step(self, side: str) -> tuple[float, int]:
        """Solve one side, and return the loss and the number of skipped rows."""
        step = self._state.half_steps + 1
        other = _other(side)
        axes, _ = self._axes(side, step)
        fixed = self._rotate(self._state.files[other], f"{other}-{step}.f32", axes)
        source = self._state.files[side]
        target = f"{side}-{step}.f32"
        create(self._folder, target, source.n_rows, source.width)
        tasks = [
            SolveTask(
                str(self._folder),
                self._solvers[side],
                block,
                fixed,
                f"{other}.npy",
                axes,
                source,
                target,
            )
            for block in self._matrix.blocks[side]
        ]
        done = self._run(tasks, SolvedBlock)
        solved = FactorFile(target, source.width, tuple(each.part for each in done))
        loss = sum(each.loss for each in done) + self._state.penalty
        penalty = sum(each.penalty for each in done) if side == "users" else 0.0
        self._state = self._keep(TrainingState(step, {side: solved, other: fixed}, penalty))
        (self._folder / axes).unlink(missing_ok=True)
        return loss, sum(each.skipped for each in done)

    def _run(self, tasks: Sequence[Task], kind: type[T], read: FactorFile | None = None) -> list[T]:
        """Run tasks as one stage, or here if they only read a small file; return values in order."""
        contents = [msgspec.json.encode(task) for task in tasks]
        if read is not None and read.n_rows * read.width * 4 <= SMALL_BYTES:
            return values_of(map(run_task, contents), kind)
        when = f"after half-step {self._state.half_steps}"
        return values_of(run_stage(self._spark, run_task, contents, when), kind)


def run_stage(
    spark: SparkSession, run: Callable[[bytes], bytes], tasks: list[bytes], when: str
) -> list[bytes]:
    """Run tasks on Spark, each by a call of a function; return the results in order.

    Raises
    ------
    TrainingFailed
        Spark gave up.
    """
    if not tasks:
        return []
    try:
        stage = spark.sparkContext.parallelize(tasks, len(tasks))
        collected: list[bytes] = stage.map(run).collect()  # untyped without pyspark
    except Exception as error:
        raise TrainingFailed(
            f"Spark gave up {when}: {_cause(error)}; a training with the same data and parameters "
            "continues from there"
        ) from error
    return collected


def _cause(error: Exception) -> str:
    """Return the line that says what was wrong, from the stack traces of two languages."""
    lines = str(error).splitlines()
    named = [
        line.strip()
        for line in lines
        if re.match(r"\s*(Caused by: )?[\w.]*(Error|Exception): ", line)
    ]
    cause = named[0] if named else lines[0]
    if "ModuleNotFoundError" in cause:
        cause += " (executors need recstream in the Python that PYSPARK_PYTHON names)"
    return cause


def _other(side: str) -> str:
    return SIDES[side == "users"]
