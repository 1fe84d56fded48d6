"""Step 1 of the flow for `recstream up`: fill an empty log with a made-up shop, and keep it busy."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

import msgspec

from recstream.core.events import Event, admit, encode_event, timestamp_ms
from recstream.errors import LogUnavailable
from recstream.importers.envelopes import envelopes
from recstream.log import CATALOGUE, INTERACTIONS, EventLog, NewRecord, TopicPartition
from recstream.simulate import Customers, history, make_shop, traffic

log = logging.getLogger(__name__)

SHOP_GROUP = "recstream-shop"
"""Group whose offset says that the log was seeded: written in one transaction with the shop."""
N_ITEMS = 480
N_USERS = 400
N_EVENTS = 8_000


def is_empty(event_log: EventLog) -> bool:
    """Return whether no event was ever appended."""
    partitions = event_log.partitions(INTERACTIONS)
    return not any(event_log.high_watermark(INTERACTIONS, p) for p in range(partitions))


def is_seeded(event_log: EventLog) -> bool:
    """Return whether the log's shop is the made-up one."""
    return bool(event_log.committed(SHOP_GROUP))


def seed_shop(event_log: EventLog, *, seed: int, now: datetime) -> tuple[int, int]:
    """Append the made-up shop and its past in one go.

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


class Traffic:
    """A thread in which the made-up customers go on shopping, straight into the log.

    Parameters
    ----------
    event_log : EventLog
    seed : int
        Of the shop; the visits differ with each start of the log's length.
    rate : float
        Events a second.
    now, new_id : callable
        The edge's clock and source of ids.
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
        """Let the customers in."""
        self._thread.start()

    def stop(self) -> None:
        """Close the shop."""
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
