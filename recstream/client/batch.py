"""Send events in batches, in the order in which they were added."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Self, Unpack

if TYPE_CHECKING:
    from recstream.client.answers import RejectedEvent
    from recstream.client.bodies import Event
    from recstream.client.connection import Client

MOST_EVENTS = 1_000
"""Events of one request; the bridge takes no more."""


class EventBatch:
    """Collects events and sends them: when there are enough, and at the latest after some time.

    Use it as a context: the end sends the rest. `add` blocks while a full batch is sent, and raises what
    the sending raised, so that no loss goes unnoticed.

    Parameters
    ----------
    client : Client
    size : int
        Events of a request, at most 1,000.
    wait_s : float
        Longest time that an event waits.
    """

    def __init__(self, client: Client, *, size: int = 500, wait_s: float = 1.0) -> None:
        self._client = client
        self._size = min(max(size, 1), MOST_EVENTS)
        self._wait_s = wait_s
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._error: Exception | None = None
        self.rejected: list[RejectedEvent] = []
        """Events that the bridge refused, with the reasons."""

    def add(self, **event: Unpack[Event]) -> None:
        """Add an event; it gets an id and a time if it has none."""
        event.setdefault("id", uuid.uuid4().hex)
        event.setdefault("ts", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        with self._lock:
            self._raise()
            self._events.append(event)
            if len(self._events) >= self._size:
                self._send()
            elif self._timer is None:
                self._timer = threading.Timer(self._wait_s, self._flush_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Send what waits; raises `RequestFailed` if it can't be sent, and keeps it."""
        with self._lock:
            self._raise()
            self._send()

    def _flush_late(self) -> None:
        with self._lock:
            self._timer = None
            try:
                self._send()
            except Exception as error:  # noqa: BLE001 - the next call raises it
                self._error = error

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._events:
            answer = self._client.send_events(self._events)
            self._events = []
            self.rejected += answer["rejected"]

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()
