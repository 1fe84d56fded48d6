"""Pace of synthetic events: which are due, and how long to wait for the next."""

import threading
from collections.abc import Callable

MOST_EVENTS = 500
"""Most events that are sent together."""
TICK_S = 0.02
"""Least time between two batches, unless more than `MOST_EVENTS` are due."""
MAX_BEHIND_S = 1.0
"""Events that are later than this are not sent."""


class EventPace:
    """Sends a steady rate as batches of the events that are due.

    Parameters
    ----------
    rate : float
        Events a second.
    clock : callable
        Returns seconds; never goes back.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._interval_s = 1.0 / rate
        self._clock = clock
        self._due_s = self._next_s = clock()

    def take(self) -> int:
        """Return how many events to send now, at least one."""
        now_s = self._clock()
        self._due_s = max(self._due_s, now_s - MAX_BEHIND_S)
        n_due = min(MOST_EVENTS, int((now_s - self._due_s) / self._interval_s) + 1)
        self._due_s += n_due * self._interval_s
        self._next_s = self._due_s if n_due == MOST_EVENTS else max(self._due_s, now_s + TICK_S)
        return n_due

    def wait_s(self) -> float:
        """Return how many seconds to wait before the next `take`."""
        return min(max(0.0, self._next_s - self._clock()), threading.TIMEOUT_MAX)
