"""Interactions of a replayed stream as flat arrays: one entry per (user, item), linked by user and by item.

The counterpart of the histories table. An entry's weight fades with the user's events
(`scripts/bench/fading.py`) and grows by one with each event. Rows of users and rows of
items give an entry the same weight.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recstream.core.numeric.arrays import Float32s, Int32s, Int64s
from recstream.core.numeric.jit import compiled, helper

__all__ = ["EntryRows", "InteractionStore"]

_ENTRY = np.dtype(
    [
        ("user", np.int32),
        ("item", np.int32),
        ("next_of_user", np.int32),
        ("next_of_item", np.int32),
        ("at", np.int32),
        ("count", np.int32),
        ("weight", np.float64),
    ]
)
_SIDE = np.dtype([("head", np.int32), ("clock", np.int32), ("size", np.int32)])

Records = NDArray[Any]


class EntryRows:
    """Rows of the matrix in CSR form, with each entry's events and the user's events since the newest."""

    def __init__(
        self, indptr: Int64s, indices: Int32s, weights: Float32s, counts: Int64s, ages: Int64s
    ) -> None:
        self.indptr, self.indices, self.weights = indptr, indices, weights
        self.counts, self.ages = counts, ages

    def csr(self, n_columns: int) -> sparse.csr_matrix:
        """Return the weights as a matrix."""
        shape = (len(self.indptr) - 1, n_columns)
        return sparse.csr_matrix((self.weights, self.indices, self.indptr), shape=shape)


class InteractionStore:
    """The histories of a stream's users so far; grows in place, batch by batch.

    Parameters
    ----------
    n_users, n_items, n_events : int
        Capacity.
    half_life : float
        In events of the same user.
    """

    def __init__(self, n_users: int, n_items: int, n_events: int, half_life: float) -> None:
        self.half_life = half_life
        self._entries = np.zeros(n_events, _ENTRY)
        self._n_entries = np.zeros(1, np.int64)
        self._users = np.zeros(n_users, _SIDE)
        self._items = np.zeros(n_items, _SIDE)
        self._users["head"] = self._items["head"] = -1

    @property
    def user_counts(self) -> Int64s:
        """Entries of each user."""
        return self._users["size"].astype(np.int64)

    @property
    def item_counts(self) -> Int64s:
        """Entries of each item."""
        return self._items["size"].astype(np.int64)

    def count(self, users: Int32s, items: Int32s) -> EntryRows:
        """Count events in order; return, for each, its user's row before the event."""
        # A row before its event has the entries before the batch and at most one for each event since.
        room = int(self._users["size"][users].sum()) + len(users) * (len(users) - 1) // 2
        rows = _empty_rows(len(users), room)
        filled = _count(
            users, items, self.half_life, self._entries, self._n_entries, self._users, self._items,
            rows.indptr, rows.indices, rows.weights, rows.counts, rows.ages,
        )  # fmt: skip
        return _cut(rows, filled)

    def entries(self) -> tuple[Int32s, Int32s, Int32s]:
        """Return each entry's user, item, and number of the user's newest event for it."""
        filled = self._entries[: int(self._n_entries[0])]
        return filled["user"].copy(), filled["item"].copy(), filled["at"].copy()

    def user_rows(self, users: Int32s) -> EntryRows:
        """Return the present rows of users."""
        rows = _empty_rows(len(users), int(self._users["size"][users].sum()))
        filled = _user_rows(
            users, self.half_life, self._entries, self._users,
            rows.indptr, rows.indices, rows.weights, rows.counts, rows.ages,
        )  # fmt: skip
        return _cut(rows, filled)

    def item_rows(self, items: Int32s) -> EntryRows:
        """Return the present rows of items: their users."""
        rows = _empty_rows(len(items), int(self._items["size"][items].sum()))
        filled = _item_rows(
            items, self.half_life, self._entries, self._users, self._items,
            rows.indptr, rows.indices, rows.weights, rows.counts, rows.ages,
        )  # fmt: skip
        return _cut(rows, filled)


