"""The demo shop of `recstream up`: put it into an empty log, and send traffic to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

import msgspec

from recstream.core.events import Event, admit, encode_event, timestamp_ms
from recstream.errors import LogUnavailable
from recstream.importers import envelopes
from recstream.log import CATALOGUE, INTERACTIONS, EventLog, NewRecord, TopicPartition
from recstream.simulate import Customers, history, make_shop, traffic

log = logging.getLogger(__name__)

SHOP_GROUP = "recstream-shop"
"""Consumer group whose offset marks a log with the demo shop; committed with its records."""
N_ITEMS = 480
N_USERS = 400
N_EVENTS = 8_000


def is_empty(event_log: EventLog) -> bool:
    """Return whether no event was ever appended."""
    partitions = event_log.partitions(INTERACTIONS)
    return not any(event_log.high_watermark(INTERACTIONS, p) for p in range(partitions))


def is_seeded(event_log: EventLog) -> bool:
    """Return whether the log has the demo shop."""
    return bool(event_log.committed(SHOP_GROUP))


def seed_shop(event_log: EventLog, *, seed: int, now: datetime) -> tuple[int, int]:
    """Append the demo shop's products and past events in one transaction.

    Returns
    -------
    tuple of int
        Products, events.
    """
    shop = make_shop(seed, N_ITEMS)
    customers = Customers(shop, N_USERS, seed)
    past = history(customers, seed, N_EVENTS, end_ms=timestamp_ms(now))
    records = [
        NewRecord(CATALOGUE, key=item.item.encode(), value=msgspec.json.encode(item))
        for item in shop.items
    ]
    records.extend(envelopes(past, event_log.partitions(INTERACTIONS)))
    event_log.append(
        records, group=SHOP_GROUP, offsets={TopicPartition(CATALOGUE, 0): len(shop.items)}
    )
    return len(shop.items), N_EVENTS


class DemoTraffic:
    """A thread that appends events of the demo shop's customers to the log.

    Parameters
    ----------
    event_log : EventLog
    seed : int
        Seed of the shop; the visits also depend on the number of events in the log.
    rate : float
        Events a second.
    now, new_id : callable
        Clock and source of event ids.
    """

    def __init__(
        self,
        event_log: EventLog,
        *,
        seed: int,
        rate: float,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._log = event_log
        self._interval_s = 1.0 / rate
        self._now = now
        self._new_id = new_id
        partitions = event_log.partitions(INTERACTIONS)
        n_before = sum(event_log.high_watermark(INTERACTIONS, p) for p in range(partitions))
        customers = Customers(make_shop(seed, N_ITEMS), N_USERS, seed)
        self._events = traffic(customers, seed + n_before + 1, N_EVENTS + n_before)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for its end."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            event = admit(next(self._events), now=self._now(), new_id=self._new_id)
            self._append(event)

    def _append(self, event: Event) -> None:
        try:
            self._log.append([NewRecord(INTERACTIONS, event.user.encode(), encode_event(event))])
        except LogUnavailable as error:
            log.warning("traffic pauses error=%s", error)
            self._stop.wait(5.0)
