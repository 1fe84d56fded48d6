"""State in memory: of a partition, and the users who wait for a refresh."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice

import msgspec
import numpy as np

from recstream.core.events import Event
from recstream.core.generation import Generation
from recstream.core.history import History, table_rows
from recstream.errors import SchemaUnsupported
from recstream.worker.rocksdb_rows import RocksDBRows

log = logging.getLogger(__name__)

CACHED_ENTRIES = 250_000
"""History entries cached per partition, about 300 bytes each."""


class Trigger(msgspec.Struct, frozen=True, gc=False):
    """Why a user's list is due: first offset that is not in a list, and the newest event.

    The event is None after a restart.
    """

    offset: int
    event: Event | None = None
    appended_ts: int = 0


class UserState(msgspec.Struct, frozen=True, gc=False):
    """A user's history, and the list published last."""

    history: History
    listed: table_rows.ListRow | None


class UserCache:
    """Least-recently-used cache of user states, bounded by the number of history entries."""

    def __init__(self, capacity: int = CACHED_ENTRIES) -> None:
        self._capacity = capacity
        self._users: OrderedDict[str, UserState] = OrderedDict()
        self._size = 0

    def get(self, user: str) -> UserState | None:
        """Return a cached user; `put` marks it as used."""
        return self._users.get(user)

    def put(self, user: str, state: UserState) -> None:
        """Cache a user as the one used last; evict the least recently used ones when the cache is full."""
        users = self._users
        old = users.get(user)
        users[user] = state
        self._size += state.history.n_items + 1
        if old is not None:
            users.move_to_end(user)
            self._size -= old.history.n_items + 1
        while self._size > self._capacity and len(users) > 1:
            _, gone = users.popitem(last=False)
            self._size -= gone.history.n_items + 1

    def drop(self, user: str) -> None:
        """Remove a user from the cache."""
        state = self._users.pop(user, None)
        if state is not None:
            self._size -= state.history.n_items + 1

    def __len__(self) -> int:
        return len(self._users)


