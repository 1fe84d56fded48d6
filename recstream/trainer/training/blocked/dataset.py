"""The driver's side of a blocked dataset: ids, counts and samples in memory, entries in files.

Of every user and item the driver holds the id and its numbers; of entries, those that are held out, up to
300,000 that are sampled, and the positive entries of rare items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.als import ALS, ALSModel, mean_score, sample_step
from recstream.core.columns import IdTable
from recstream.core.content import SCALE_USERS
from recstream.core.evaluation import HeldOut
from recstream.core.history import History
from recstream.core.neighbours import Neighbours
from recstream.core.numeric.arrays import Int32s, Int64s
from recstream.core.popularity import Popularity, in_order
from recstream.errors import TrainingFailed
from recstream.settings import Settings, without_secrets
from recstream.spark.blocks import (
    EntryBlock,
    FactorFile,
    check_parts,
    create,
    cut,
    default_blocks,
    map_factors,
    map_vector,
    read_file,
    write_file,
    write_vector,
)
from recstream.spark.driver import BlockedMatrix, fit_blocks
from recstream.trainer.training.blocked.entries import (
    FillNeighbours,
    MergedItems,
    MergedUsers,
    MergeItems,
    MergeUsers,
    Sorted,
    SortPart,
)
from recstream.trainer.training.blocked.names import Names, hold_out_of
from recstream.trainer.training.blocked.parts import Part, ReadPartition
from recstream.trainer.training.blocked.tasks import run_tasks
from recstream.trainer.training.dataset import TrainingSnapshot

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CHUNK = 1 << 20
"""Entries that popularity counts at a time."""


def read_dataset(
    spark: SparkSession,
    folder: Path,
    settings: Settings,
    snapshot: TrainingSnapshot,
    known: Sequence[str],
    half_life_ms: float,
    *,
    products: Collection[str] = (),
    with_held_out: bool = False,
) -> BlockedDataset:
    """Read the histories of a snapshot's offsets from checkpoints and the changelog; see `build_dataset`.

    Parameters
    ----------
    folder : Path
        Seen by driver and executors under the same name.
    settings : Settings
        Settings of the log and the checkpoints, which executors open.
    snapshot : TrainingSnapshot
        Its histories name the users.
    known, half_life_ms, products, with_held_out
        As for `build_dataset`.

    Raises
    ------
    TrainingFailed
        The changelog does not give the snapshot's histories any more, or Spark gave up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        ReadPartition(str(folder), without_secrets(settings), int(partition), offset)
        for partition, offset in sorted(snapshot.offsets.items())
        if offset
    ]
    parts = [
        part
        for found in run_tasks(spark, tasks, list[Part], "while it read histories")
        for part in found
    ]
    counts = [sum(getattr(each, name) for each in parts) for name in ("n_users", "n_events")]
    if counts != [snapshot.histories.n_users, snapshot.n_events]:
        raise TrainingFailed(
            f"the snapshot has {snapshot.histories.n_users} users and {snapshot.n_events} events, "
            f"checkpoints and changelog give {counts[0]} and {counts[1]}; train again"
        )
    return dataset_of(
        spark, folder, parts, known, half_life_ms, products=products, with_held_out=with_held_out
    )


def dataset_of(
    spark: SparkSession,
    folder: Path,
    parts: Sequence[Part],
    known: Sequence[str],
    half_life_ms: float,
    *,
    products: Collection[str] = (),
    with_held_out: bool = False,
) -> BlockedDataset:
    """Return the dataset of parts; see `read_dataset`."""
    names = Names(folder, parts)
    held, taken, originals = hold_out_of(folder, parts, names, is_wanted=with_held_out)
    items = [*known, *sorted(names.items.union(products).difference(known))]
    table = IdTable(items)
    n_users, parallelism = len(names.user_rows), spark.sparkContext.defaultParallelism
    item_counts = np.zeros(len(items), np.int64)
    user_counts = np.zeros(n_users, np.int64)
    rows, first = [], 0
    for part in parts:
        named = read_file(folder, part.names)
        own = names.user_rows[first : first + part.n_users]
        first += part.n_users
        columns = table.rows_of(list(IdTable.from_arrays(named["items"], named["item_ends"])))
        user_counts[own] = named["user_counts"]
        item_counts[columns] += named["item_counts"]
        rows.append(write_file(folder, {"users": own, "items": columns}))
    n_blocks = default_blocks(sum(each.n_entries for each in parts), parallelism)
    user_ranges, item_ranges = (
        cut(each, n_blocks) if len(each) else [] for each in (user_counts, item_counts)
    )
    starts = [[start for start, _ in each] for each in (user_ranges, item_ranges)]
    tasks = [
        SortPart(str(folder), part, name, gone, half_life_ms, *starts)
        for part, name, gone in zip(parts, rows, taken, strict=True)
    ]
    found = run_tasks(spark, tasks, Sorted, "while it sorted entries")
    merged = _merge_items(spark, folder, found, item_ranges, n_users)
    blocks = _merge_users(spark, folder, found, user_ranges, merged)
    return BlockedDataset(spark, folder, items, held, originals, merged, user_ranges, blocks)


