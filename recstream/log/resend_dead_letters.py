"""Read dead letters, and send their content again, as it was or corrected.

`recstream.log.decode` makes dead letters; the worker appends them with the effects of their records.
"""

import contextlib

from recstream.core.events import decode_event
from recstream.core.records import DeadLetter, decode_dead_letter, decode_item
from recstream.errors import InvalidInput, InvalidJson, NotFound, OffsetOutOfRange
from recstream.log.decode import decode_record
from recstream.log.port import MAX_OFFSET_DIGITS, NewRecord, ReadableLog, Record
from recstream.log.topics import CATALOGUE, DEAD_LETTERS, INTERACTIONS


def read_letter(record: Record) -> DeadLetter | None:
    """Return the dead letter in a record; of an unreadable one, a letter that says so."""
    return decode_record(record, decode_dead_letter)


def find_letter(event_log: ReadableLog, name: str) -> DeadLetter:
    """Return the dead letter of a name like ``0:17``: its partition and offset.

    Raises
    ------
    InvalidInput
        It is no such name.
    NotFound
    """
    partition, _, offset = name.partition(":")
    is_short = max(len(partition), len(offset)) <= MAX_OFFSET_DIGITS
    if not (is_short and partition.isdecimal() and offset.isdecimal()):
        raise InvalidInput(f"a dead letter is named like 0:17, got {name!r}")
    number, at = int(partition), int(offset)
    records: list[Record] = []
    if number < event_log.partitions(DEAD_LETTERS):
        with contextlib.suppress(OffsetOutOfRange):
            records = event_log.read(DEAD_LETTERS, number, at, 1)
    letter = read_letter(records[0]) if records and records[0].offset == at else None
    if letter is None:
        raise NotFound(f"there is no dead letter {name}; see `recstream dead-letters list`")
    return letter


def original_content(
    event_log: ReadableLog, letter: DeadLetter
) -> tuple[bytes | None, bytes | None]:
    """Return key and value of the original record; the letter's copy if that is no longer kept.

    A product's record without a value is a tombstone.

    Raises
    ------
    NotFound
        The record is gone, and the letter holds only its beginning.
    """
    try:
        records = event_log.read(letter.topic, letter.partition, letter.offset, 1)
    except OffsetOutOfRange:
        records = []
    if records and records[0].offset == letter.offset:
        record = records[0]
        if record.value is not None or letter.topic == CATALOGUE:
            return record.key, record.value
    if letter.truncated:
        raise NotFound(
            f"{letter.topic} {letter.partition}:{letter.offset} is no longer kept, and the dead "
            "letter holds only its beginning; send the full value"
        )
    return None, letter.value.encode()


def record_to_send(
    event_log: ReadableLog, letter: DeadLetter, corrected: bytes | None = None
) -> NewRecord:
    """Return the record that sends a dead letter again.

    Parameters
    ----------
    corrected : bytes, optional
        Its new content; default: the original record's.
    """
    key, value = (None, None) if corrected is not None else original_content(event_log, letter)
    value = value if corrected is None else corrected
    partition: int | None = letter.partition
    if letter.topic == CATALOGUE and value is not None:
        with contextlib.suppress(Exception):  # any key will do for what is no product
            key = decode_item(value).item.encode()
    elif letter.topic == INTERACTIONS and corrected is not None:
        with contextlib.suppress(InvalidJson):  # several events: they stay in their partition
            key, partition = decode_event(corrected).user.encode(), None
    return NewRecord(letter.topic, key, value, partition=partition)
