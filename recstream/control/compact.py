"""Compact the control topic by meaning: a snapshot of what is needed replaces all records before it."""

from collections.abc import Collection

import msgspec

from recstream.control.reader import control_records
from recstream.control.submit import submit
from recstream.core.records import ControlSnapshot
from recstream.log import CONTROL, EventLog

MIN_DROPPED = 100
"""Records that a snapshot must make unnecessary."""


def replace_before(event_log: EventLog, cut: int, needed: Collection[int]) -> int:
    """Replace the records of the control topic before an offset by a snapshot of the needed ones.

    Returns
    -------
    int
        Number of records that no reader gets any more. While it would be less than half of them, nothing
        is done.
    """
    before = [each for each in control_records(event_log) if each.offset < cut]
    kept = [each for each in before if each.offset in needed and each.value is not None]
    n_dropped = len(before) - len(kept)
    if n_dropped < max(MIN_DROPPED, len(kept)):
        return 0
    records = tuple(
        (each.offset, each.timestamp_ms, msgspec.Raw(each.value or b"")) for each in kept
    )
    submit(event_log, ControlSnapshot(before=cut, records=records))
    event_log.delete_before(CONTROL, 0, cut)
    return n_dropped
