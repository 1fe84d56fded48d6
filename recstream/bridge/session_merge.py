"""Copy a session's events from the log to a user who logged in.

Events are copied, not renamed: a replay derives the user's history from the user's own records, and
no reader needs aliases. A copy's id is a hash of both users and the original's id, so a repeated
merge counts once. Time, value, list and context are the original's; ``context.merged_from`` names
the session.

The search needs no scan of the whole partition. The session's history contains the number of its
events, the offset of the newest one, and the offset of the newest one of each item.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from recstream.core.events import Event
from recstream.core.history import History
from recstream.errors import LogUnavailable, OffsetOutOfRange
from recstream.log import (
    INTERACTIONS,
    EventLog,
    Record,
    decode,
    may_contain,
    partition_for,
    read_records,
)

MAX_MERGED = 1_000
"""Most events a merge copies, the newest: fewer than the ids that a history remembers, so that a
repeated merge counts once."""
MAX_SCANNED = 100_000
"""Most records read before a session's newest event; older events are read item by item."""
CHUNK = 2_000
ID_BYTES = 16


class SessionEvents(NamedTuple):
    """A session's events in the order of the log, and the number of known events that are missing."""

    events: list[Event]
    n_missing: int


def read_session(
    event_log: EventLog, user: str, history: History | None, folded: int
) -> SessionEvents:
    """Return a session's events without impressions.

    Reads all records that no worker has folded yet. Then reads backwards from the session's newest
    folded event, until it found as many events as the history counts, at most `MAX_SCANNED` records.
    Reads older events one by one: the history contains the offset of each item's newest event.

    Parameters
    ----------
    history : History or None
        The session's, as known to this bridge.
    folded : int
        The next offset of the session's partition that the histories don't contain yet.

    Raises
    ------
    LogUnavailable
        More than `MAX_SCANNED` records wait to be folded.
    """
    partition = partition_for(user.encode(), event_log.partitions(INTERACTIONS))
    reader = _Reader(event_log, partition, user)
    newest = -1 if history is None else history.offset
    start = max(reader.earliest, folded, newest + 1)
    if reader.end - start > MAX_SCANNED:
        raise LogUnavailable(
            f"{reader.end - start} events wait to be folded, more than the {MAX_SCANNED} that a "
            "merge reads; try again once the workers have caught up"
        )
    reader.read(start, reader.end)
    n_new = len(reader.ids)
    n_folded = 0 if history is None else history.n_ids
    wanted = n_new + min(n_folded, MAX_MERGED)
    at = min(start, newest + 1)
    lowest = max(reader.earliest, at - MAX_SCANNED)
    while at > lowest and len(reader.ids) < wanted:
        first = max(lowest, at - CHUNK)
        reader.read(first, at)
        at = first
    if history is not None and len(reader.ids) < wanted:
        named = sorted({entry.offset for entry in history.entries() if entry.offset < at})
        for offset in named[-MAX_MERGED:]:
            reader.read(offset, offset + 1)
    events = reader.in_order()
    kept = events[-MAX_MERGED:]
    return SessionEvents(kept, max(0, n_folded + n_new - len(kept)))


class _Reader:
    """Collects one user's events from ranges of a partition, each event once."""

    def __init__(self, event_log: EventLog, partition: int, user: str) -> None:
        self._log = event_log
        self._partition = partition
        self._user = user
        self._quoted = msgspec.json.encode(user)
        self._found: dict[tuple[int, int], Event] = {}
        self.ids: set[str] = set()
        self.earliest = event_log.earliest(INTERACTIONS, partition)
        self.end = event_log.high_watermark(INTERACTIONS, partition)

    def read(self, first: int, end: int) -> None:
        """Add the user's events of a range of offsets."""
        for record in self._records(first, end):
            if not may_contain(record.value or b"", self._quoted):
                continue
            for place, event in decode(record).events:
                if event.user == self._user and event.type != "impression":
                    self._found[record.offset, place] = event
                    self.ids.add(event.id)

    def _records(self, first: int, end: int) -> Iterator[Record]:
        with contextlib.suppress(OffsetOutOfRange):  # pruned meanwhile
            at = max(first, self.earliest)
            yield from read_records(self._log, INTERACTIONS, self._partition, at, end)

    def in_order(self) -> list[Event]:
        """Return the events in the order of the log; of repeated ids the first, which counted."""
        seen: set[str] = set()
        events: list[Event] = []
        for place in sorted(self._found):
            event = self._found[place]
            if event.id not in seen:
                seen.add(event.id)
                events.append(event)
        return events


def copy_event(event: Event, user: str) -> Event:
    """Return a session's event as an event of a user."""
    context = event.context | {"merged_from": event.user}
    return msgspec.structs.replace(event, id=copy_id(event, user), user=user, context=context)


def copy_id(event: Event, user: str) -> str:
    """Return a copy's id: equal for equal event, session and user."""
    hasher = hashlib.blake2b(digest_size=ID_BYTES)
    for part in (user, event.user, event.id):
        text = part.encode()
        hasher.update(len(text).to_bytes(4, "little") + text)
    return f"m-{hasher.hexdigest()}"
