"""Blocks of a training in a shared folder: entries by rows of one side, and factors.

A block of entries is a file named by its digest. The factors of a side are one file; each block
writes its own range of it, the same bytes however often the task runs.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.array_codec import read_arrays, write_arrays
from recstream.core.numeric.arrays import Float32s, Int64s
from recstream.core.validation import CSRRows
from recstream.errors import ArtifactCorrupt


class EntryBlock(msgspec.Struct, frozen=True, array_like=True):
    """Entries of the rows from `start` to before `stop`: the file `<digest>.npz` in the folder."""

    start: int
    stop: int
    digest: str


class FactorPart(msgspec.Struct, frozen=True, array_like=True):
    """Checksum (CRC-32) of the rows from `start` to before `stop` of a factor file."""

    start: int
    stop: int
    crc: int


class FactorFile(msgspec.Struct, frozen=True):
    """Factors of one side: float32 rows of `width` numbers, in parts that cover all rows."""

    name: str
    width: int
    parts: tuple[FactorPart, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.parts[-1].stop


def cut(n_entries: Int64s, n_blocks: int) -> list[tuple[int, int]]:
    """Cut rows into about `n_blocks` ranges of equal numbers of entries.

    A row with more than a block's share is a block of its own, so no block holds more than twice the
    share and one row.

    >>> cut(np.array([1, 1, 9, 1, 1]), 2)
    [(0, 2), (2, 3), (3, 5)]
    """
    n = len(n_entries)
    running = np.cumsum(n_entries + 1)
    share = running[-1] / n_blocks
    cuts = np.searchsorted(running, share * np.arange(1, n_blocks))
    heavy = np.flatnonzero(n_entries + 1 > share)
    bounds = np.unique(np.concatenate([[0, n], cuts, heavy, heavy + 1])).tolist()
    return list(pairwise(bounds))


def write_entries(folder: Path, rows: CSRRows, start: int) -> EntryBlock:
    """Write a block of entries whose first row is `start`; columns are rows of the other side."""
    arrays: dict[str, NDArray[Any]] = {
        "indptr": rows.indptr,
        "indices": rows.indices,
        "weights": rows.weights,
    }
    part = folder / f".{os.getpid()}-{start}.part"
    with part.open("wb") as stream:
        digest = write_arrays(stream, arrays)
    part.replace(folder / f"{digest}.npz")
    return EntryBlock(start, start + len(rows), digest)


def read_entries(folder: Path, block: EntryBlock, n_columns: int) -> CSRRows:
    """Read a block of entries.

    Raises
    ------
    ArtifactCorrupt
        The file is not the one that was written.
    """
    with (folder / f"{block.digest}.npz").open("rb") as stream:
        _, named = read_arrays(stream, f"{block.digest}.npz", block.digest)
    rows = CSRRows(named["indptr"], named["indices"], named["weights"], n_columns)
    if len(rows) != block.stop - block.start:
        raise ArtifactCorrupt(
            f"block {block.digest} must have {block.stop - block.start} rows, got {len(rows)}"
        )
    return rows


def create(folder: Path, name: str, n_rows: int, width: int) -> None:
    """Create a factor file of zeros, which tasks fill by `write_rows`."""
    with (folder / name).open("wb") as stream:
        stream.truncate(n_rows * width * 4)


def write_rows(folder: Path, name: str, start: int, rows: Float32s) -> FactorPart:
    """Write rows into an existing factor file."""
    content = np.ascontiguousarray(rows).data.cast("B")
    descriptor = os.open(folder / name, os.O_WRONLY)
    try:
        at = start * rows.shape[1] * 4
        done = 0
        while done < len(content):
            done += os.pwrite(descriptor, content[done:], at + done)
    finally:
        os.close(descriptor)
    return FactorPart(start, start + len(rows), zlib.crc32(content))


def map_factors(folder: Path, file: FactorFile) -> Float32s:
    """Map a factor file into memory, shared with other processes of the host; changes stay private.

    Raises
    ------
    ArtifactCorrupt
        It has another length.
    """
    n_bytes = file.n_rows * file.width * 4
    with (folder / file.name).open("rb") as stream:
        found = os.fstat(stream.fileno()).st_size
        if found != n_bytes:
            raise ArtifactCorrupt(f"{file.name} must have {n_bytes} bytes, got {found}")
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    return np.frombuffer(mapped, np.float32).reshape(-1, file.width)


def check_parts(factors: Float32s, file: FactorFile, parts: Sequence[FactorPart]) -> None:
    """Raise `ArtifactCorrupt` if a part of a factor file does not have its checksum."""
    for part in parts:
        if zlib.crc32(factors[part.start : part.stop].data.cast("B")) != part.crc:
            raise ArtifactCorrupt(
                f"rows {part.start} to {part.stop} of {file.name} are not those that were written; "
                "delete the folder and train again"
            )


def save_array(folder: Path, name: str, array: NDArray[Any]) -> None:
    """Write an array as ``.npy``, whole or not at all."""
    part = folder / f".{name}.part"
    with part.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
    part.replace(folder / name)


def row_slices(rows: CSRRows, ranges: Sequence[tuple[int, int]]) -> Iterator[CSRRows]:
    """Yield the rows of each range as a matrix of its own."""
    for start, stop in ranges:
        first, last = rows.indptr[start], rows.indptr[stop]
        yield CSRRows(
            rows.indptr[start : stop + 1] - first,
            rows.indices[first:last],
            rows.weights[first:last],
            rows.n_columns,
        )
