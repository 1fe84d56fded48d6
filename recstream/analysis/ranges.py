"""Convert ``--from`` and ``--to`` to offsets of each partition of the interactions topic."""

from __future__ import annotations

from recstream.errors import InvalidInput
from recstream.log import INTERACTIONS, ReadableLog
from recstream.time_travel import moment


def parse_ranges(
    log: ReadableLog, start: str | None = None, stop: str | None = None
) -> dict[int, tuple[int, int]]:
    """Return [from, to) by partition; an offset applies to every partition, a time is looked up in each.

    Raises
    ------
    InvalidInput
        Neither an offset nor a time, or a start after the stop.
    """
    ranges = {}
    for partition in range(log.partitions(INTERACTIONS)):
        low = log.earliest(INTERACTIONS, partition)
        high = log.high_watermark(INTERACTIONS, partition)
        first = low if start is None else _offset(log, partition, start)
        last = high if stop is None else _offset(log, partition, stop)
        first, last = min(max(first, low), high), min(max(last, low), high)
        if start is not None and stop is not None and last < first:
            raise InvalidInput(f"--from must lie before --to, got {start} and {stop}")
        ranges[partition] = (first, max(first, last))
    return ranges


def _offset(log: ReadableLog, partition: int, text: str) -> int:
    when = moment(text)
    if when.offset is not None:
        return when.offset
    return log.offset_at(INTERACTIONS, partition, when.timestamp_ms or 0)