class PartitionState:
    """State of one partition, read from its rows; discarded when the partition is revoked.

    Parameters
    ----------
    restore : callable
        Returns the state of a user whose rows can't be read, made from the log.

    Attributes
    ----------
    next_offset : int
        Every record before it is in the rows.
    next_list : int
        Offset that the next record on the topic of lists gets, at least.
    pending_lists : dict of str to Trigger
        Users whose list is due, longest waiting first. After a crash they are found again in the
        rows (`AppliedRow.listed_offset`).
    recent_users : dict of str to None
        Users with the newest events, newest last.
    restored : set of str
        Users whose rows can't be read; their next event writes all of them.
    """

    def __init__(
        self,
        number: int,
        rows: RocksDBRows,
        *,
        n_recent: int,
        restore: Callable[[PartitionState, str], UserState],
    ) -> None:
        self.number = number
        self.rows = rows
        self.cache = UserCache()
        self.pending_lists: dict[str, Trigger] = {}
        self.recent_users: dict[str, None] = {}
        self.restored: set[str] = set()
        self._n_recent = n_recent
        self._restore = restore
        raw = rows.get(number, table_rows.APPLIED_KEY)
        try:
            applied = (
                table_rows.AppliedRow(0, 0) if raw is None else table_rows.decode_applied_row(raw)
            )
        except msgspec.DecodeError as error:
            log.warning(
                "position of partition %d can't be read, it is that of its rows: %s", number, error
            )
            newest = max((offset for offset, _ in self._users_since(0)), default=-1)
            applied = table_rows.AppliedRow(newest + 1, 0)
        self.next_offset = applied.next_offset
        self.next_list = 0
        if applied.listed_offset < applied.next_offset:
            due = sorted(self._users_since(applied.listed_offset))
            self.pending_lists = {user: Trigger(offset) for offset, user in due}

    def _users_since(self, offset: int) -> Iterator[tuple[int, str]]:
        """Yield (offset of the newest event, user) of users with an event at or after ``offset``.

        A user whose header can't be read may have one.
        """
        for key, value in self.rows.scan(self.number):
            if b"\0" not in key:
                try:
                    newest = table_rows.header_offset(value)
                except msgspec.DecodeError:
                    newest = offset
                if newest >= offset:
                    yield newest, key.decode(errors="replace")

    @property
    def listed_offset(self) -> int:
        """Offset before which no event waits for a list."""
        oldest = next(iter(self.pending_lists.values()), None)
        return self.next_offset if oldest is None else oldest.offset

    def request_list(self, user: str, trigger: Trigger) -> None:
        """Queue a user for a list; a user who is queued keeps the place and takes the newest event."""
        queued = self.pending_lists.get(user)
        if queued is not None:
            trigger = Trigger(queued.offset, trigger.event, trigger.appended_ts)
        self.pending_lists[user] = trigger

    def user(self, user: str) -> UserState:
        """Return a user's history and last list, from the cache or the rows; cache it."""
        state = self.cache.get(user)
        if state is None:
            state = self.load(user)
            self.cache.put(user, state)
        return state

    def load(self, user: str) -> UserState:
        """Return a user's history and last list from the rows."""
        try:
            return self._load(user)
        except SchemaUnsupported:
            raise
        except (msgspec.DecodeError, ValueError) as error:
            log.warning(
                "rows of a user can't be read, they are made again from the log: partition %d %s",
                self.number,
                error,
            )
            self.restored.add(user)
            return self._restore(self, user)

    def _load(self, user: str) -> UserState:
        number, rows = self.number, self.rows
        history = table_rows.load(user, lambda key: rows.get(number, key))
        raw = None if history is None else rows.get(number, table_rows.list_key(user.encode()))
        listed = None if raw is None else table_rows.decode_list_row(raw)
        return UserState(history or History(user), listed)

    def touch(self, users: Iterable[str]) -> None:
        """Mark users as those with the newest events, the newest last."""
        recent = self.recent_users
        for user in users:
            recent.pop(user, None)
            recent[user] = None
        for user in list(islice(recent, max(0, len(recent) - self._n_recent))):
            del recent[user]

    def drop(self, user: str) -> None:
        """Remove a user from memory."""
        self.cache.drop(user)
        self.pending_lists.pop(user, None)
        self.recent_users.pop(user, None)

    def applied_row(self) -> tuple[bytes, table_rows.AppliedRow]:
        """Return the row that is written last in every commit."""
        return table_rows.APPLIED_KEY, table_rows.AppliedRow(self.next_offset, self.listed_offset)


class RefreshQueue:
    """Users whose lists are made again, each once; partitions take turns.

    Parameters
    ----------
    now_ms : int
        Times of items before it do not count.
    """

    def __init__(self, now_ms: int) -> None:
        self._users: dict[int, dict[str, None]] = {}
        self._times_ms = now_ms // 1000 * 1000

    def __len__(self) -> int:
        return sum(map(len, self._users.values()))

    def add(self, state: PartitionState) -> None:
        """Add a partition's recent users, newest first."""
        users = self._users.setdefault(state.number, {})
        for user in reversed(state.recent_users):
            users[user] = None

    def n_passed(self, generation: Generation | None, now_ms: int) -> int:
        """Return how many `from` and `until` of items have passed since the last call."""
        before_ms, self._times_ms = self._times_ms, now_ms // 1000 * 1000
        if generation is None:
            return 0
        first, last = np.searchsorted(
            generation.columns.boundaries, [before_ms, self._times_ms], side="right"
        )
        return int(last - first)

    def take(self, limit: int) -> dict[int, list[str]]:
        """Remove the next users, of each partition as many; return them by partition."""
        waiting = {number: users for number, users in self._users.items() if users}
        share = -(-limit // max(1, len(waiting)))
        taken = {number: list(islice(users, share)) for number, users in waiting.items()}
        for number, users in taken.items():
            for user in users:
                self.drop(number, user)
        return taken

    def drop(self, partition: int, user: str) -> None:
        """Remove a user."""
        self._users.get(partition, {}).pop(user, None)

    def revoke(self, partitions: Collection[int]) -> None:
        """Remove the users of partitions that go to another worker."""
        for partition in partitions:
            self._users.pop(partition, None)
