"""Step 4 of the flow: the histories' changelog → every history in memory, exact as of known offsets.

Rows are taken in groups that the partition's applied row closes, so that what is here is always the
state after some record and before the next, in every partition: the offset vector of `offsets`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from recstream.core.history import (
    History,
    decode_applied_row,
    decode_header,
    decode_page,
    split_key,
)
from recstream.erasure import BLANK_KEY, marked
from recstream.log import Record


class UserRows(NamedTuple):
    """One user's rows as the changelog has them: compact, and never changed in place."""

    header: bytes
    pages: tuple[bytes, ...]

    def history(self, user: str) -> History:
        """Return the history, without the ids of its events: what a model looks at."""
        header = decode_header(self.header)
        pages = tuple({e.item: e for e in decode_page(page)} for page in self.pages)
        return History(
            user,
            header.offset,
            header.index,
            header.clock_ms,
            header.n_items,
            header.n_ids,
            b"",
            pages,
        )


class Touch(NamedTuple):
    """An entry that a group of records made or changed."""

    offset: int
    item: str
    is_positive: bool


class Group(NamedTuple):
    """What one group of rows changed: users, and entries in the order of the log."""

    users: tuple[str, ...]
    touches: tuple[Touch, ...]


class Follower:
    """All histories of all partitions, from their changelog.

    Parameters
    ----------
    finished : collection of str
        Requests to forget a user that were finished before the first record was read.

    Attributes
    ----------
    is_stale : bool
        A user was forgotten while this read, too late to tell who: to be read anew.
    users : dict of str to UserRows
    offsets : dict of int to int
        Partition to the next offset of interactions: everything before it is in ``users``.
    n_events : int
        Events that count in all histories.
    """

    def __init__(self, finished: Collection[str] = ()) -> None:
        self._finished = finished
        self.is_stale = False
        self.users: dict[str, UserRows] = {}
        self.offsets: dict[int, int] = {}
        self.n_events = 0
        self._open: dict[int, dict[str, _Pending]] = {}

    def apply(self, records: Iterable[Record]) -> list[Group]:
        """Take in changelog records; return the groups they completed."""
        groups = []
        for record in records:
            if record.key is None:
                continue
            if record.value is None:
                self._drop(record, record.key)
                continue
            user, kind, number = split_key(record.key)
            if kind == "h":
                self._pending(record.partition, user).header = record.value
            elif kind == "p":
                self._pending(record.partition, user).pages[number] = record.value
            elif kind == "a":
                applied = decode_applied_row(record.value)
                groups.append(self._close(record.partition, applied.next_offset))
        return groups

    def _drop(self, record: Record, key: bytes) -> None:
        """Take in a tombstone: the user's first one takes the whole user away."""
        if key == BLANK_KEY:
            request = marked(record)
            self.is_stale |= request is not None and request not in self._finished
            return
        user = key.partition(b"\0")[0].decode()
        self._open.get(record.partition, {}).pop(user, None)
        old = self.users.pop(user, None)
        if old is not None:
            self.n_events -= decode_header(old.header).n_ids

    def _pending(self, partition: int, key: bytes) -> _Pending:
        user = key.decode()
        found = self._open.setdefault(partition, {})
        if user not in found:
            found[user] = _Pending()
        return found[user]

    def _close(self, partition: int, next_offset: int) -> Group:
        since = self.offsets.get(partition, 0)
        pending = self._open.pop(partition, {})
        touches: list[Touch] = []
        for user, rows in pending.items():
            old = self.users.get(user)
            if rows.header is None:
                # Compaction dropped the header with which this page was written; a newer one follows.
                self._open.setdefault(partition, {})[user] = rows
                continue
            header = decode_header(rows.header)
            if not header.n_ids:
                continue  # saw things and did nothing: nobody to learn from
            pages = list(old.pages if old is not None else ())
            pages += [b""] * (header.n_pages - len(pages))
            for number, page in rows.pages.items():
                pages[number] = page
                touches += [
                    Touch(entry.offset, entry.item, entry.weight > 0.0)
                    for entry in decode_page(page)
                    if entry.offset >= since
                ]
            self.n_events += header.n_ids
            if old is not None:
                self.n_events -= decode_header(old.header).n_ids
            self.users[user] = UserRows(rows.header, tuple(pages))
        self.offsets[partition] = max(since, next_offset)
        touches.sort()
        known = tuple(user for user in pending if user in self.users)
        return Group(known, tuple(touches))


class _Pending:
    """Rows of one user in a group that is not closed yet."""

    __slots__ = ("header", "pages")

    def __init__(self) -> None:
        self.header: bytes | None = None
        self.pages: dict[int, bytes] = {}
