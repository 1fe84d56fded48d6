"""`watch_topics`: end a role when the topics of its log are no longer those it began with."""

import threading
from collections.abc import Callable

from recstream.errors import LogError, LogRecreated, PartitionCountMismatch
from recstream.log.port import EventLog
from recstream.process import start_thread

LOOK_S = 5.0


def watch_topics(
    event_log: EventLog, stopping: threading.Event, fail: Callable[[BaseException], object]
) -> None:
    """Check the topics of a Kafka log every `LOOK_S` seconds, in a thread.

    After a topic was created again, offsets mean other records, so the role must end.

    Parameters
    ----------
    fail : callable
        Called in the thread with the error when a topic was deleted, created again, got other
        partitions, or has a cleanup policy that would delete needed records.
    """
    check = getattr(event_log, "check_topics", None)
    if check is None:
        return

    def look() -> None:
        while not stopping.wait(LOOK_S):
            try:
                check()
            except (LogRecreated, PartitionCountMismatch):
                raise
            except LogError:
                continue  # The log is away; other threads report it.

    start_thread("recstream-topics", look, stopping=stopping, fail=fail)
