"""A thread that sends the traffic of the demo shop's customers to the log."""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from time import monotonic

from recstream.core.events import Event, admit, encode_event
from recstream.errors import LogUnavailable
from recstream.log import CATALOGUE, INTERACTIONS, EventLog, NewRecord
from recstream.process import Background
from recstream.simulate.customers import Customers, traffic
from recstream.simulate.pace import EventPace
from recstream.simulate.shop import make_shop

log = logging.getLogger(__name__)

SHOP_GROUP = "recstream-shop"
"""Consumer group whose offset marks a log with the demo shop; committed with its records."""
N_ITEMS = 480
N_USERS = 400
N_EVENTS = 8_000


def is_seeded(event_log: EventLog) -> bool:
    """Return whether the log has the demo shop."""
    return bool(event_log.committed(SHOP_GROUP, CATALOGUE))


class DemoTraffic(Background):
    """A thread that appends events of the demo shop's customers to the log.

    Parameters
    ----------
    seed : int
        Seed of the shop; the visits also depend on the number of events in the log.
    rate : float
        Events a second.
    clock : callable
        Returns seconds for the rate; never goes back.
    """

    def __init__(
        self,
        event_log: EventLog,
        *,
        seed: int,
        rate: float,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__("traffic")
        self._log = event_log
        self._pace = EventPace(rate, clock)
        self._now = now
        self._new_id = new_id
        partitions = event_log.partitions(INTERACTIONS)
        n_before = sum(event_log.high_watermark(INTERACTIONS, p) for p in range(partitions))
        customers = Customers(make_shop(seed, N_ITEMS), N_USERS, seed)
        self._events = traffic(customers, seed + n_before + 1, N_EVENTS + n_before)
        self.n_sent = 0

    def _run(self) -> None:
        while not self._stopping.wait(self._pace.wait_s()):
            due = islice(self._events, self._pace.take())
            self._append([admit(each, now=self._now(), new_id=self._new_id) for each in due])

    def _append(self, events: Sequence[Event]) -> None:
        try:
            self._log.append(
                [NewRecord(INTERACTIONS, each.user.encode(), encode_event(each)) for each in events]
            )
            self.n_sent += len(events)
        except LogUnavailable as error:
            log.warning("traffic pauses error=%s", error)
            self._stopping.wait(5.0)
