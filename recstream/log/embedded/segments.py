"""Step 2 of the flow: records packed into one blob a batch, and back; no I/O.

A segment holds neighbouring records of one partition by columns: msgpack of ``[offsets,
timestamps, keys, values, headers]``. ``offsets`` is nil while the records are contiguous (they
always are at append) and a list of distances from the base once some were compacted away;
``headers`` is nil when no record has any. Columns decode several times faster than rows, because
each is one homogeneous list, and records are then built without a Python frame each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec

from recstream.errors import LogCorrupt
from recstream.log.port import Record

MAX_RECORDS = 1_000
"""Records in a segment: what a reader decodes at least to see one record of it."""
MAX_BYTES = 1 << 20
"""Bytes of a segment that holds more than one record."""

Headers = tuple[tuple[str, bytes], ...]
_Columns = tuple[
    list[int] | None, list[int], list[bytes | None], list[bytes | None], list[Headers] | None
]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Columns)
_new_record = tuple.__new__


class Packed(NamedTuple):
    """Records on their way into one row of the file.

    ``next`` is the offset after the last record, or after what was compacted away behind it.
    """

    base: int
    next: int
    n_records: int
    newest_ms: int
    crc: int
    data: bytes


class Columns:
    """Records of one partition before they have offsets."""

    __slots__ = ("headers", "keys", "timestamps", "values")

    def __init__(self) -> None:
        self.timestamps: list[int] = []
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.headers: list[Headers] = []

    def extend(self, other: Columns, start: int = 0, stop: int | None = None) -> Columns:
        """Add a range of other columns; return self."""
        self.timestamps += other.timestamps[start:stop]
        self.keys += other.keys[start:stop]
        self.values += other.values[start:stop]
        self.headers += other.headers[start:stop]
        return self


def pack_columns(base: int, columns: Columns) -> list[Packed]:
    """Pack contiguous records, in as many segments as the bounds ask for."""
    count = len(columns.keys)
    if count <= MAX_RECORDS:
        headers = columns.headers if any(columns.headers) else None
        data = _encoder.encode((None, columns.timestamps, columns.keys, columns.values, headers))
        if len(data) <= MAX_BYTES or count == 1:
            newest = max(columns.timestamps)
            return [Packed(base, base + count, count, newest, zlib.crc32(data), data)]
    step = min(MAX_RECORDS, (count + 1) // 2)
    return [
        packed
        for at in range(0, count, step)
        for packed in pack_columns(base + at, Columns().extend(columns, at, at + step))
    ]


def pack_records(base: int, after: int, records: Sequence[Record]) -> Packed:
    """Pack records that may have gaps between them into one segment spanning ``[base, after)``."""
    contiguous = len(records) == after - base
    offsets = None if contiguous else [r.offset - base for r in records]
    headers = [r.headers for r in records]
    data = _encoder.encode(
        (
            offsets,
            [r.timestamp_ms for r in records],
            [r.key for r in records],
            [r.value for r in records],
            headers if any(headers) else None,
        )
    )
    newest = max((r.timestamp_ms for r in records), default=0)
    return Packed(base, after, len(records), newest, zlib.crc32(data), data)


def unpack(topic: str, partition: int, base: int, crc: int, data: bytes) -> list[Record]:
    """Return a segment's records.

    Raises
    ------
    LogCorrupt
        The bytes are not those that were written.
    """
    if zlib.crc32(data) != crc:
        raise LogCorrupt(_broken(topic, partition, base, "its checksum differs"))
    try:
        distances, timestamps, keys, values, headers = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise LogCorrupt(_broken(topic, partition, base, str(error))) from error
    offsets: Iterable[int] = (
        range(base, base + len(keys)) if distances is None else [base + d for d in distances]
    )
    return list(
        map(
            _new_record,
            repeat(Record),
            zip(
                repeat(topic),
                repeat(partition),
                offsets,
                timestamps,
                keys,
                values,
                repeat(()) if headers is None else headers,
                strict=False,
            ),
        )
    )


def _broken(topic: str, partition: int, base: int, why: str) -> str:
    return (
        f"the segment at {topic}[{partition}]@{base} is damaged: {why}; "
        "restore the log from a backup"
    )
