"""Beside the flow: a user is forgotten: whose events, rows and lists are to go, and their erasure.

`ForgetRequested` on the control topic names the user. The worker that owns the user's partition

1. appends, in one call (`Engine.forget`): tombstones of the user's rows and list, and `Forgotten`,
   which names the offset but not the user;
2. waits a moment, so that those who read along delete the user by the tombstones;
3. blanks the user's records in the log (`erase`), the tombstones' keys too, and scrubs its table;
4. blanks the request.

Until 4 the request stands, so a worker that was killed, or another one, does what is missing: 1 is
done if `Forgotten` is there, the rest changes nothing when done twice. The tombstones keep a header
with the request's id. A reader with a store of its own that meets one without the user's key, or
finds a finished id that it never met, came too late, and builds its store anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import msgspec

from recstream.control import read_control
from recstream.core.records import ForgetRequested, Forgotten, decode_dead_letter
from recstream.errors import NotPossible
from recstream.log import (
    CONTROL,
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    EventLog,
    ReadableLog,
    Record,
    partition_for,
)
from recstream.log.embedded import EmbeddedLog, redact

log = logging.getLogger(__name__)

HEADER = "recstream-forgotten"
BLANK_KEY = b"\0forgotten"
"""Stands for the key of a redacted row or list; no user's key, and Faust deletes nothing by it."""
READ_RECORDS = 5_000
GRACE_MS = 3_000
"""Between the tombstones and their redaction: readers that are later start over."""

Headers = tuple[tuple[str, bytes], ...]


class _Who(msgspec.Struct):
    user: Any = None


_who = msgspec.json.Decoder(_Who).decode
_who_of_each = msgspec.json.Decoder(list[_Who | None]).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Forgetting(NamedTuple):
    """What the control topic says about forgetting.

    Attributes
    ----------
    pending : dict of str to (int, ForgetRequested)
        Id to offset and request, of those that are not finished.
    begun : dict of str to Forgotten
        By id; finished ones too.
    """

    pending: dict[str, tuple[int, ForgetRequested]]
    begun: dict[str, Forgotten]

    @property
    def finished(self) -> frozenset[str]:
        """Return the ids of which nothing is left in the log."""
        return frozenset(self.begun.keys() - self.pending.keys())


def forgetting(event_log: ReadableLog) -> Forgetting:
    """Return what the control topic says about forgetting."""
    found = Forgetting({}, {})
    for offset, record in read_control(event_log):
        if isinstance(record, ForgetRequested):
            found.pending[record.id] = offset, record
        elif isinstance(record, Forgotten):
            found.begun[record.id] = record
    return found


def erasable(event_log: EventLog) -> EmbeddedLog:
    """Return the log as one whose records can be blanked.

    Raises
    ------
    NotPossible
        It can't: a broker's log is only ever appended to.
    """
    if not isinstance(event_log, EmbeddedLog):
        raise NotPossible(
            "records of a Kafka log can't be blanked; let them expire by the topics' retention, or "
            "delete all of a partition up to an offset with kafka-delete-records"
        )
    return event_log


def mark(request_id: str) -> Headers:
    """Return the headers of a tombstone by which a user is forgotten."""
    return ((HEADER, request_id.encode()),)


def marked(record: Record) -> str | None:
    """Return the id of the request that a tombstone belongs to, None for all other records."""
    for name, value in record.headers:
        if name == HEADER and record.value is None:
            return value.decode()
    return None


# Records


def without(record: Record, user: str) -> Record:
    """Return a record of interactions without what a user did in it; others keep their places.

    A single event becomes an empty record, one among others ``null``.
    """
    key = None if record.key == user.encode() else record.key
    value = record.value
    if value is None:
        return record._replace(key=key, headers=() if key != record.key else record.headers)
    is_envelope = value[:1] == b"["
    try:
        users = _who_of_each(value) if is_envelope else [_who(value)]
        is_mine = [each is not None and each.user == user for each in users]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _unreadable_without(record, user)
    if not any(is_mine):
        return record if key == record.key else record._replace(key=key)
    if not is_envelope:
        return record._replace(key=None, value=None, headers=())
    return record._replace(key=key, value=_nulled(_split(value), is_mine))


def _unreadable_without(record: Record, user: str) -> Record:
    """Return a record that holds bad events without those that name the user; they never counted."""
    value = record.value or b""
    key = None if record.key == user.encode() else record.key
    quoted = msgspec.json.encode(user)
    try:
        parts = _split(value) if value[:1] == b"[" else []
    except (msgspec.DecodeError, UnicodeDecodeError):
        parts = []
    if parts:
        is_mine = [_is_by(bytes(part), user, quoted) for part in parts]
        rest = _nulled(parts, is_mine) if any(is_mine) else value
        return record._replace(key=key, value=rest)
    if key != record.key or quoted in value:
        return record._replace(key=None, value=None, headers=())
    return record


def _is_by(part: bytes, user: str, quoted: bytes) -> bool:
    try:
        return bool(_who(part).user == user)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return quoted in part


