"""Convert ``--from`` and ``--to`` to offsets of each partition of the interactions topic."""

from recstream.checkpoints import Checkpoints, audit_horizon, require_within_horizon
from recstream.errors import InvalidInput
from recstream.log import INTERACTIONS, ReadableLog
from recstream.time_travel import moment


def parse_ranges(
    log: ReadableLog,
    start: str | None = None,
    stop: str | None = None,
    *,
    checkpoints: Checkpoints | None = None,
) -> dict[int, tuple[int, int]]:
    """Return [from, to) by partition; an offset applies to every partition, a time is looked up in each.

    Parameters
    ----------
    start, stop : str, optional
        Default: the first offset that can be answered, and the log's end.
    checkpoints : Checkpoints, optional
        From which a log whose first events were pruned answers.

    Raises
    ------
    InvalidInput
        Neither an offset nor a time, an offset after the log's end, or a start after the stop.
    BeyondHorizon
        The events before the start were pruned.
    """
    ranges = {}
    partitions = range(log.partitions(INTERACTIONS))
    ends = [log.high_watermark(INTERACTIONS, each) for each in partitions]
    for name, text in (("from", start), ("to", stop)):
        offset = None if text is None else moment(text).offset
        if offset is not None and offset > max(ends):
            raise InvalidInput(
                f"{name} must be an offset up to {max(ends)}, the end of the longest partition, got {offset}"
            )
    for partition, high in zip(partitions, ends, strict=True):
        low = log.earliest(INTERACTIONS, partition)
        if checkpoints is not None:
            low = audit_horizon(checkpoints, partition)
        first = low if start is None else _offset(log, partition, start)
        if checkpoints is not None and start is not None:
            require_within_horizon(checkpoints, partition, first)
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
    if when.timestamp_ms is not None:
        return log.offset_at(INTERACTIONS, partition, when.timestamp_ms)
    return log.high_watermark(INTERACTIONS, partition)
