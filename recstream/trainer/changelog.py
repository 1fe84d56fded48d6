"""Follow the histories' changelog: keep every user's history in memory, as of exact offsets.

The worker appends rows in groups; a partition's ``applied`` row closes each group. Groups are applied
as a whole. So the state of each partition is always that between two records: `offsets`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from recstream.core.history import History, table_rows
from recstream.erasure import BLANK_KEY, marked
from recstream.log import Record

log = logging.getLogger(__name__)


class UserRows(NamedTuple):
    """One user's rows in the changelog's encoding: compact, never changed in place."""

    header: bytes
    pages: tuple[bytes, ...]

    def history(self, user: str) -> History:
        """Return the history without event ids, which training does not need."""
        header = table_rows.decode_header(self.header)
        pages = tuple({e.item: e for e in table_rows.decode_page(page)} for page in self.pages)
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
    """A history entry that was added or changed, and the offset of its event."""

    offset: int
    item: str
    is_positive: bool


class UserChanges(NamedTuple):
    """Users and entries that a group of rows changed; entries in the order of the log."""

    users: tuple[str, ...]
    touches: tuple[Touch, ...]


class ChangelogFollower:
    """All histories of all partitions, read from their changelog.

    Parameters
    ----------
    finished : collection of str
        Ids of requests to forget a user that were finished before the first record was read.

    Attributes
    ----------
    is_stale : bool
        A user was forgotten during reading, and it is unknown who: read the changelog again.
    users : dict of str to UserRows
    offsets : dict of int to int
        Partition to the next offset of interactions: everything before it is in ``users``.
    n_events : int
        Number of events in all histories.
    """

    def __init__(self, finished: Collection[str] = ()) -> None:
        self._finished = finished
        self.is_stale = False
        self.users: dict[str, UserRows] = {}
        self.offsets: dict[int, int] = {}
        self.n_events = 0
        self._open: dict[int, dict[str, _Pending]] = {}

    def apply(self, records: Iterable[Record]) -> list[UserChanges]:
        """Apply changelog records; return the changes of the groups that they completed.

        A record that can't be read is logged and skipped.
        """
        groups = []
        for record in records:
            try:
                group = self._apply(record)
            except Exception as error:  # noqa: BLE001 - no record may stop the reader
                log.warning(
                    "changelog record not read partition=%d offset=%d error=%r",
                    record.partition,
                    record.offset,
                    error,
                )
                continue
            if group is not None:
                groups.append(group)
        return groups

    def _apply(self, record: Record) -> UserChanges | None:
        """Apply a record; return the changes of the group that it closes, or None."""
        if record.key is None:
            return None
        if record.value is None:
            self._drop(record, record.key)
            return None
        user, kind, number = table_rows.split_key(record.key)
        if kind == "h":
            self._pending(record.partition, user).header = record.value
        elif kind == "p":
            self._pending(record.partition, user).pages[number] = record.value
        elif kind == "a":
            return self._close(
                record.partition, table_rows.decode_applied_row(record.value).next_offset
            )
        return None

    def _drop(self, record: Record, key: bytes) -> None:
        """Apply a tombstone: the first one of a user removes the user."""
        if key == BLANK_KEY:
            request = marked(record)
            self.is_stale |= request is not None and request not in self._finished
            return
        user = key.partition(b"\0")[0].decode()
        self._open.get(record.partition, {}).pop(user, None)
        old = self.users.pop(user, None)
        if old is not None:
            self.n_events -= table_rows.decode_header(old.header).n_ids

    def _pending(self, partition: int, key: bytes) -> _Pending:
        user = key.decode()
        found = self._open.setdefault(partition, {})
        if user not in found:
            found[user] = _Pending()
        return found[user]

    def _close(self, partition: int, next_offset: int) -> UserChanges:
        since = self.offsets.get(partition, 0)
        pending = self._open.pop(partition, {})
        touches: list[Touch] = []
        for user, rows in pending.items():
            if rows.header is None:
                # Compaction dropped the header of this page; a newer one follows.
                self._open.setdefault(partition, {})[user] = rows
                continue
            try:
                touches += self._put(user, rows.header, rows.pages, since)
            except Exception as error:  # noqa: BLE001 - no row may stop the reader
                log.warning("history not read partition=%d error=%r", partition, error)
        self.offsets[partition] = max(since, next_offset)
        touches.sort()
        known = tuple(user for user in pending if user in self.users)
        return UserChanges(known, tuple(touches))

    def _put(
        self, user: str, raw_header: bytes, new_pages: Mapping[int, bytes], since: int
    ) -> list[Touch]:
        """Set a user's rows; return the entries with events from an offset on."""
        old = self.users.get(user)
        header = table_rows.decode_header(raw_header)
        if not header.n_ids:
            return []  # only impressions: nothing to train on
        pages = list(old.pages if old is not None else ())
        pages += [b""] * (header.n_pages - len(pages))
        touches = []
        for number, page in new_pages.items():
            pages[number] = page
            touches += [
                Touch(entry.offset, entry.item, entry.weight > 0.0)
                for entry in table_rows.decode_page(page)
                if entry.offset >= since
            ]
        self.n_events += header.n_ids
        if old is not None:
            self.n_events -= table_rows.decode_header(old.header).n_ids
        self.users[user] = UserRows(raw_header, tuple(pages))
        return touches


class _Pending:
    """Rows of one user in a group that is still open."""

    __slots__ = ("header", "pages")

    def __init__(self) -> None:
        self.header: bytes | None = None
        self.pages: dict[int, bytes] = {}
