"""Histories that follow the log, and snapshots of them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstream.core.columns import IdTable
from recstream.core.numeric.arrays import GrowableArray, Int32s, Int64s, UInt32s
from recstream.trainer.histories.columns import (
    RUN,
    SLICE_USERS,
    WORDS,
    HistoryColumns,
    UserColumns,
    pack,
)

BLOCK = 1 << 16
"""Entries that are copied together when they change while a snapshot is open."""
MAX_EAGER = 1 << 20
"""Entries up to which a snapshot copies everything at once."""
_RESERVE_BYTES = 1 << 38
"""Address space for entries: 13 billion."""
_RESERVE_USER_BYTES = 1 << 35


class Histories(HistoryColumns):
    """Histories that follow the log.

    Attributes
    ----------
    n_users, n_events : int
        Users with a history, and events in all histories.
    """

    def __init__(self) -> None:
        self._growing_runs = GrowableArray(np.zeros(0, RUN), _RESERVE_USER_BYTES)
        self._words = GrowableArray(np.empty((0, WORDS), np.uint32), _RESERVE_BYTES)
        super().__init__(IdTable(), IdTable(), self._growing_runs.rows, self._words.rows, {})
        self.offsets: dict[int, int] = {}
        self.n_users = self.n_events = self._n_dead = 0
        self._lock = threading.Lock()
        self._snapshots: weakref.WeakSet[FrozenHistories] = weakref.WeakSet()

    @property
    def runs(self) -> NDArray[Any]:
        """Each user's run, by row."""
        return self._growing_runs.rows

    @property
    def words(self) -> UInt32s:
        """All entries, with gaps."""
        return self._words.rows

    @property
    def nbytes(self) -> int:
        """Memory of all columns."""
        return self.users.nbytes + self.items.nbytes + self.runs.nbytes + self.words.nbytes

    def put(self, given: UserColumns) -> None:
        """Set the histories of users; cost and memory follow their entries alone."""
        rows = self.users.add(given.users)
        self._growing_runs.grow(len(self.users))
        runs = self.runs
        n_ids, counts = np.asarray(given.n_ids), np.asarray(given.n_items, np.int64)
        self.n_users += len(rows) - int(np.count_nonzero(runs["is_known"][rows]))
        self.n_events += int(n_ids.sum()) - int(runs["n_ids"][rows].sum(dtype=np.int64))
        clock = np.asarray(given.clock_ms, np.int64)
        moved = np.flatnonzero(counts > runs["room"][rows])
        if len(moved):
            had = runs["room"][rows[moved]]
            # A run that moves gets room to grow; the first one fits as it is.
            room = counts[moved] + np.where(had > 0, counts[moved] // 4 + 1, 0)
            self._n_dead += int(had.sum(dtype=np.int64))
            first = len(self.words)
            self._words.grow(first + int(room.sum()))
            runs["start"][rows[moved]] = first + np.cumsum(room) - room
            runs["room"][rows[moved]] = room
        before = np.cumsum(counts) - counts
        at = np.repeat(runs["start"][rows] - before, counts) + np.arange(int(counts.sum()))
        words = pack(given, np.repeat(clock, counts))
        self._write(at, words)
        for name, values in (("clock_ms", clock), ("n", counts), ("n_ids", n_ids)):
            runs[name][rows] = values
        runs["partition"][rows], runs["is_known"][rows] = given.partition, True
        self._close_gaps()

    def remove(self, user: str) -> None:
        """Forget a user, the id included; an unknown one changes nothing."""
        row = int(self.rows_of([user])[0])
        if row >= 0:
            run = self.runs[row]
            self.n_users -= 1
            self.n_events -= int(run["n_ids"])
            start, room = int(run["start"]), int(run["room"])
            self._write(np.arange(start, start + room), np.zeros((room, WORDS), np.uint32))
            self._n_dead += room
            self.runs[row] = np.zeros((), RUN)
            self.users.erase(row)

    def freeze(self) -> FrozenHistories:
        """Return the histories as they are now."""
        frozen = FrozenHistories(self, self._lock)
        self._snapshots.add(frozen)
        return frozen

    def _open(self) -> list[FrozenHistories]:
        """Return the snapshots that have not copied everything yet."""
        return [each for each in self._snapshots if each.is_open]

    def _write(self, at: Int64s, words: UInt32s) -> None:
        if not self._open():
            self.words[at] = words
            return
        with self._lock:
            blocks = np.unique(at // BLOCK).tolist()
            for each in self._open():
                each.save(blocks)
            self.words[at] = words

    def _close_gaps(self) -> None:
        """Compact the entries when more than a quarter of them belongs to no history."""
        if self._n_dead <= max(BLOCK, len(self.words) // 4) or self._open():
            return
        runs, words = self.runs, self.words
        order = np.argsort(runs["start"], kind="stable")
        order = order[runs["room"][order] > 0]
        end = 0
        for first in range(0, len(order), SLICE_USERS):
            part = order[first : first + SLICE_USERS]
            room = runs["room"][part].astype(np.int64)
            before = np.cumsum(room) - room
            source = np.repeat(runs["start"][part] - before, room) + np.arange(int(room.sum()))
            words[end : end + len(source)] = words[source]
            runs["start"][part] = end + before
            end += len(source)
        self._words.truncate(end)
        self._n_dead = 0


class FrozenHistories:
    """Histories as of one moment, while `Histories` changes.

    A small one is copied at once. Of a large one, blocks are copied before they change.
    """

    def __init__(self, live: Histories, lock: threading.Lock) -> None:
        self._live, self._lock = live, lock
        self._n_users, self._n_items = len(live.users), len(live.items)
        # Ids are only appended, but for a forgotten user's.
        self._ids = [
            (live.users.block.copy(), live.users.ends),
            (live.items.block, live.items.ends),
        ]
        self._runs = live.runs.copy()
        self.offsets = dict(live.offsets)
        self.n_users, self.n_events = live.n_users, live.n_events
        self._words = live.words
        self._saved: dict[int, UInt32s] = {}
        self._next_block = 0
        self.is_open = len(live.words) > MAX_EAGER
        if not self.is_open:
            self._words = live.words.copy()

    @property
    def n_entries(self) -> int:
        """Rows that `blocks` yields."""
        return len(self._words)

    def save(self, blocks: Sequence[int]) -> None:
        """Copy blocks that are about to change; the caller holds the lock."""
        for block in blocks:
            if block >= self._next_block and block not in self._saved:
                self._saved[block] = self._words[block * BLOCK : (block + 1) * BLOCK].copy()

    def close(self) -> None:
        """Stop following changes; nothing can be read afterwards."""
        with self._lock:
            self.is_open = False
            self._saved.clear()

    def blocks(self) -> Iterator[UInt32s]:
        """Yield all entries in order, a block at a time; in any thread, and once if it is open."""
        if not self.is_open:
            yield self._words
            return
        for block in range(-(-len(self._words) // BLOCK)):
            with self._lock:
                part = self._saved.pop(block, None)
                if part is None:
                    part = self._words[block * BLOCK : (block + 1) * BLOCK].copy()
                self._next_block = block + 1
            yield part
        self.is_open = False

    def columns(self) -> HistoryColumns:
        """Return the histories in memory."""
        if self.is_open:
            self._words = np.concatenate([np.empty((0, WORDS), np.uint32), *self.blocks()])
        users, items = (IdTable.from_arrays(*each) for each in self._ids)
        return HistoryColumns(users, items, self._runs, self._words, self.offsets)

    def sorted_rows(self) -> Int32s:
        """Return the rows of users that have a history, in the order of their ids."""
        users = IdTable.from_arrays(*self._ids[0])
        nothing = np.empty((0, WORDS), np.uint32)
        return HistoryColumns(users, IdTable(), self._runs, nothing, self.offsets).sorted_rows()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all columns but the entries, by name."""
        (users, user_ends), (items, item_ends) = self._ids
        return {
            "users": users, "user_ends": user_ends, "items": items, "item_ends": item_ends,
            "runs": self._runs,
        }  # fmt: skip
