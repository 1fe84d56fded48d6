"""The demo shop of `recstream up`: put it into an empty log."""

from datetime import datetime

import msgspec

from recstream.core.events import timestamp_ms
from recstream.importers import envelopes
from recstream.log import CATALOGUE, INTERACTIONS, EventLog, NewRecord, TopicPartition
from recstream.simulate import N_EVENTS, N_ITEMS, N_USERS, SHOP_GROUP, Customers, history, make_shop


def is_empty(event_log: EventLog) -> bool:
    """Return whether no event was ever appended."""
    partitions = event_log.partitions(INTERACTIONS)
    return not any(event_log.high_watermark(INTERACTIONS, p) for p in range(partitions))


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
