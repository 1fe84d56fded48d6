"""Erasure requests on the control topic, and the tombstones that carry their ids.

`ForgetRequested` names a user. The worker that owns the user's partition carries it out
(`recstream.worker.forget`). Tombstones keep a header with the request's id. A reader with a store of
its own that meets a tombstone without the user's key, or a finished id that it never met, is too late
and rebuilds its store.
"""

from __future__ import annotations

from typing import NamedTuple

from recstream.control import read_control
from recstream.core.records import ForgetRequested, Forgotten
from recstream.errors import NotPossible
from recstream.log import EventLog, ReadableLog, Record
from recstream.log.embedded import EmbeddedLog

HEADER = "recstream-forgotten"
BLANK_KEY = b"\0forgotten"
"""Key of a blanked row or list. No user has it, and Faust deletes no row by it."""

Headers = tuple[tuple[str, bytes], ...]


class Forgetting(NamedTuple):
    """Erasure requests on the control topic.

    Attributes
    ----------
    pending : dict of str to (int, ForgetRequested)
        Offset and request by id, of those that are not finished.
    begun : dict of str to Forgotten
        By id, finished ones included.
    """

    pending: dict[str, tuple[int, ForgetRequested]]
    begun: dict[str, Forgotten]

    @property
    def finished(self) -> frozenset[str]:
        """Ids of requests that were carried out."""
        return frozenset(self.begun.keys() - self.pending.keys())


def forgetting(event_log: ReadableLog) -> Forgetting:
    """Read the erasure requests on the control topic."""
    found = Forgetting({}, {})
    for offset, record in read_control(event_log):
        if isinstance(record, ForgetRequested):
            found.pending[record.id] = offset, record
        elif isinstance(record, Forgotten):
            found.begun[record.id] = record
    return found


def erasable(event_log: EventLog) -> EmbeddedLog:
    """Return the log if its records can be blanked.

    Raises
    ------
    NotPossible
        The log is on Kafka, whose records can't be changed.
    """
    if not isinstance(event_log, EmbeddedLog):
        raise NotPossible(
            "records of a Kafka log can't be blanked; let them expire by the topics' retention, or "
            "delete all of a partition up to an offset with kafka-delete-records"
        )
    return event_log


def mark(request_id: str) -> Headers:
    """Return the headers of an erasure's tombstone."""
    return ((HEADER, request_id.encode()),)


def marked(record: Record) -> str | None:
    """Return the request id of an erasure's tombstone, None for other records."""
    for name, value in record.headers:
        if name == HEADER and record.value is None:
            return value.decode()
    return None
