"""Read a partition from one offset to another, in batches, one by one, or decoded.

The log may be live or an exported slice.
"""

import logging
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from recstream.core.events import escaped
from recstream.core.records import DeadLetter
from recstream.errors import BeyondHorizon, LogCorrupt, OffsetOutOfRange
from recstream.log.decode import decode_record
from recstream.log.port import ReadableLog, Record
from recstream.log.topics import INTERACTIONS

log = logging.getLogger(__name__)

READ_RECORDS = 2_000
BACKWARDS_RECORDS = 8
"""Records that `read_backwards` reads first; each further chunk doubles, up to `READ_RECORDS`."""

MAX_WARNED = 1_000
"""Number of unreadable records that a process remembers, to warn once about each."""

_T = TypeVar("_T")
_warned: set[tuple[str, int, int, int]] = set()


def read_batches(
    event_log: ReadableLog, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[list[Record]]:
    """Yield batches of a partition's records from ``start`` to before ``stop``.

    Parameters
    ----------
    stop : int, optional
        Default: the high watermark when reading starts.

    Raises
    ------
    BeyondHorizon
        Events from ``start`` on were pruned: what is folded from the rest would be partial. Other
        topics are read from their earliest record.
    """
    end = event_log.high_watermark(topic, partition)
    if stop is not None:
        end = min(end, stop)
    if topic == INTERACTIONS:
        require_kept(event_log, partition, start, end)
    earliest = event_log.earliest(topic, partition)
    offset = max(start, earliest)
    while offset < end:
        size = min(READ_RECORDS, end - offset)
        if topic == INTERACTIONS:
            found = _read_all(event_log, partition, offset, size)
        else:
            found = read_kept(event_log, topic, partition, offset, size)
        if not found:
            return
        offset = found[-1].offset + 1
        if offset > end:
            found = [record for record in found if record.offset < end]
        yield found


def _read_all(event_log: ReadableLog, partition: int, offset: int, n_records: int) -> list[Record]:
    """Return events from an offset on; `BeyondHorizon` if they have been pruned meanwhile."""
    try:
        return event_log.read(INTERACTIONS, partition, offset, n_records)
    except OffsetOutOfRange:
        require_kept(event_log, partition, offset, offset + 1)
        raise


def read_kept(
    event_log: ReadableLog, topic: str, partition: int, offset: int, n_records: int
) -> list[Record]:
    """Return records from an offset on, or from the earliest that is kept."""
    try:
        return event_log.read(topic, partition, offset, n_records)
    except OffsetOutOfRange:  # deleted, perhaps since the caller looked
        earliest = event_log.earliest(topic, partition)
        if earliest <= offset:
            raise
    return read_kept(event_log, topic, partition, earliest, n_records)


def require_kept(event_log: ReadableLog, partition: int, start: int, end: int) -> None:
    """Raise `BeyondHorizon` if events from ``start`` to before ``end`` were pruned."""
    earliest = event_log.earliest(INTERACTIONS, partition)
    if start < min(earliest, end):
        raise BeyondHorizon(
            f"{INTERACTIONS}[{partition}] keeps events from offset {earliest} on, but they are "
            f"needed from offset {start} on; they were pruned, and no checkpoint at or before "
            f"{start} replaces them: `recstream checkpoint list` shows how far back the log answers"
        )


def read_records(
    event_log: ReadableLog, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[Record]:
    """Yield the records of `read_batches` one by one."""
    for found in read_batches(event_log, topic, partition, start, stop):
        yield from found


def read_backwards(
    event_log: ReadableLog, topic: str, partition: int, stop: int | None = None
) -> Iterator[Record]:
    """Yield the records of a partition before ``stop`` (default: all), the newest first.

    ``stop`` may come from a client; a value beyond the end means the end.
    """
    end = event_log.high_watermark(topic, partition)
    end = end if stop is None else min(end, stop)
    earliest = event_log.earliest(topic, partition)
    size = BACKWARDS_RECORDS
    while end > earliest:
        start = max(earliest, end - size)
        chunk = list(read_records(event_log, topic, partition, start, end))
        yield from reversed(chunk)
        end, size = start, min(2 * size, READ_RECORDS)


def start_of_newest(event_log: ReadableLog, topic: str, partition: int, n_records: int) -> int:
    """Return the offset of the ``n_records``-th newest record, the oldest one's if there are fewer.

    Not every offset has a record: compaction leaves gaps, and on Kafka transactions have markers.
    """
    start = event_log.high_watermark(topic, partition)
    for record in islice(read_backwards(event_log, topic, partition), n_records):
        start = record.offset
    return start


def newest_time_ms(event_log: ReadableLog, topic: str, partition: int, stop: int) -> int:
    """Return the time of the newest record before an offset, 0 for none.

    On Kafka the offset before may be a transaction's marker.
    """
    newest = next(read_backwards(event_log, topic, partition, stop), None)
    return 0 if newest is None else newest.timestamp_ms


def decode_or_skip(record: Record, decode: Callable[[bytes], _T]) -> _T | None:
    """Return a record's decoded value; None if it can't be read or has no value.

    Of a record that can't be read, a process warns once.
    """
    found = decode_record(record, decode)
    if not isinstance(found, DeadLetter):
        return found
    place = record.topic, record.partition, record.offset
    key = (*place, hash(record.value))
    if key not in _warned:
        if len(_warned) >= MAX_WARNED:
            _warned.clear()
        _warned.add(key)
        log.warning(
            "record not read topic=%s partition=%d offset=%d error=%s",
            *place,
            escaped(found.detail),
        )
    return None


def decode_value(record: Record, decode: Callable[[bytes], _T]) -> _T:
    """Return the decoded value of a record that is known to be readable.

    Raises
    ------
    LogCorrupt
        It can't be read.
    """
    found = decode_record(record, decode)
    if found is None or isinstance(found, DeadLetter):
        reason = "it has no value" if found is None else found.detail
        raise LogCorrupt(
            f"{record.topic}[{record.partition}] offset {record.offset} can't be read: {reason}; "
            "it was not written by this version of recstream"
        )
    return found
