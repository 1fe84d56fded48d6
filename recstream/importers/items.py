"""`import_items`: append products to the catalogue topic, once an import."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import msgspec

from recstream.core.records import Item
from recstream.importers.events import import_group
from recstream.log import CATALOGUE, EventLog, NewRecord, TopicPartition

APPEND_ITEMS = 5_000
PROGRESS = TopicPartition(CATALOGUE, 0)
"""Where a group's offset counts the products an import has written."""


def import_items(event_log: EventLog, items: Iterable[Item], digest: str) -> int:
    """Append the products that an earlier run of the import has not appended; return their number.

    Parameters
    ----------
    items : iterable of Item
        In the same order each time.
    digest : str
        Digest of their source: the import's name.
    """
    group = import_group(f"items-{digest}")
    before = done = event_log.committed(group).get(PROGRESS, 0)
    rest = islice(items, done, None)
    encode = msgspec.json.Encoder().encode
    while batch := list(islice(rest, APPEND_ITEMS)):
        done += len(batch)
        records = [NewRecord(CATALOGUE, item.item.encode(), encode(item)) for item in batch]
        event_log.append(records, group=group, offsets={PROGRESS: done})
    return done - before
