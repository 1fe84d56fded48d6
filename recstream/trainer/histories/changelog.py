"""Follow the histories' changelog: keep every user's history as columns, as of exact offsets.

The worker appends rows in groups; a partition's ``applied`` row closes each group. Groups are applied
as a whole. So the state of each partition is always that between two records: `offsets`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recstream.core.history import Entry, table_rows
from recstream.core.numeric.arrays import GrowableArray, Int32s, Int64s
from recstream.erasure import BLANK_KEY, marked
from recstream.log import Record
from recstream.trainer.histories import Entries, Histories, UserColumns

log = logging.getLogger(__name__)


class Touch(NamedTuple):
    """A history entry that was added or changed, and the offset of its event."""

    offset: int
    item: str
    user: str
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
    histories : Histories
        As of `offsets`.
    """

    def __init__(self, finished: Collection[str] = ()) -> None:
        self._finished = finished
        self.is_stale = False
        self.histories = Histories()
        self._open: dict[int, dict[str, _Pending]] = {}
        # Users of closed groups, by partition: set together at the end of `apply`.
        self._closed: dict[int, dict[str, _Pending]] = {}
        self._with_touches = True
        self._hashes = GrowableArray(np.empty(0, np.int64))

    @property
    def offsets(self) -> dict[int, int]:
        """Partition to the next offset of interactions: everything before it is in `histories`."""
        return self.histories.offsets

    @property
    def n_events(self) -> int:
        """Number of events in all histories."""
        return self.histories.n_events

    def load(self, next_offset: int, table: UserColumns) -> None:
        """Set histories of a partition as of an offset, such as those of a checkpoint.

        The entries' items are rows of ``histories.items``. May be called for a part of a partition's
        users at a time. Apply the changelog from the checkpoint's position on afterwards.
        """
        self.histories.put(table)
        known = self.offsets.get(table.partition, 0)
        self.offsets[table.partition] = max(known, next_offset)

    def apply(self, records: Iterable[Record], *, with_touches: bool = True) -> list[UserChanges]:
        """Apply changelog records; return the changes of the groups that they completed.

        A record that can't be read is logged and skipped. Without ``with_touches``, the changes name
        users alone, which takes less time.
        """
        self._with_touches = with_touches
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
        for partition, users in self._closed.items():
            self._put(partition, users)
        self._closed = {}
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
        for rows in (self._open, self._closed):
            rows.get(record.partition, {}).pop(user, None)
        self.histories.remove(user)

    def _pending(self, partition: int, key: bytes) -> _Pending:
        user = key.decode()
        found = self._open.setdefault(partition, {})
        if user not in found:
            found[user] = _Pending()
        return found[user]

    def _close(self, partition: int, next_offset: int) -> UserChanges:
        since = self.offsets.get(partition, 0)
        pending = self._open.pop(partition, {})
        closed = self._closed.setdefault(partition, {})
        touches: list[Touch] = []
        known = []
        for user, rows in pending.items():
            if rows.header is None:
                # Compaction dropped the header of this page; a newer one follows.
                self._open.setdefault(partition, {})[user] = rows
                continue
            try:
                rows.decode()
            except Exception as error:  # noqa: BLE001 - no row may stop the reader
                log.warning("history not read partition=%d error=%r", partition, error)
                continue
            if not rows.n_ids:
                continue  # only impressions: nothing to train on
            known.append(user)
            if self._with_touches:
                touches += [
                    Touch(entry.offset, entry.item, user, entry.weight > 0.0)
                    for page in rows.entries.values()
                    for entry in page
                    if entry.offset >= since
                ]
            if user in closed:
                rows.entries = {**closed[user].entries, **rows.entries}
            closed[user] = rows
        self.offsets[partition] = max(since, next_offset)
        touches.sort()
        return UserChanges(tuple(known), tuple(touches))

    def _put(self, partition: int, closed: Mapping[str, _Pending]) -> None:
        """Set the histories of users; pages that are not given keep their entries."""
        headers = list(closed.values())
        given = [[e for page in each.entries.values() for e in page] for each in headers]
        new = list(itertools.chain.from_iterable(given))
        kept, kept_of = self._kept(list(closed), headers)
        owners = np.concatenate([np.repeat(np.arange(len(given)), [*map(len, given)]), kept_of])
        order = np.argsort(owners, kind="stable")
        columns: list[Any] = [
            np.concatenate([np.array(first, dtype), second])[order]
            for first, second, dtype in (
                (self.histories.items.add([e.item for e in new]), kept.items, np.int32),
                ([e.weight for e in new], kept.weights, np.float64),
                ([e.at_ms for e in new], kept.at_ms, np.int64),
                ([e.offset for e in new], kept.offsets, np.int64),
                ([e.n_events for e in new], 2 - kept.is_single, np.int64),
            )
        ]
        self.histories.put(
            UserColumns(
                list(closed),
                partition,
                [each.clock_ms for each in headers],
                [each.n_ids for each in headers],
                np.bincount(owners, minlength=len(given)),
                *columns,
            )
        )

    def _kept(self, users: Sequence[str], headers: Sequence[_Pending]) -> tuple[Entries, Int64s]:
        """Return the entries that belong to none of the pages given, and the place of each one's user."""
        rows = self.histories.rows_of(users)
        places = np.flatnonzero(
            [row >= 0 and len(h.entries) < h.n_pages for row, h in zip(rows, headers, strict=True)]
        )
        found = self.histories.entries_of(rows[places])
        owners = np.repeat(np.arange(len(places)), np.diff(found.indptr))
        n_pages = np.array([headers[at].n_pages for at in places.tolist()], np.int64)
        pages = table_rows.pages_of(self._hashes_of(found.items), n_pages[owners])
        given = [
            n << 32 | page for n, at in enumerate(places.tolist()) for page in headers[at].entries
        ]
        kept = ~np.isin(owners << 32 | pages, np.array(given, np.int64))
        arrays: Any = [each[kept] for each in found[1:]]
        return Entries(found.indptr, *arrays), places[owners[kept]]

    def _hashes_of(self, items: Int32s) -> Int64s:
        """Return the hashes of items, by which they belong to pages."""
        self._hashes.grow(len(self.histories.items), -1)
        hashes = self._hashes.rows
        unknown = np.unique(items[hashes[items] < 0])
        names = self.histories.items.names(unknown.tolist())
        hashes[unknown] = [table_rows.item_hash(name) for name in names]
        return hashes[items]


class _Pending:
    """Rows of one user in a group."""

    __slots__ = ("clock_ms", "entries", "header", "n_ids", "n_pages", "pages")

    def __init__(self) -> None:
        self.header: bytes | None = None
        self.pages: dict[int, bytes] = {}
        self.entries: dict[int, tuple[Entry, ...]] = {}
        self.clock_ms = self.n_ids = self.n_pages = 0

    def decode(self) -> None:
        """Decode the header and the pages."""
        header = table_rows.decode_header(self.header or b"")
        self.clock_ms, self.n_ids, self.n_pages = header.clock_ms, header.n_ids, header.n_pages
        self.entries = {number: table_rows.decode_page(page) for number, page in self.pages.items()}
        self.header, self.pages = b"", {}
