"""Step 3 of the flow: what a worker knows of one partition: position, hot histories, open lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from recstream.core.events import Event
from recstream.core.history import (
    APPLIED_KEY,
    AppliedRow,
    History,
    ListRow,
    decode_applied_row,
    decode_list_row,
    header_offset,
    list_key,
    load,
)
from recstream.worker.store import RowStore

HOT_ENTRIES = 250_000
"""Entries of histories kept in memory a partition, some 300 bytes each."""


class Cause(NamedTuple):
    """What asks for a user's list: since which offset, and the newest event, None after a restart."""

    offset: int
    event: Event | None = None
    appended_ts: int = 0


class Known(NamedTuple):
    """A user's history, and the list that was published for it last."""

    history: History
    listed: ListRow | None


class HotHistories:
    """Histories used lately, bounded by the entries in them; a cache, never the truth."""

    def __init__(self, capacity: int = HOT_ENTRIES) -> None:
        self._capacity = capacity
        self._known: dict[str, Known] = {}
        self._size = 0

    def get(self, user: str) -> Known | None:
        """Return what is known of a user, and keep it as the newest."""
        known = self._known.pop(user, None)
        if known is not None:
            self._known[user] = known
        return known

    def put(self, user: str, known: Known) -> None:
        """Keep what is known of a user; the users not asked for the longest make room."""
        old = self._known.pop(user, None)
        self._known[user] = known
        self._size += known.history.n_items + 1
        if old is not None:
            self._size -= old.history.n_items + 1
        while self._size > self._capacity and len(self._known) > 1:
            oldest = next(iter(self._known))
            self._size -= self._known.pop(oldest).history.n_items + 1

    def drop(self, user: str) -> None:
        """Keep nothing of a user."""
        known = self._known.pop(user, None)
        if known is not None:
            self._size -= known.history.n_items + 1

    def __len__(self) -> int:
        return len(self._known)


class PartitionState:
    """One partition as its owner holds it; made from the rows, thrown away when it is revoked.

    Attributes
    ----------
    next_offset : int
        Every record before it is in the rows.
    open_lists : dict of str to Cause
        Users whose list is to be made, the longest waiting first, with the first event that asked
        for it. What is open when a worker dies is found again from the rows
        (`AppliedRow.listed_offset`).
    lately : dict of str to None
        Users seen lately, the newest last.
    """

    def __init__(self, number: int, rows: RowStore, *, n_lately: int) -> None:
        self.number = number
        self.rows = rows
        self.hot = HotHistories()
        self.open_lists: dict[str, Cause] = {}
        self.lately: dict[str, None] = {}
        self._n_lately = n_lately
        raw = rows.get(number, APPLIED_KEY)
        applied = AppliedRow(0, 0) if raw is None else decode_applied_row(raw)
        self.next_offset = applied.next_offset
        if applied.listed_offset < applied.next_offset:
            waiting = sorted(self._users_since(applied.listed_offset))
            self.open_lists = {user: Cause(offset) for offset, user in waiting}

    def _users_since(self, offset: int) -> Iterator[tuple[int, str]]:
        """Give (offset of the newest event, user) of those with an event at or after an offset."""
        for key, value in self.rows.scan(self.number):
            if b"\0" not in key:
                newest = header_offset(value)
                if newest >= offset:
                    yield newest, key.decode()

    @property
    def listed_offset(self) -> int:
        """Return the offset before which every user's list has been made."""
        oldest = next(iter(self.open_lists.values()), None)
        return self.next_offset if oldest is None else oldest.offset

    def ask_for_list(self, user: str, cause: Cause) -> None:
        """Let a user wait for a list; who waits already keeps the place, for the newest event."""
        waiting = self.open_lists.get(user)
        if waiting is not None:
            cause = cause._replace(offset=waiting.offset)
        self.open_lists[user] = cause

    def known(self, user: str) -> Known:
        """Return a user's history and newest list, from memory or from the rows."""
        known = self.hot.get(user)
        if known is None:
            number, rows = self.number, self.rows
            history = load(user, lambda key: rows.get(number, key))
            raw = None if history is None else rows.get(number, list_key(user.encode()))
            listed = None if raw is None else decode_list_row(raw)
            known = Known(history or History(user), listed)
            self.hot.put(user, known)
        return known

    def saw(self, user: str) -> None:
        """Remember a user as seen lately."""
        self.lately.pop(user, None)
        self.lately[user] = None
        if len(self.lately) > self._n_lately:
            del self.lately[next(iter(self.lately))]

    def drop(self, user: str) -> None:
        """Keep nothing of a user in memory."""
        self.hot.drop(user)
        self.open_lists.pop(user, None)
        self.lately.pop(user, None)

    def applied_row(self) -> tuple[bytes, AppliedRow]:
        """Return the row that closes a group of rows."""
        return APPLIED_KEY, AppliedRow(self.next_offset, self.listed_offset)
