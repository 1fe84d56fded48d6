"""Blank the records of one user in the embedded log."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from recstream.core.records import Forgotten, decode_dead_letter
from recstream.erasure.requests import BLANK_KEY, mark, marked
from recstream.log import (
    CONTROL,
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    ReadableLog,
    Record,
    read_backwards,
)
from recstream.log.embedded import EmbeddedLog, redact, zero_page_gaps

READ_RECORDS = 5_000


class _Owner(msgspec.Struct):
    user: Any = None


_owner = msgspec.json.Decoder(_Owner).decode
_owners = msgspec.json.Decoder(list[_Owner | None]).decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def without(record: Record, user: str) -> Record:
    """Return an interactions record without a user's events; other events keep their places.

    A single event becomes an empty record; an event of an array becomes ``null``. What can't be read is
    blanked if it names the user, in its key or as a JSON string.
    """
    key = None if record.key == user.encode() else record.key
    value = record.value
    if value is None:
        return record._replace(key=key, headers=() if key != record.key else record.headers)
    is_envelope = value[:1] == b"["
    try:
        users = _owners(value) if is_envelope else [_owner(value)]
        is_mine = [each is not None and each.user == user for each in users]
        parts = _split(value) if is_envelope else []
    except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
        return _unreadable_without(record, user)
    if not any(is_mine):
        return record if key == record.key else record._replace(key=key)
    if not is_envelope:
        return record._replace(key=None, value=None, headers=())
    return record._replace(key=key, value=_nulled(parts, is_mine))


def _unreadable_without(record: Record, user: str) -> Record:
    """Return a record with unreadable events without those that name the user."""
    value = record.value or b""
    key = None if record.key == user.encode() else record.key
    quoted = msgspec.json.encode(user)
    try:
        parts = _split(value) if value[:1] == b"[" else []
    except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
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
        return bool(_owner(part).user == user)
    except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
        return quoted in part


def _nulled(parts: list[msgspec.Raw], is_mine: list[bool]) -> bytes | None:
    kept = [b"null" if mine else bytes(part) for part, mine in zip(parts, is_mine, strict=True)]
    if all(part == b"null" for part in kept):
        return None
    return b"[" + b",".join(kept) + b"]"


def letter_without(record: Record, user: str) -> Record:
    """Return a dead letter, blanked if its event is the user's."""
    if record.value is None:
        return record
    quoted = msgspec.json.encode(user)
    try:
        is_mine = _is_by(decode_dead_letter(record.value).value.encode(), user, quoted)
    except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
        is_mine = quoted in record.value
    return record._replace(key=None, value=None, headers=()) if is_mine else record


def erase(event_log: EmbeddedLog, changelog: str, user: str, requests: Sequence[Forgotten]) -> None:
    """Blank a user's events before the offset, rows and lists up to the tombstones, and dead letters.

    Several requests for the user are carried out together, by the last offset and tombstone. Events of
    the user in other partitions never counted: all of them are blanked. Idempotent.
    """
    partition, until = requests[-1].partition, max(each.at_offset for each in requests)
    ids = {each.id for each in requests}

    def event(record: Record) -> Record:
        if record.partition == partition and record.offset >= until:
            return record
        return without(record, user)

    for number in range(event_log.partitions(INTERACTIONS)):
        redact(event_log, INTERACTIONS, number, event)
    for number in range(event_log.partitions(DEAD_LETTERS)):
        redact(event_log, DEAD_LETTERS, number, lambda record: letter_without(record, user))
    key = user.encode()
    for topic in (RECOMMENDATIONS, changelog):
        last = _last_marked(event_log, topic, partition, ids)

        def row(record: Record, last: int = last) -> Record:
            name = record.key
            if name is None or record.offset > last or name.partition(b"\0")[0] != key:
                return record
            found = marked(record)
            headers = mark(found) if found in ids else ()
            return record._replace(key=BLANK_KEY, value=None, headers=headers)

        redact(event_log, topic, partition, row)


def _last_marked(
    event_log: ReadableLog, topic: str, partition: int, request_ids: Collection[str]
) -> int:
    """Return the offset of the requests' last tombstone, -1 if compaction removed them all."""
    for record in read_backwards(event_log, topic, partition):
        if record.headers and marked(record) in request_ids:
            return record.offset
    return -1


def finish(event_log: EmbeddedLog, offsets: Collection[int]) -> None:
    """Blank requests that have been carried out; then overwrite what they left in the file, once."""
    redact(
        event_log,
        CONTROL,
        0,
        lambda each: each._replace(key=None, value=None) if each.offset in offsets else each,
    )
    zero_page_gaps(event_log.storage)
