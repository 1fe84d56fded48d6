"""Histories of all users as columns: what training needs of them, at 20 bytes an entry.

An entry is five 32-bit words: item row and a flag, the weight's float64, and 64 bits that hold the entry's
age and offset. The age is counted back from the user's newest event, up to 69 years. Of an offset the low
23 bits are kept, since offsets only order entries of one time. Each user's entries are one run. A user
whose run has no room left gets another one at the end; `Histories` closes the gaps when they add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recstream.core.columns import IdTable, JoinedIds
from recstream.core.history import Entry, History
from recstream.core.numeric.arrays import Float64s, Int32s, Int64s, UInt32s

WORDS = 5
SINGLE = np.uint32(1 << 31)
_AGE_BITS, _OFFSET_BITS = 41, 23
_MAX_AGE = (1 << _AGE_BITS) - 1
_HIGH = _AGE_BITS - 32
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
RUN = np.dtype(
    [
        ("start", np.int64), ("clock_ms", np.int64), ("n", np.int32), ("room", np.int32),
        ("n_ids", np.uint32), ("partition", np.uint16), ("is_known", np.bool_),
    ],
    align=True,
)  # fmt: skip
"""A user: first entry, time of the newest event, entries, room for entries, events, partition."""
SLICE_USERS = 1 << 17


class Entries(NamedTuple):
    """Entries of some users, one user after another.

    Attributes
    ----------
    indptr : (n_users + 1,) int64
    items : (n,) int32
        Rows of `Histories.items`.
    weights : (n,) float64
    at_ms : (n,) int64
    offsets : (n,) int64
    is_single : (n,) bool
        Whether one event alone made the entry.
    """

    indptr: Int64s
    items: Int32s
    weights: Float64s
    at_ms: Int64s
    offsets: Int64s
    is_single: NDArray[np.bool_]


class UserColumns(NamedTuple):
    """Users whose histories are set as a whole: see `Histories.put`.

    Attributes
    ----------
    users : sequence of str or JoinedIds
        Distinct ids.
    clock_ms, n_ids, n_items : (n,) int
        Time of the newest event, number of events, number of entries of each user.
    items : (m,) int
        Rows of `Histories.items` of the entries, user after user; make them by ``items.add(names)``.
    weights : (m,) float64
    at_ms, offsets, n_events : (m,) int
    """

    users: Sequence[str] | JoinedIds
    partition: int
    clock_ms: Any
    n_ids: Any
    n_items: Any
    items: Any
    weights: Any
    at_ms: Any
    offsets: Any
    n_events: Any

    @classmethod
    def of(cls, histories: Sequence[History], partition: int, items: IdTable) -> UserColumns:
        """Return histories as columns; their items are added to the table."""
        entries = [entry for history in histories for entry in history.entries()]
        return cls(
            [each.user for each in histories],
            partition,
            [each.clock_ms for each in histories],
            [each.n_ids for each in histories],
            [each.n_items for each in histories],
            items.add([each.item for each in entries]),
            [each.weight for each in entries],
            [each.at_ms for each in entries],
            [each.offset for each in entries],
            [each.n_events for each in entries],
        )


class HistoryColumns:
    """Histories as of known offsets; read only.

    Parameters
    ----------
    runs : (n_users,) `RUN`
        By row of ``users``.
    entries : (n, WORDS) uint32
    offsets : mapping of int to int
        Partition to the next offset of interactions.
    """

    def __init__(
        self,
        users: IdTable,
        items: IdTable,
        runs: NDArray[Any],
        entries: UInt32s,
        offsets: Mapping[int, int],
    ) -> None:
        self.users, self.items = users, items
        self._runs, self._entries = runs, entries
        self.offsets = offsets
        self.n_users = int(np.count_nonzero(runs["is_known"]))

    @property
    def runs(self) -> NDArray[Any]:
        """Each user's run, by row."""
        return self._runs

    @property
    def words(self) -> UInt32s:
        """All entries, with gaps."""
        return self._entries

    def columns(self) -> HistoryColumns:
        """Return the histories themselves: they do not change."""
        return self

    @property
    def n_entries(self) -> int:
        """Rows of `words`."""
        return len(self.words)

    def blocks(self) -> Iterator[UInt32s]:
        """Yield all entries in order."""
        yield self.words

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all columns but the entries, by name."""
        return {
            "users": self.users.block,
            "user_ends": self.users.ends,
            "items": self.items.block,
            "item_ends": self.items.ends,
            "runs": self.runs,
        }

    def close(self) -> None:
        """Return at once: there is nothing to release."""

    def known_rows(self) -> Int32s:
        """Return the rows of users that have a history."""
        return np.flatnonzero(self.runs["is_known"]).astype(np.int32)

    def sorted_rows(self) -> Int32s:
        """Return the rows of users that have a history, in the order of their ids."""
        rows = self.known_rows()
        ids = list(self.users) if len(rows) else []
        return np.array(sorted(rows.tolist(), key=ids.__getitem__), np.int32)

    def rows_of(self, users: Sequence[str]) -> Int32s:
        """Return the row of each user; -1 for a user without a history."""
        rows = self.users.rows_of(users)
        rows[rows >= 0] = np.where(self.runs["is_known"][rows[rows >= 0]], rows[rows >= 0], -1)
        return rows

    def entries_of(self, rows: Int32s) -> Entries:
        """Return the entries of users."""
        runs = self.runs[rows]
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(runs["n"], out=indptr[1:])
        words = self._words_of(runs["start"], indptr)
        at_ms = np.repeat(runs["clock_ms"], runs["n"])
        at_ms -= words[:, 3]
        at_ms -= (words[:, 4] & ((1 << _HIGH) - 1)).astype(np.int64) << 32
        n_partitions = int(runs["partition"].max(initial=0)) + 1
        newest = np.array([self.offsets.get(each, 0) - 1 for each in range(n_partitions)])
        offsets = np.repeat(newest[runs["partition"]], runs["n"])
        older = offsets - (words[:, 4] >> _HIGH)
        older &= _OFFSET_MASK
        offsets -= older
        return Entries(
            indptr,
            (words[:, 0] & ~SINGLE).view(np.int32),
            np.ascontiguousarray(words[:, 1:3]).view(np.float64).reshape(-1),
            at_ms,
            offsets,
            words[:, 0] >= SINGLE,
        )

    def _words_of(self, starts: Int64s, indptr: Int64s) -> UInt32s:
        """Return the words of runs, one run after another; without a copy if they lie that way."""
        if len(starts) and np.array_equal(starts - starts[0], indptr[:-1]):
            return self.words[starts[0] : starts[0] + indptr[-1]]
        at = np.repeat(starts - indptr[:-1], np.diff(indptr)) + np.arange(indptr[-1])
        words: UInt32s = self.words[at]
        return words

    def part(self, rows: Int32s) -> HistoryColumns:
        """Return some users' histories, with tables of their own users and items."""
        runs = self.runs[rows]
        counts = runs["n"].astype(np.int64)
        starts = np.cumsum(counts) - counts
        at = np.repeat(runs["start"] - starts, counts) + np.arange(int(counts.sum()))
        words = self.words[at]
        used, local = np.unique(words[:, 0] & ~SINGLE, return_inverse=True)
        words[:, 0] = local.astype(np.uint32) | (words[:, 0] & SINGLE)
        runs["start"], runs["room"] = starts, counts
        users, items = (
            IdTable(table[row] for row in of.tolist())
            for table, of in ((self.users, rows), (self.items, used))
        )
        return HistoryColumns(users, items, runs, words, self.offsets)

    def slices(self, rows: Int32s, size: int = SLICE_USERS) -> Iterator[tuple[Int32s, Entries]]:
        """Yield the rows of some users at a time, and their entries."""
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            yield part, self.entries_of(part)

    def histories(self, rows: Sequence[int]) -> list[History]:
        """Return histories as objects, without event ids and kinds, which training does not need."""
        found = self.entries_of(np.array(rows, np.int32))
        columns = [
            each.tolist() for each in (found.weights, found.at_ms, found.offsets, found.is_single)
        ]
        names = self.items.names(found.items.tolist())
        made = []
        for at, row in enumerate(rows):
            run = self.runs[row]
            page = {
                names[n]: Entry(
                    names[n], columns[0][n], columns[1][n], 0, columns[2][n], 2 - columns[3][n]
                )
                for n in range(int(found.indptr[at]), int(found.indptr[at + 1]))
            }
            made.append(
                History(
                    self.users[row], clock_ms=int(run["clock_ms"]), n_items=len(page),
                    n_ids=int(run["n_ids"]), pages=(page,),
                )
            )  # fmt: skip
        return made


def pack(given: UserColumns, clock: Int64s) -> UInt32s:
    """Return entries as words."""
    items = np.asarray(given.items, np.int32).astype(np.uint32)
    words = np.empty((len(items), WORDS), np.uint32)
    words[:, 0] = items | np.where(np.asarray(given.n_events) == 1, SINGLE, np.uint32(0))
    weights = np.ascontiguousarray(given.weights, np.float64)
    words[:, 1:3] = weights.view(np.uint32).reshape(-1, 2)
    age = np.clip(clock - np.asarray(given.at_ms, np.int64), 0, _MAX_AGE)
    low = np.asarray(given.offsets, np.int64) & _OFFSET_MASK
    words[:, 3] = age & 0xFFFFFFFF
    words[:, 4] = (age >> 32) | (low << _HIGH)
    return words
