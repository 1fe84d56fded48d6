"""Audit horizon: how far back histories, and what is derived from them, can be answered."""

from recstream.checkpoints.index import Checkpoints
from recstream.errors import BeyondHorizon
from recstream.log import INTERACTIONS


def audit_horizon(checkpoints: Checkpoints, partition: int) -> int:
    """Return the first offset from which a partition's histories can be derived at every offset.

    0 while the log holds all events; else the oldest checkpoint that is stored and that the events
    still continue. Without one, the log's end: nothing of the past can be answered.
    """
    event_log = checkpoints.log
    earliest = event_log.earliest(INTERACTIONS, partition)
    if earliest == 0:
        return 0
    reached = [each.offset for each in checkpoints.stored(partition) if each.offset >= earliest]
    return min(reached, default=event_log.high_watermark(INTERACTIONS, partition))


def require_within_horizon(checkpoints: Checkpoints, partition: int, offset: int) -> None:
    """Raise `BeyondHorizon` if histories as of an offset can't be derived any more."""
    horizon = audit_horizon(checkpoints, partition)
    if offset < horizon:
        raise BeyondHorizon(
            f"{INTERACTIONS}[{partition}] answers from offset {horizon} on (audit_horizon), got "
            f"offset {offset}; older events were pruned by the retention settings"
        )
