"""Fold a partition's interactions into histories, by the settings in force at each offset."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from recstream.core.events import Event
from recstream.core.history import FoldSettings, History, SettingsTimeline, apply, table_rows
from recstream.errors import CheckpointCorrupt
from recstream.log import (
    INTERACTIONS,
    ReadableLog,
    Record,
    decode,
    may_contain,
    partition_for,
    read_batches,
)

WantedOffsets = Mapping[str, set[int]]
"""Users, and the event offsets at which their history is wanted."""

Load = Callable[[bytes], bytes | None]
"""Returns a row by its key, or None."""

Watch = Callable[[History, History, Event, int, FoldSettings], None]
"""Called with the history before and after an event, the event, its offset, and the fold settings."""


class PartitionFold:
    """The histories of one partition, folded from its records in order.

    Parameters
    ----------
    partition, n_partitions : int
        Events of users of other partitions are skipped, as in the worker.
    load : callable
        Returns a user's history as of the start, or None; default: None for all users.

    Attributes
    ----------
    timeline : SettingsTimeline
        Replace it to follow settings that were appended since.
    watch : callable or None
        Called for each event, also if it changes nothing.
    histories : dict of str to History
        Histories of the users seen so far.
    loaded : dict of str to History
        Histories that ``load`` returned, unchanged.
    n_events : int
        Folded, including repeated events.
    unreadable : set of str or None
        Users whom ``load`` refused with `CheckpointCorrupt`: their events are skipped. None: the
        error is raised.
    """

    def __init__(
        self,
        partition: int,
        n_partitions: int,
        timeline: SettingsTimeline,
        *,
        load: Callable[[str], History | None] = lambda _: None,
        next_offset: int = 0,
    ) -> None:
        self.partition = partition
        self.next_offset = next_offset
        self.histories: dict[str, History] = {}
        self.loaded: dict[str, History] = {}
        self.n_events = 0
        self._n_partitions = n_partitions
        self.timeline = timeline
        self._load = load
        self.watch: Watch | None = None
        self.unreadable: set[str] | None = None

    def history(self, user: str) -> History:
        """Return a user's current history; empty for an unknown user."""
        return self.histories.get(user) or self._load(user) or History(user)

    def fold(
        self,
        records: Iterable[Record],
        wanted: WantedOffsets | None = None,
        *,
        only: str | None = None,
    ) -> dict[tuple[str, int], History]:
        """Fold records, and return the wanted histories.

        Parameters
        ----------
        wanted : mapping, optional
            Users and the offsets of the newest event of the wanted histories.
        only : str, optional
            Fold this user's events alone.

        Returns
        -------
        dict of (user, offset) to History
        """
        histories, at, watch = self.histories, self.timeline.at, self.watch
        number = self.partition
        kept: dict[tuple[str, int], History] = {}
        for record in records:
            offset = record.offset
            if offset < self.next_offset:
                continue
            active = at(number, offset)
            fold_settings, is_by_user = active.fold_settings, active.is_by_user
            for place, event in decode(record).events:
                user = event.user
                if only is not None and user != only:
                    continue
                old = histories.get(user)
                if old is None:
                    old = self._first(user)
                if old is None:
                    continue
                self.n_events += 1
                if is_by_user:
                    fold_settings = active.fold_settings_of(old)
                histories[user] = new = apply(old, event, offset, place, fold_settings)
                if watch is not None:
                    watch(old, new, event, offset, fold_settings)
                if wanted is not None and user in wanted and new.offset in wanted[user]:
                    kept[user, new.offset] = new
            self.next_offset = offset + 1
        return kept

    def advance(
        self,
        event_log: ReadableLog,
        stop: int | None = None,
        wanted: WantedOffsets | None = None,
        *,
        progress: Callable[[int], object] = lambda _: None,
    ) -> dict[tuple[str, int], History]:
        """Fold the partition's records before an offset, by default all; see `fold`.

        Parameters
        ----------
        progress : callable
            Called with the number of events folded since the last call.
        """
        kept: dict[tuple[str, int], History] = {}
        for group in read_batches(event_log, INTERACTIONS, self.partition, self.next_offset, stop):
            before = self.n_events
            kept |= self.fold(group, wanted)
            progress(self.n_events - before)
        return kept

    def _first(self, user: str) -> History | None:
        """Return the history of a user seen for the first time; None if the events are skipped."""
        if partition_for(user.encode(), self._n_partitions) != self.partition:
            return None
        try:
            known = self._load(user)
        except CheckpointCorrupt:
            if self.unreadable is None:
                raise
            self.unreadable.add(user)
            return None
        if known is None:
            return History(user)
        self.loaded[user] = known
        return known


def fold_from(
    event_log: ReadableLog, partition: int, timeline: SettingsTimeline, start: int, load: Load
) -> PartitionFold:
    """Return a fold that starts at an offset with stored rows.

    Parameters
    ----------
    load : callable
        Returns a row as of the start by key, or None.
    """
    return PartitionFold(
        partition,
        event_log.partitions(INTERACTIONS),
        timeline,
        load=lambda user: load_history(user, load),
        next_offset=start,
    )


def load_history(user: str, load: Load) -> History | None:
    """Return the history that a checkpoint's rows hold, or None if the user has none.

    Raises
    ------
    CheckpointCorrupt
        A row is missing or can't be read.
    """
    try:
        return table_rows.load(user, load)
    except ValueError as error:
        raise CheckpointCorrupt(
            f"rows of user {user!r} in a checkpoint can't be read: {error}; delete the checkpoint"
        ) from error


def state_digest(histories: Mapping[str, History]) -> str:
    """Return a digest (BLAKE2b, hex) of histories: equal for equal state."""
    hasher = hashlib.blake2b(digest_size=16)
    for user in sorted(histories):
        history = histories[user]
        if history.offset >= 0:
            hasher.update(table_rows.history_digest(history).encode())
    return hasher.hexdigest()


def records_of(
    log: ReadableLog, partition: int, user: str, start: int, stop: int
) -> Iterator[Record]:
    """Yield the records of a partition that may hold events of a user.

    The worker counts an event by its user, whatever the record's key.

    Parameters
    ----------
    start, stop : int
        Offsets from ``start`` on, before ``stop``.
    """
    quoted = msgspec.json.encode(user)
    for group in read_batches(log, INTERACTIONS, partition, start, stop):
        yield from (each for each in group if may_contain(each.value or b"", quoted))
