"""`envelopes`: pack many events into few records.

An envelope is a record without a key. Its value is a JSON array of events whose users all hash to its
partition. Readers apply the events in the order of the array.
"""

from collections.abc import Iterable, Iterator

import msgspec

from recstream.core.events import Event
from recstream.log import INTERACTIONS, NewRecord, partition_for

ENVELOPE_EVENTS = 500
"""Most events of one envelope: about 75 kB, well below any broker's limit."""
ENVELOPE_BYTES = 512 * 1024
"""Most bytes of an envelope with more than one event."""


def envelopes(events: Iterable[Event], partitions: int) -> Iterator[NewRecord]:
    """Yield records with the events, each partition's in the given order.

    >>> rows = [Event(id=str(n), type="view", user="u1", item="p1") for n in range(501)]
    >>> [record.partition for record in envelopes(rows, 1)]
    [0, 0]
    """
    encode = msgspec.json.Encoder().encode
    waiting: list[list[bytes]] = [[] for _ in range(partitions)]
    sizes = [0] * partitions
    for event in events:
        partition = partition_for(event.user.encode(), partitions)
        body = encode(event)
        if waiting[partition] and sizes[partition] + len(body) > ENVELOPE_BYTES:
            yield _envelope(partition, waiting[partition])
            sizes[partition] = 0
        waiting[partition].append(body)
        sizes[partition] += len(body)
        if len(waiting[partition]) == ENVELOPE_EVENTS:
            yield _envelope(partition, waiting[partition])
            sizes[partition] = 0
    for partition, bodies in enumerate(waiting):
        if bodies:
            yield _envelope(partition, bodies)


def _envelope(partition: int, bodies: list[bytes]) -> NewRecord:
    value = b"[" + b",".join(bodies) + b"]"
    bodies.clear()
    return NewRecord(INTERACTIONS, key=None, value=value, partition=partition)