def _by_block(sides: Sequence[Sequence[Any]], n_blocks: int) -> tuple[list[list[Any]], list[int]]:
    """Return the segments of each block, and the number of entries before each block and at the end."""
    blocks: list[list[Any]] = [[] for _ in range(n_blocks)]
    for segments in sides:
        for each in segments:
            blocks[each.block].append(each)
    sizes = (sum(each.n_entries for each in block) for block in blocks)
    return blocks, list(accumulate(sizes, initial=0))


@dataclass(frozen=True)
class _Items:
    """Merged items: their blocks, and counts of all and of positive entries."""

    blocks: list[EntryBlock]
    positive: Int64s
    matrix: sparse.csc_matrix


def _merge_items(
    spark: SparkSession,
    folder: Path,
    found: Sequence[Sorted],
    ranges: Sequence[tuple[int, int]],
    n_users: int,
) -> _Items:
    segments, firsts = _by_block([each.items for each in found], len(ranges))
    names = "columns-users", "columns-weights"
    for name in names:
        create(folder, name, firsts[-1], 1)
    tasks = [
        MergeItems(str(folder), block, start, stop, first, n_users)
        for block, (start, stop), first in zip(segments, ranges, firsts[:-1], strict=True)
    ]
    merged = run_tasks(spark, tasks, MergedItems, "while it merged items")
    counts = [read_file(folder, each.counts) for each in merged]
    positive, entries = (
        np.concatenate([np.empty(0, np.int64), *(each[name] for each in counts)])
        for name in ("positive", "all")
    )
    blocks, row = [], 0
    for each, own in zip(merged, counts, strict=True):
        n_rows = int(np.count_nonzero(own["positive"]))
        if n_rows:
            blocks.append(EntryBlock(row, row + n_rows, each.entries))
        row += n_rows
    matrix = sparse.csc_matrix((n_users, len(positive)), dtype=np.float32)
    if firsts[-1]:
        arrays = []
        for name, side in zip(names, ("users", "weights"), strict=True):
            parts = [getattr(each, side) for each in merged]
            file = FactorFile(name, 1, tuple(part for part in parts if part.stop > part.start))
            mapped = map_factors(folder, file)
            check_parts(mapped, file, file.parts)
            arrays.append(mapped.reshape(-1))
        indptr = np.concatenate(([0], np.cumsum(entries)))
        # Set one by one: the constructor copies them where the entries are more than 2^31.
        matrix.indices, matrix.data, matrix.indptr = arrays[0].view(np.int32), arrays[1], indptr
    return _Items(blocks, positive, matrix)


