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
    """Look at a Kafka log's topics now and then, in a thread, until ``stopping`` is set.

    A role that read on would take new records for old ones.

    Parameters
    ----------
    fail : callable
        Called in the thread with the error when a topic was deleted, made again, got other partitions, or
        is cleaned up so that needed records would be deleted.
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
                continue  # it is away, which all others notice

    start_thread("recstream-topics", look, stopping=stopping, fail=fail)