def _nulled(parts: list[msgspec.Raw], is_mine: list[bool]) -> bytes | None:
    kept = [b"null" if mine else bytes(part) for part, mine in zip(parts, is_mine, strict=True)]
    if all(part == b"null" for part in kept):
        return None
    return b"[" + b",".join(kept) + b"]"


def _letter_without(record: Record, user: str) -> Record:
    """Return a dead letter, emptied if it holds something of the user."""
    if record.value is None:
        return record
    quoted = msgspec.json.encode(user)
    try:
        is_mine = _is_by(decode_dead_letter(record.value).value.encode(), user, quoted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        is_mine = quoted in record.value
    return record._replace(key=None, value=None, headers=()) if is_mine else record


# The log


def erase(event_log: EmbeddedLog, changelog: str, user: str, forgotten: Forgotten) -> None:
    """Blank a user's events before the offset, rows and lists before their tombstones, and letters.

    Events of the user that stand in a partition not theirs never counted: they go wherever they are.
    Done again, it changes nothing.
    """
    partition, until = forgotten.partition, forgotten.at_offset

    def event(record: Record) -> Record:
        if record.partition == partition and record.offset >= until:
            return record
        return without(record, user)

    for number in range(event_log.partitions(INTERACTIONS)):
        redact(event_log, INTERACTIONS, number, event)
    for number in range(event_log.partitions(DEAD_LETTERS)):
        redact(event_log, DEAD_LETTERS, number, lambda record: _letter_without(record, user))
    key = user.encode()
    for topic in (RECOMMENDATIONS, changelog):
        last = _last_marked(event_log, topic, partition, forgotten.id)

        def row(record: Record, last: int = last) -> Record:
            name = record.key
            if name is None or record.offset > last or name.partition(b"\0")[0] != key:
                return record
            headers = mark(forgotten.id) if marked(record) == forgotten.id else ()
            return record._replace(key=BLANK_KEY, value=None, headers=headers)

        redact(event_log, topic, partition, row)


def _last_marked(event_log: ReadableLog, topic: str, partition: int, request_id: str) -> int:
    """Return the offset of the last tombstone of a request, -1 if compaction took them all."""
    at, end = event_log.earliest(topic, partition), event_log.high_watermark(topic, partition)
    last = -1
    while at < end:
        records = event_log.read(topic, partition, at, READ_RECORDS)
        if not records:
            break
        for record in records:
            if record.headers and marked(record) == request_id:
                last = record.offset
        at = records[-1].offset + 1
    return last


def finish(event_log: EmbeddedLog, offset: int) -> None:
    """Blank a request, which says that nothing is left to do."""
    redact(
        event_log,
        CONTROL,
        0,
        lambda each: each._replace(key=None, value=None) if each.offset == offset else each,
    )


class Due(NamedTuple):
    """A user whose tombstones have been appended, and where the request stands."""

    offset: int
    user: str
    forgotten: Forgotten


class Forgetter:
    """Carries requests out for a worker. `begin` and `scrub` belong to the engine's thread.

    Parameters
    ----------
    event_log : EventLog
    changelog : str
    forget : callable
        `Engine.forget`.
    scrub : callable
        Removes what was deleted from a partition's table.
    clock_ms : callable
    grace_ms : int
        See `GRACE_MS`.
    """

    def __init__(
        self,
        event_log: EventLog,
        changelog: str,
        *,
        forget: Callable[[ForgetRequested], Forgotten],
        scrub: Callable[[int], None],
        clock_ms: Callable[[], int],
        grace_ms: int,
    ) -> None:
        self._log = event_log
        self._changelog = changelog
        self._forget = forget
        self.scrub = scrub
        self._clock_ms = clock_ms
        self._grace_ms = grace_ms
        self._read_until = -1
        self._owned: frozenset[int] = frozenset()
        self._is_open = True

    def begin(self, owned: Collection[int]) -> list[Due]:
        """Delete users asked for on the partitions owned; return those whose records may go now."""
        if not isinstance(self._log, EmbeddedLog):
            return []
        mine, end = frozenset(owned), self._log.high_watermark(CONTROL, 0)
        if not self._is_open and end == self._read_until and mine == self._owned:
            return []
        self._is_open = True
        found = forgetting(self._log)
        due, n_open = [], 0
        for request_id, (offset, request) in found.pending.items():
            if partition_for(request.user.encode(), self._log.partitions(INTERACTIONS)) not in mine:
                continue
            n_open += 1
            forgotten = found.begun.get(request_id)
            if forgotten is None:
                forgotten = self._forget(request)
                log.info("user's rows deleted request=%s", request_id)
            if self._clock_ms() >= forgotten.forgotten_ts + self._grace_ms:
                due.append(Due(offset, request.user, forgotten))
        self._read_until, self._owned, self._is_open = end, mine, n_open > 0
        return due

    def erase(self, due: Due) -> None:
        """Blank the user's records; any thread may."""
        erase(erasable(self._log), self._changelog, due.user, due.forgotten)

    def finish(self, due: Due) -> None:
        """Say that it is done, when the table was scrubbed too."""
        finish(erasable(self._log), due.offset)
        log.info("user forgotten request=%s", due.forgotten.id)