def _merge_users(
    spark: SparkSession,
    folder: Path,
    found: Sequence[Sorted],
    ranges: Sequence[tuple[int, int]],
    merged: _Items,
) -> list[MergedUsers]:
    segments, firsts = _by_block([each.users for each in found], len(ranges))
    n_users = merged.matrix.shape[0]
    touched = np.cumsum(merged.positive > 0, dtype=np.int32) - np.int32(1)
    n_touched = int(np.count_nonzero(merged.positive))
    touched[merged.positive == 0] = -1
    name = write_file(folder, {"rows": touched})
    tasks = [
        MergeUsers(
            str(folder),
            block,
            start,
            stop,
            first,
            sample_step(firsts[-1]),
            -(-n_users // SCALE_USERS),
            name,
            n_touched,
        )
        for block, (start, stop), first in zip(segments, ranges, firsts[:-1], strict=True)
    ]
    return run_tasks(spark, tasks, MergedUsers, "while it merged users")


class BlockedDataset:
    """Interactions whose entries are in files; see `recstream.trainer.training.dataset.Dataset`.

    Attributes
    ----------
    users : int32 array
        Empty: the caller knows them.
    matrix : csc_matrix
        Memory-mapped.
    originals : list of History
        Histories of users of `held`, with what is held out.
    """

    def __init__(
        self,
        spark: SparkSession,
        folder: Path,
        items: list[str],
        held: HeldOut,
        originals: list[History],
        merged: _Items,
        ranges: Sequence[tuple[int, int]],
        blocks: Sequence[MergedUsers],
    ) -> None:
        self._spark, self._folder = spark, folder
        self._item_blocks, self._blocks = merged.blocks, blocks
        self._user_blocks = [
            EntryBlock(start, stop, each.entries)
            for (start, stop), each in zip(ranges, blocks, strict=True)
        ]
        self.users: Int32s = np.empty(0, np.int32)
        self.items, self.held, self.originals = items, held, originals
        self.matrix, self.item_counts = merged.matrix, merged.positive
        rest = [self._rest(each) for each in blocks]
        names = "positive", "pair_users", "pair_items", "some_users", "some_items", "some_weights"
        joined = [
            np.concatenate([np.empty(0, np.int64), *(each[name] for each in rest)])
            for name in names[:-1]
        ]
        self._user_counts, *self._pairs = joined[0], joined[1], joined[2]
        some = (each["some_weights"] for each in rest)
        weights = np.concatenate([np.empty(0, np.float32), *some])
        indptr = np.searchsorted(joined[3], np.arange(self.matrix.shape[0] + 1))
        self._some = sparse.csr_matrix((weights, joined[4], indptr), shape=self.matrix.shape)

    def _rest(self, block: MergedUsers) -> dict[str, NDArray[Any]]:
        named = read_file(self._folder, block.rest)
        return {name: array for name, array in named.items() if name not in {"sequence", "lengths"}}

    def popularity(self, version: int) -> Popularity:
        """Count the items of all blocks by time, some at a time."""
        live = Popularity.empty(len(self.items)).live()
        files = [
            tuple(map_vector(self._folder, file) for file in (each.at_ms, each.items))
            for each in self._blocks
        ]
        next_at = [0] * len(files)
        while True:
            pending = [
                at_ms[min(at + CHUNK, len(at_ms)) - 1]
                for (at_ms, _), at in zip(files, next_at, strict=True)
                if at < len(at_ms)
            ]
            if not pending:
                return live.state
            times, items, until = [], [], min(pending)
            for number, (at_ms, rows) in enumerate(files):
                end = int(np.searchsorted(at_ms, until, side="right"))
                own = slice(next_at[number], end)
                times.append(at_ms[own])
                items.append(rows[own])
                next_at[number] = end
            rows = in_order(np.concatenate(items), np.concatenate(times), version)
            live.observe(rows, len(self.items))

    @property
    def n_active(self) -> int:
        """Number of users with a positive entry."""
        return int(np.count_nonzero(self._user_counts))

    def fit(self, als: ALS, touched: Int64s, **options: Any) -> ALSModel:
        """Train factors of the items with positive entries, which `touched` names."""
        counts = {"users": self._user_counts, "items": self.item_counts[touched]}
        blocks = {"users": self._user_blocks, "items": self._item_blocks}
        return fit_blocks(self._spark, als, BlockedMatrix(self._folder, blocks, counts), **options)

    def typical_score(self, model: ALSModel) -> float:
        """Return the model's typical score."""
        return mean_score(model, *self._pairs)

    def sampled(self) -> sparse.csr_matrix:
        """Return the rows that `content_scale` reads; the others are empty."""
        return self._some

    def columns(self, items: Int64s) -> sparse.csr_matrix:
        """Return the positive entries of some items, as (n, n_users)."""
        starts, ends = self.matrix.indptr[items], self.matrix.indptr[items + 1]
        indptr = np.concatenate(([0], np.cumsum(ends - starts)))
        places = np.repeat(starts - indptr[:-1], ends - starts) + np.arange(indptr[-1])
        arrays = self.matrix.data[places], self.matrix.indices[places], indptr
        found = sparse.csr_matrix(arrays, shape=(len(items), self.matrix.shape[0]))
        found.eliminate_zeros()
        return found

    def behaviour(self, threads: int, version: int) -> Neighbours:  # noqa: ARG002 - of this machine
        """Return the behaviour neighbours of the items."""
        folder, n_items = self._folder, len(self.items)
        counts, lengths = np.zeros(n_items, np.int64), [np.zeros(1, np.int64)]
        for part in self._sequences():
            counts += np.bincount(part["sequence"], minlength=n_items)
            lengths.append(part["lengths"])
        bounds = np.cumsum(np.concatenate(lengths))
        items = write_vector(
            folder, "histories-items", "<i4", (each["sequence"] for each in self._sequences())
        )
        tied = write_vector(
            folder,
            "histories-tied",
            "<i4",
            (each["tied"] * (version > 1) for each in self._sequences()),
        )
        users = write_vector(folder, "histories-users", "<i8", _numbers(lengths[1:]))
        rest = [
            write_vector(folder, f"histories-{name}", "<i8", [array])
            for name, array in (("bounds", bounds), ("counts", counts))
        ]
        parallelism = self._spark.sparkContext.defaultParallelism
        ranges = cut(counts, default_blocks(int(bounds[-1]), parallelism)) if n_items else []
        tasks = [
            FillNeighbours(str(folder), items, users, rest[0], tied, rest[1], *each, version)
            for each in ranges
        ]
        digests = run_tasks(self._spark, tasks, str, "while it found neighbours")
        table = Neighbours.empty(n_items).arrays()
        for (start, stop), digest in zip(ranges, digests, strict=True):
            for name, array in read_file(folder, digest).items():
                table[name][start:stop] = array
        return Neighbours(**table)

    def _sequences(self) -> Iterator[dict[str, NDArray[Any]]]:
        for each in self._blocks:
            yield read_file(self._folder, each.rest)


def _numbers(lengths: Sequence[Int64s]) -> Iterator[Int64s]:
    """Yield the number of the history of each place, for some histories at a time."""
    firsts = accumulate((len(each) for each in lengths), initial=0)
    for (first, last), each in zip(pairwise(firsts), lengths, strict=True):
        yield np.repeat(np.arange(first, last), each)
