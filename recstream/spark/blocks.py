"""Blocks of a training in a shared folder: entries by rows of one side, and factors.

A block of entries is a file named by its digest. The factors of a side are one file; each block
writes its own range of it, the same bytes however often the task runs.
"""

import mmap
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.numeric.array_codec import read_arrays, write_arrays
from recstream.core.numeric.arrays import Float32s, Int64s
from recstream.core.validation import CSRRows
from recstream.errors import ArtifactCorrupt

BLOCK_ENTRIES = 1 << 23
"""Entries of an average block: 64 MB as a file, about 1 GB in the task that makes it."""


Arrays = Mapping[str, NDArray[Any]]


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


def default_blocks(n_entries: int, parallelism: int) -> int:
    """Return how many blocks to cut entries into: two a processor, none above `BLOCK_ENTRIES`."""
    return max(2 * parallelism, -(-n_entries // BLOCK_ENTRIES))


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


def write_file(folder: Path, arrays: Arrays) -> str:
    """Write arrays to a file that is named by their digest; return the digest."""
    part = folder / f".{os.getpid()}-{threading.get_ident()}.part"
    with part.open("wb") as stream:
        digest = write_arrays(stream, arrays)
    part.replace(folder / f"{digest}.npz")
    return digest


def read_file(folder: Path, digest: str) -> dict[str, NDArray[Any]]:
    """Read arrays by their digest.

    Raises
    ------
    ArtifactCorrupt
        The file is missing, or not the one that was written.
    """
    with opened(folder, f"{digest}.npz") as stream:
        return read_arrays(stream, f"{digest}.npz", digest)[1]


def opened(folder: Path, name: str) -> IO[bytes]:
    """Open a file that a task wrote.

    Raises
    ------
    ArtifactCorrupt
        It is missing.
    """
    try:
        return (folder / name).open("rb")
    except FileNotFoundError as error:
        raise ArtifactCorrupt(f"{name} is missing; delete the folder and train again") from error


def write_entries(folder: Path, rows: CSRRows, start: int) -> EntryBlock:
    """Write a block of entries whose first row is `start`; columns are rows of the other side."""
    arrays: Arrays = {"indptr": rows.indptr, "indices": rows.indices, "weights": rows.weights}
    return EntryBlock(start, start + len(rows), write_file(folder, arrays))


def read_entries(folder: Path, block: EntryBlock, n_columns: int) -> CSRRows:
    """Read a block of entries.

    Raises
    ------
    ArtifactCorrupt
        The file is not the one that was written.
    """
    named = read_file(folder, block.digest)
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
    with opened(folder, file.name) as stream:
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


class ArrayFile(msgspec.Struct, frozen=True):
    """A vector in a file that processes map into memory, with the checksum of its bytes."""

    name: str
    dtype: str
    length: int
    crc: int


def write_vector(folder: Path, name: str, dtype: str, chunks: Iterable[NDArray[Any]]) -> ArrayFile:
    """Write a vector, chunk after chunk."""
    length = crc = 0
    part = folder / f".{os.getpid()}-{threading.get_ident()}-{name}"
    with part.open("wb") as stream:
        for chunk in chunks:
            content = np.ascontiguousarray(chunk, dtype).data.cast("B") if len(chunk) else b""
            stream.write(content)
            length, crc = length + len(chunk), zlib.crc32(content, crc)
    part.replace(folder / name)
    return ArrayFile(name, dtype, length, crc)


@lru_cache(maxsize=4)
def map_vector(folder: Path, file: ArrayFile) -> NDArray[Any]:
    """Map a vector into memory; each process checks it once.

    Raises
    ------
    ArtifactCorrupt
        The file is not the one that was written.
    """
    with opened(folder, file.name) as stream:
        found = os.fstat(stream.fileno()).st_size
        mapped: Any = (
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY) if found else bytearray()
        )
    if found != file.length * np.dtype(file.dtype).itemsize or zlib.crc32(mapped) != file.crc:
        raise ArtifactCorrupt(f"{file.name} is not the file that was written; train again")
    return np.frombuffer(mapped, file.dtype)


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