def _empty_rows(n_rows: int, room: int) -> EntryRows:
    """Return empty rows with capacity for entries."""
    return EntryRows(
        np.zeros(n_rows + 1, np.int64),
        np.empty(room, np.int32),
        np.empty(room, np.float32),
        np.empty(room, np.int64),
        np.empty(room, np.int64),
    )


def _cut(rows: EntryRows, filled: int) -> EntryRows:
    """Return rows cut to the entries that were written."""
    return EntryRows(
        rows.indptr,
        rows.indices[:filled],
        rows.weights[:filled],
        rows.counts[:filled],
        rows.ages[:filled],
    )


@helper
def _write_user(
    user: int,
    half_life: float,
    entries: Records,
    users: Records,
    to: int,
    indices: Int32s,
    weights: Float32s,
    counts: Int64s,
    ages: Int64s,
) -> int:
    """Write one user's entries from position ``to`` on; return the position after them."""
    entry = users[user].head
    while entry >= 0:
        age = users[user].clock - entries[entry].at
        indices[to] = entries[entry].item
        weights[to] = entries[entry].weight * 2.0 ** (-age / half_life)
        counts[to] = entries[entry].count
        ages[to] = age
        to += 1
        entry = entries[entry].next_of_user
    return to


@compiled
def _user_rows(
    rows: Int32s,
    half_life: float,
    entries: Records,
    users: Records,
    indptr: Int64s,
    indices: Int32s,
    weights: Float32s,
    counts: Int64s,
    ages: Int64s,
) -> int:
    """Write the rows of users; return the number of entries."""
    for r in range(len(rows)):
        indptr[r + 1] = _write_user(
            rows[r], half_life, entries, users, indptr[r], indices, weights, counts, ages
        )
    return int(indptr[len(rows)])


@compiled
def _item_rows(
    rows: Int32s,
    half_life: float,
    entries: Records,
    users: Records,
    items: Records,
    indptr: Int64s,
    indices: Int32s,
    weights: Float32s,
    counts: Int64s,
    ages: Int64s,
) -> int:
    """Write the rows of items; return the number of entries."""
    for r in range(len(rows)):
        to = indptr[r]
        entry = items[rows[r]].head
        while entry >= 0:
            age = users[entries[entry].user].clock - entries[entry].at
            indices[to] = entries[entry].user
            weights[to] = entries[entry].weight * 2.0 ** (-age / half_life)
            counts[to] = entries[entry].count
            ages[to] = age
            to += 1
            entry = entries[entry].next_of_item
        indptr[r + 1] = to
    return int(indptr[len(rows)])


@compiled
def _count(
    of_users: Int32s,
    of_items: Int32s,
    half_life: float,
    entries: Records,
    n_entries: Int64s,
    users: Records,
    items: Records,
    indptr: Int64s,
    indices: Int32s,
    weights: Float32s,
    counts: Int64s,
    ages: Int64s,
) -> int:
    """Write each event's user row, then count the event; return the number of entries written.

    Parameters
    ----------
    of_users, of_items : (n,) int32
        User and item of each event.
    half_life : float
        In events of the same user.
    entries : (capacity,) of _ENTRY
    n_entries : (1,) int64
        Number of `entries` in use.
    users, items : (n_users,) and (n_items,) of _SIDE
    indptr, indices, weights, counts, ages : arrays of `EntryRows`
        Receive the rows.
    """
    for e in range(len(of_users)):
        user, item = of_users[e], of_items[e]
        indptr[e + 1] = _write_user(
            user, half_life, entries, users, indptr[e], indices, weights, counts, ages
        )
        users[user].clock += 1
        entry = users[user].head
        while entry >= 0 and entries[entry].item != item:
            entry = entries[entry].next_of_user
        if entry < 0:
            entry = n_entries[0]
            n_entries[0] += 1
            entries[entry].user = user
            entries[entry].item = item
            entries[entry].next_of_user = users[user].head
            entries[entry].next_of_item = items[item].head
            users[user].head = entry
            items[item].head = entry
            users[user].size += 1
            items[item].size += 1
        age = users[user].clock - entries[entry].at
        entries[entry].weight = 1.0 + entries[entry].weight * 2.0 ** (-age / half_life)
        entries[entry].at = users[user].clock
        entries[entry].count += 1
    return int(indptr[len(of_users)])
