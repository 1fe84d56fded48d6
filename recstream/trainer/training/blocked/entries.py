"""Entries of a training by blocks of users and of items: each part is sorted, then each block merged.

`SortPart` writes the entries of a part twice, by user and by item, as one segment a block. `MergeUsers` and
`MergeItems` read a block's segments of all parts.
"""

import io
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from recstream.core.history import matrix_rows
from recstream.core.neighbours import WINDOW, behaviour_lists
from recstream.core.numeric.array_codec import read_arrays, write_arrays
from recstream.core.numeric.arrays import Int32s, Int64s
from recstream.core.numeric.neighbour_tables import count_tied
from recstream.core.validation import CSRRows
from recstream.spark.blocks import (
    ArrayFile,
    FactorPart,
    map_vector,
    opened,
    read_file,
    write_entries,
    write_file,
    write_rows,
    write_vector,
)
from recstream.trainer.training.blocked.parts import Part, read_part

Arrays = dict[str, NDArray[Any]]


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Entries of a part that belong to one block: bytes of a file."""

    block: int
    name: str
    at: int
    size: int
    digest: str
    n_entries: int


class Taken(msgspec.Struct, frozen=True, array_like=True):
    """Held-out entries of a user, and the history's clock after their removal.

    Attributes
    ----------
    user : int
        The user's row in the part.
    """

    user: int
    items: tuple[str, ...]
    clock_ms: int


class Sorted(msgspec.Struct, frozen=True):
    """Segments of a part."""

    users: list[Segment]
    items: list[Segment]


class SortPart(msgspec.Struct, frozen=True, tag=True):
    """Task: write a part's entries as segments.

    Attributes
    ----------
    rows : str
        File with the row of each of the part's ``users`` and ``items``.
    user_starts, item_starts : list of int
        First row of each block.
    """

    folder: str
    part: Part
    rows: str
    taken: list[Taken]
    half_life_ms: float
    user_starts: list[int]
    item_starts: list[int]

    def run(self) -> Sorted:
        """Return the segments."""
        folder = Path(self.folder)
        histories, rows = read_part(folder, self.part), read_file(folder, self.rows)
        entries = histories.entries_of(histories.known_rows())
        clock_ms = histories.runs["clock_ms"].copy()
        at = rows["items"][entries.items]
        for each in self.taken:
            own = slice(entries.indptr[each.user], entries.indptr[each.user + 1])
            gone = histories.items.rows_of(each.items)
            at[own][np.isin(entries.items[own], gone)] = -1
            clock_ms[each.user] = each.clock_ms
        indptr, columns, weights = matrix_rows(
            entries.indptr, at, entries.weights, entries.at_ms, clock_ms, self.half_life_ms
        )
        owners = np.repeat(np.arange(len(clock_ms)), np.diff(entries.indptr))
        order = np.lexsort((at, owners))
        order = order[at[order] >= 0]  # as in the rows of the matrix
        found = {
            "user": np.repeat(rows["users"], np.diff(indptr)),
            "item": columns,
            "weight": weights,
            "at_ms": entries.at_ms[order],
            "is_positive": entries.weights[order] > 0.0,
        }
        name = f"{self.part.histories}-{self.rows}.segments"
        part = folder / f".{os.getpid()}-{name}"
        with part.open("wb") as stream:
            done = Sorted(
                list(_segments(stream, name, found, "user", self.user_starts)),
                list(
                    _segments(
                        stream,
                        name,
                        {each: found[each] for each in ("user", "item", "weight")},
                        "item",
                        self.item_starts,
                    )
                ),
            )
        part.replace(folder / name)
        return done


def _segments(
    stream: Any, name: str, found: Arrays, key: str, starts: Sequence[int]
) -> Iterator[Segment]:
    """Write entries in the order of a key, cut into blocks, and yield the segments that are not empty."""
    order = np.argsort(found[key], kind="stable")
    bounds = np.append(np.searchsorted(found[key][order], starts), len(order)).tolist()
    for block, (first, last) in enumerate(pairwise(bounds)):
        if first < last:
            content = io.BytesIO()
            digest = write_arrays(
                content, {each: array[order[first:last]] for each, array in found.items()}
            )
            at, size = stream.tell(), stream.write(content.getbuffer())
            yield Segment(block, name, at, size, digest, last - first)


def _merged(folder: Path, segments: Sequence[Segment], by: tuple[str, str]) -> Arrays:
    """Return the entries of segments, in the order of two keys."""
    found: list[Arrays] = []
    for each in segments:
        with opened(folder, each.name) as stream:
            stream.seek(each.at)
            content = io.BytesIO(stream.read(each.size))
        found.append(read_arrays(content, each.name, each.digest)[1])
    names = found[0] if found else ()
    whole = {name: np.concatenate([each[name] for each in found]) for name in names}
    found.clear()
    order = np.lexsort((whole[by[1]], whole[by[0]]))
    return {name: array[order] for name, array in whole.items()}


class MergedItems(msgspec.Struct, frozen=True):
    """A block of items: its entries, a file of counts, and its part of the matrix by columns."""

    entries: str
    counts: str
    users: FactorPart
    weights: FactorPart


class MergeItems(msgspec.Struct, frozen=True, tag=True):
    """Task: merge a block of items.

    Attributes
    ----------
    first : int
        Number of entries of the blocks before.
    """

    folder: str
    segments: list[Segment]
    start: int
    stop: int
    first: int
    n_users: int

    def run(self) -> MergedItems:
        """Return the block."""
        folder = Path(self.folder)
        found = _merged(folder, self.segments, ("item", "user"))
        users, weights = found["user"].astype(np.int32), found["weight"]
        rows, n_rows = found["item"] - self.start, self.stop - self.start
        positive = np.bincount(rows[weights > 0.0], minlength=n_rows)
        counts = np.bincount(rows, minlength=n_rows)
        kept = positive[rows] > 0
        indptr = np.zeros(int(np.count_nonzero(positive)) + 1, np.int64)
        np.cumsum(counts[positive > 0], out=indptr[1:])
        block = write_entries(
            folder, CSRRows(indptr, users[kept], weights[kept], self.n_users), self.start
        )
        return MergedItems(
            block.digest,
            write_file(folder, {"positive": positive, "all": counts}),
            write_rows(folder, "columns-users", self.first, users.view(np.float32)[:, None]),
            write_rows(folder, "columns-weights", self.first, weights[:, None]),
        )


class MergedUsers(msgspec.Struct, frozen=True):
    """A block of users: its entries, a file of what else the driver needs, and its items by time."""

    entries: str
    rest: str
    at_ms: ArrayFile
    items: ArrayFile


class MergeUsers(msgspec.Struct, frozen=True, tag=True):
    """Task: merge a block of users.

    Attributes
    ----------
    first : int
        Number of entries of the blocks before.
    step, stride : int
        Entries and users that are sampled: each step-th and each stride-th.
    touched : str
        File with the row of each item among those with a positive entry; -1 for others.
    """

    folder: str
    segments: list[Segment]
    start: int
    stop: int
    first: int
    step: int
    stride: int
    touched: str
    n_touched: int

    def run(self) -> MergedUsers:
        """Return the block."""
        folder = Path(self.folder)
        found = _merged(folder, self.segments, ("user", "item"))
        users, items, weights = found["user"], found["item"], found["weight"]
        columns = read_file(folder, self.touched)["rows"][items]
        kept = columns >= 0
        n_rows, rows = self.stop - self.start, users - self.start
        indptr = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.bincount(rows[kept], minlength=n_rows), out=indptr[1:])
        block = write_entries(
            folder, CSRRows(indptr, columns[kept], weights[kept], self.n_touched), self.start
        )
        pairs = slice(-self.first % self.step, None, self.step)
        some = users % self.stride == 0
        is_positive = found["is_positive"]
        by_user = [found[name][is_positive] for name in ("user", "item", "at_ms")]
        rest = {
            "positive": np.bincount(rows[weights > 0.0], minlength=n_rows),
            "pair_users": users[pairs],
            "pair_items": items[pairs],
            "some_users": users[some],
            "some_items": items[some],
            "some_weights": weights[some],
            **_newest(*by_user),
        }
        _, positive, at_ms = by_user
        order = np.lexsort((positive, at_ms))
        name = f"users-{self.start}"
        return MergedUsers(
            block.digest,
            write_file(folder, rest),
            write_vector(folder, f"{name}.times", "<i8", [at_ms[order]]),
            write_vector(folder, f"{name}.items", "<i4", [positive[order]]),
        )


def _newest(users: Int64s, items: Int32s, at_ms: Int64s) -> Arrays:
    """Return the newest items of each user, one user after another, by time.

    With the number of items of each user, and how many of the same time come before each.
    """
    order = np.lexsort((items, at_ms, users))
    lengths = np.diff(np.flatnonzero(np.diff(users, prepend=-1, append=-1)))
    ends = np.repeat(np.cumsum(lengths), lengths)
    kept = ends - np.arange(len(users)) <= WINDOW
    return {
        "sequence": items[order][kept],
        "lengths": np.minimum(lengths, WINDOW),
        "tied": count_tied(users[order][kept], at_ms[order][kept]),
    }


class FillNeighbours(msgspec.Struct, frozen=True, tag=True):
    """Task: the behaviour neighbours of a block of items; see `behaviour_lists`.

    The tasks of a host share the memory of its arrays.
    """

    folder: str
    items: ArrayFile
    user_of: ArrayFile
    bounds: ArrayFile
    tied: ArrayFile
    counts: ArrayFile
    start: int
    stop: int
    version: int

    def run(self) -> str:
        """Return the file of the lists."""
        folder = Path(self.folder)
        rows, weights = behaviour_lists(
            map_vector(folder, self.items),
            map_vector(folder, self.user_of),
            map_vector(folder, self.bounds),
            map_vector(folder, self.tied),
            map_vector(folder, self.counts),
            self.start,
            self.stop,
            self.version,
        )
        return write_file(folder, {"rows": rows, "weights": weights})
