"""↺ of the flow: the records that a replay reads, from a live log or an exported slice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from recstream.errors import LogCorrupt
from recstream.log import ReadableLog, Record

READ_RECORDS = 2_000

_T = TypeVar("_T")


def read_batches(
    log: ReadableLog, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[list[Record]]:
    """Give the records of a partition from ``start`` to before ``stop`` (default: what is there now)."""
    end = log.high_watermark(topic, partition)
    if stop is not None:
        end = min(end, stop)
    offset = max(start, log.earliest(topic, partition))
    while offset < end:
        found = log.read(topic, partition, offset, READ_RECORDS)
        if not found:
            return
        offset = found[-1].offset + 1
        if offset > end:
            found = [record for record in found if record.offset < end]
        yield found


def read_records(
    log: ReadableLog, topic: str, partition: int, start: int = 0, stop: int | None = None
) -> Iterator[Record]:
    """Give the records of `batches` one by one."""
    for found in read_batches(log, topic, partition, start, stop):
        yield from found


def decode_value(record: Record, decode: Callable[[bytes], _T]) -> _T:
    """Return a record's value as the struct it must hold.

    Raises
    ------
    LogCorrupt
        It holds something else.
    """
    try:
        return decode(record.value or b"null")
    except Exception as error:
        raise LogCorrupt(
            f"{record.topic}[{record.partition}] offset {record.offset} can't be read: {error}; "
            "it was not written by this version of recstream"
        ) from error
