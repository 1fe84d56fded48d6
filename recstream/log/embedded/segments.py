"""Segment format: pack records of a partition into one blob by columns, and unpack them; no I/O.

A segment is msgpack of ``[offsets, timestamps, keys, values, headers]``. ``offsets`` is nil while
the records are contiguous, as they are at append; after compaction it lists distances from the base.
``headers`` is nil when no record has any. Columns decode several times faster than rows: each is one
homogeneous list, and no Python frame is needed for a record.
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
"""Most records of a segment; a reader decodes whole segments."""
MAX_BYTES = 1 << 20
"""Most bytes of a segment with more than one record."""

Headers = tuple[tuple[str, bytes], ...]
_Columns = tuple[
    list[int] | None, list[int], list[bytes | None], list[bytes | None], list[Headers] | None
]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Columns)
_new_record = tuple.__new__


class Packed(NamedTuple):
    """A packed segment: one row of the file.

    ``next`` is the offset after its last record, compacted records included.
    """

    base: int
    next: int
    n_records: int
    newest_ms: int
    crc: int
    data: bytes


class Columns:
    """Records of one partition that have no offsets yet."""

    __slots__ = ("headers", "keys", "timestamps", "values")

    def __init__(self) -> None:
        self.timestamps: list[int] = []
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.headers: list[Headers] = []

    def extend(self, other: Columns, start: int = 0, stop: int | None = None) -> Columns:
        """Append a range of other columns; return self."""
        self.timestamps += other.timestamps[start:stop]
        self.keys += other.keys[start:stop]
        self.values += other.values[start:stop]
        self.headers += other.headers[start:stop]
        return self


def pack_columns(base: int, columns: Columns) -> list[Packed]:
    """Pack contiguous records into segments within `MAX_RECORDS` and `MAX_BYTES`."""
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
    """Pack records, with or without gaps, into one segment spanning ``[base, after)``."""
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

    Parameters
    ----------
    base : int
        Offset of the segment's first record at append.
    crc : int
        CRC-32 of ``data``.

    Raises
    ------
    LogCorrupt
        The checksum differs, or the bytes can't be decoded.
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
