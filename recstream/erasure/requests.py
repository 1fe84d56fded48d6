"""Erasure requests, and the tombstones that carry their ids.

`ForgetRequested` names a user: on the control topic of the embedded log, whose records can be
blanked; on Kafka on a topic of its own, whose records are deleted. The worker that owns the user's
partition carries it out (`recstream.worker.forget`). Tombstones keep a header with the request's
id. A reader with its own store may meet a tombstone without the user's key, or a finished id it
never met. Then it is too late, and rebuilds its store.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from recstream.control import read_control, submit
from recstream.core.history import table_rows
from recstream.core.records import Erased, ForgetRequested, Forgotten
from recstream.errors import NotFound
from recstream.log import (
    FORGET_REQUESTS,
    EventLog,
    NewRecord,
    ReadableLog,
    Record,
    TopicSpec,
    decode_or_skip,
    read_records,
)
from recstream.log.embedded import EmbeddedLog

HEADER = "recstream-forgotten"
BLANK_KEY = table_rows.BLANK_KEY

Headers = tuple[tuple[str, bytes], ...]
_decode_request = msgspec.json.Decoder(ForgetRequested).decode


class Forgetting(NamedTuple):
    """Erasure requests.

    Attributes
    ----------
    pending : dict of str to (int, ForgetRequested)
        Offset and request by id, of those that are not finished.
    begun : dict of str to Forgotten
        By id, finished ones included.
    finished_until : int
        On Kafka: offset after the finished requests that are still on their topic and may be
        deleted.
    """

    pending: dict[str, tuple[int, ForgetRequested]]
    begun: dict[str, Forgotten]
    finished_until: int = 0

    @property
    def finished(self) -> frozenset[str]:
        """Ids of requests that were carried out."""
        return frozenset(self.begun.keys() - self.pending.keys())


def request_erasure(event_log: EventLog, request: ForgetRequested) -> int:
    """Append a request; return its offset once it is durable."""
    if isinstance(event_log, EmbeddedLog):
        return submit(event_log, request)
    event_log.create_topics([TopicSpec(FORGET_REQUESTS, 1)])
    new = NewRecord(FORGET_REQUESTS, None, msgspec.json.encode(request), 0)
    (position,) = event_log.append([new])
    return position.offset


def forgetting(event_log: ReadableLog) -> Forgetting:
    """Read the erasure requests, and what was done about them."""
    found = Forgetting(dict(_kafka_requests(event_log)), {})
    finished = [-1]
    for offset, record in read_control(event_log):
        if isinstance(record, ForgetRequested):
            found.pending[record.id] = offset, record
        elif isinstance(record, Forgotten):
            found.begun[record.id] = record
        elif isinstance(record, Erased) and record.id in found.pending:
            finished.append(found.pending.pop(record.id)[0])
    pending = [offset for offset, _ in found.pending.values()]
    return found._replace(finished_until=min([max(finished) + 1, *pending]))


def _kafka_requests(event_log: ReadableLog) -> Iterator[tuple[str, tuple[int, ForgetRequested]]]:
    if isinstance(event_log, EmbeddedLog):
        return
    try:
        for record in read_records(event_log, FORGET_REQUESTS, 0):
            if (request := decode_or_skip(record, _decode_request)) is not None:
                yield request.id, (record.offset, request)
    except NotFound:
        return  # nobody was to be forgotten yet


def mark(request_id: str) -> Headers:
    """Return the headers of an erasure's tombstone."""
    return ((HEADER, request_id.encode()),)


def marked(record: Record) -> str | None:
    """Return the request id of an erasure's tombstone, None for other records."""
    for name, value in record.headers:
        if name == HEADER and record.value is None:
            return value.decode(errors="replace")
    return None
