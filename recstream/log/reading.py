"""Read a partition from one offset to another, in batches, one by one, or decoded.

The log may be live or an exported slice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from recstream.core.records import DeadLetter
from recstream.errors import LogCorrupt
from recstream.log.decode import decode_record
from recstream.log.port import ReadableLog, Record

log = logging.getLogger(__name__)

READ_RECORDS = 2_000

_T = TypeVar("_T")


def read_batches(
    event_log: ReadableLog, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[list[Record]]:
    """Yield batches of a partition's records from ``start`` to before ``stop``.

    Parameters
    ----------
    event_log : ReadableLog
    topic : str
    partition, start : int
    stop : int, optional
        Default: the high watermark when reading starts.
    """
    end = event_log.high_watermark(topic, partition)
    if stop is not None:
        end = min(end, stop)
    offset = max(start, event_log.earliest(topic, partition))
    while offset < end:
        found = event_log.read(topic, partition, offset, READ_RECORDS)
        if not found:
            return
        offset = found[-1].offset + 1
        if offset > end:
            found = [record for record in found if record.offset < end]
        yield found


def read_records(
    event_log: ReadableLog, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[Record]:
    """Yield the records of `read_batches` one by one."""
    for found in read_batches(event_log, topic, partition, start, stop):
        yield from found


def decode_or_skip(record: Record, decode: Callable[[bytes], _T]) -> _T | None:
    """Return a record's decoded value; None, and a warning, if it can't be read or has no value."""
    found = decode_record(record, decode)
    if isinstance(found, DeadLetter):
        log.warning(
            "record not read topic=%s partition=%d offset=%d error=%s",
            record.topic,
            record.partition,
            record.offset,
            found.detail,
        )
        return None
    return found


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
