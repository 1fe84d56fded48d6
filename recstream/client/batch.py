"""Send events in batches, in the order in which they were added."""

from __future__ import annotations

import json
import threading
import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Self, Unpack

from recstream.client.connection import RequestFailed

if TYPE_CHECKING:
    from recstream.client.answers import EventsAnswer, RejectedEvent
    from recstream.client.bodies import Event
    from recstream.client.connection import Client

MOST_EVENTS = 1_000
"""Events of one request; the bridge takes no more."""
MOST_REJECTED = 1_000
"""Refused events that a batch keeps."""


class EventBatch:
    """Collects events and sends them: when there are enough, and at the latest after some time.

    Use it as a context: the end sends the rest. `add` blocks while a full batch is sent. Events
    that could not be sent are kept; the next `add` or `flush` sends them again and raises
    `RequestFailed` if that fails, too, so that no loss goes unnoticed. An event is not added if
    `add` raises.

    Parameters
    ----------
    size : int
        Events of a request, at most 1,000.
    wait_s : float
        Longest time that an event waits.

    Attributes
    ----------
    rejected : list
        The first `MOST_REJECTED` events that the bridge refused, with the reasons. Clear it to
        collect later ones.
    n_rejected : int
        Number of all refused events.
    """

    def __init__(self, client: Client, *, size: int = 500, wait_s: float = 1.0) -> None:
        self._client = client
        self._size = min(max(size, 1), MOST_EVENTS)
        self._wait_s = wait_s
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_late = False
        self.rejected: list[RejectedEvent] = []
        self.n_rejected = 0

    def add(self, **event: Unpack[Event]) -> None:
        """Add an event; it gets an id and a time if it has none.

        Raises
        ------
        TypeError, ValueError
            JSON can't hold a value of it.
        RequestFailed
            Events from before can't be sent.
        """
        event["id"] = event.get("id") or uuid.uuid4().hex
        event["ts"] = event.get("ts") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # What JSON can't hold is refused here: in the batch it would keep all others from being
        # sent.
        json.dumps(event, ensure_ascii=False, allow_nan=False).encode()
        with self._lock:
            if self._is_late:
                self._send()
            self._events.append(event)
            if len(self._events) >= self._size:
                self._try_to_send()
            elif self._timer is None:
                self._timer = threading.Timer(self._wait_s, self._send_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Send what waits; raises `RequestFailed` if it can't be sent, and keeps it."""
        with self._lock:
            self._send()

    def _send_late(self) -> None:
        with self._lock:
            self._try_to_send()

    def _try_to_send(self) -> None:
        try:
            self._send()
        except Exception:  # noqa: BLE001 - the next call tries again, and raises
            self._is_late = True

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        n = MOST_EVENTS
        while some := self._events[:n]:
            try:
                rejected = _rejected_of(self._client.send_events(some))
            except RequestFailed as error:
                if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(some) > 1:
                    n = len(some) // 2
                    continue
                rejected = _rejected(error, some[0])
            del self._events[: len(some)]
            self.n_rejected += len(rejected)
            self.rejected += rejected[: max(0, MOST_REJECTED - len(self.rejected))]
        self._is_late = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()


def _rejected_of(answer: EventsAnswer) -> list[RejectedEvent]:
    """Return the refused events; raise `RequestFailed` if this is no answer of a bridge."""
    if "rejected" not in (answer or {}):
        raise RequestFailed(
            "POST /v1/events: no answer from the bridge, but a success without `rejected`; is the "
            "address right?"
        )
    return answer["rejected"]


def _rejected(error: RequestFailed, first: Event) -> list[RejectedEvent]:
    """Return the events refused for good; raise the error if the bridge may take them later."""
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        large: RejectedEvent = {
            "index": 0,
            "id": first["id"],
            "pointer": "/0",
            "code": "too-large",
            "detail": str(error),
        }
        return [large]
    rejected: list[RejectedEvent] = error.problem.get("rejected", [])
    if not rejected:
        raise error
    return rejected
