"""Step 2 of the flow: events from HTTP into the log; 202 means they are durably in it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from flask import Response, request

from recstream.bridge.http.batches import NDJSON, split
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.routing import JSON, Endpoint, identity, json_response
from recstream.core.events import Event, admit, decode_event, encode_event, event_digest
from recstream.core.json_input import check_depth
from recstream.errors import InvalidEvent
from recstream.log import INTERACTIONS, NewRecord, Position

MAX_IN_FLIGHT = 24
CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"


class RejectedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that was not taken: its place in the request, what is wrong, and where."""

    index: int
    id: str = ""
    pointer: str
    code: str
    detail: str


class LogPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Where the log is: its epoch, and by partition the offset of the newest of these events."""

    epoch: str
    offsets: dict[str, int]


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of a request."""

    accepted: int
    duplicates: int
    rejected: tuple[RejectedEvent, ...]
    position: LogPosition


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event in the envelope of CloudEvents 1.0 (JSON format).

    ``data`` is the event. What it lacks is taken from the envelope: ``id``; ``ts`` from ``time``;
    ``user`` from ``subject``; ``type`` from the last word of ``type``, as in ``shop.view``.
    """

    specversion: str
    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    data: dict[str, Any]


def positioned(epoch: str, positions: Iterable[Position]) -> LogPosition:
    """Return the newest offset of each partition that something was appended to."""
    offsets: dict[str, int] = {}
    for position in positions:
        partition = str(position.partition)
        offsets[partition] = max(position.offset, offsets.get(partition, -1))
    return LogPosition(epoch=epoch, offsets=offsets)


_cloud_event = msgspec.json.Decoder(CloudEvent)


class EventRoutes:
    """``POST /v1/events``."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._in_flight = threading.BoundedSemaphore(MAX_IN_FLIGHT)

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        return [
            Endpoint(
                method="POST",
                rule="/v1/events",
                handler=self.post,
                name="post_events",
                summary="Append events: one, an array, lines of JSON, or CloudEvents",
                tag="events",
                access="user",
                consumes={
                    JSON: Event | list[Event],
                    NDJSON: str,
                    CLOUD_EVENT: CloudEvent,
                    CLOUD_EVENTS: list[CloudEvent],
                },
                returns=EventsAnswer,
                status=202,
                problems={
                    413: "More than 1 MiB, or more than 1,000 events",
                    415: "Another media type",
                    422: "No event was accepted; `rejected` says why",
                    429: "Too many requests wait for the log; try again after Retry-After",
                    503: "The log can't be written; nothing was promised",
                },
            )
        ]

    def post(self) -> Response:
        """Check each event, append the good ones, say what became of all."""
        raws, is_batch = split((JSON, NDJSON, CLOUD_EVENT, CLOUD_EVENTS), "events")
        is_wrapped = request.mimetype in {CLOUD_EVENT, CLOUD_EVENTS}
        taken = _Taken(self._deps, is_batch=is_batch)
        for index, raw in enumerate(raws):
            taken.add(index, _unwrapped(raw) if is_wrapped else raw)
        return self._append(taken)

    def _append(self, taken: _Taken) -> Response:
        positions: list[Position] = []
        if taken.records:
            if not self._in_flight.acquire(blocking=False):
                message = "too many requests wait for the log"
                raise HttpProblem(429, message, retry_after_s=1)
            try:
                positions = self._deps.log.append(taken.records)
            finally:
                self._in_flight.release()
            self._deps.recent.add(taken.digests.items())
        answer = EventsAnswer(
            accepted=len(taken.records),
            duplicates=taken.duplicates,
            rejected=tuple(taken.rejected),
            position=positioned(self._deps.log.epoch, positions),
        )
        if answer.accepted or answer.duplicates:
            return json_response(answer, 202)
        first = taken.rejected[0]
        raise HttpProblem(
            422,
            first.detail if len(taken.rejected) == 1 else "no event was accepted",
            code=first.code if len(taken.rejected) == 1 else "no-event-accepted",
            errors=tuple(
                Pointed(pointer=one.pointer, code=one.code, detail=one.detail)
                for one in taken.rejected
            ),
            more=answer,
        )


class _Taken:
    """The events of one request, sorted into good, repeated and bad."""

    def __init__(self, deps: Deps, *, is_batch: bool) -> None:
        self._deps = deps
        self._is_batch = is_batch
        self._now: datetime = deps.now()
        self._who = identity()
        self.records: list[NewRecord] = []
        self.digests: dict[str, bytes] = {}
        self.duplicates = 0
        self.rejected: list[RejectedEvent] = []

    def add(self, index: int, raw: msgspec.Raw | bytes | InvalidEvent) -> None:
        """Take the next event."""
        event: Event | None = None
        try:
            if isinstance(raw, InvalidEvent):
                raise raw
            event = decode_event(raw)
            self._check(event)
            if event.id and self._is_repeated(event):
                self.duplicates += 1
                return
            admitted = admit(event, now=self._now, new_id=self._deps.new_id)
        except InvalidEvent as error:
            self.rejected.append(
                RejectedEvent(
                    index=index,
                    id=event.id if event is not None else "",
                    pointer=f"/{index}{error.pointer}" if self._is_batch else error.pointer,
                    code=error.code,
                    detail=str(error),
                )
            )
            return
        # The digest is of what the client sent: a repeat has the same one, whenever it comes.
        self.digests[admitted.id] = event_digest(event)
        key = admitted.user.encode()
        self.records.append(NewRecord(INTERACTIONS, key, encode_event(admitted)))

    def _check(self, event: Event) -> None:
        if not self._who.may_act_for(event.user):
            message = "the token is for another user"
            raise InvalidEvent(message, code="forbidden", pointer="/user")

    def _is_repeated(self, event: Event) -> bool:
        known = self.digests.get(event.id) or self._deps.recent.find(event.id)
        if known is None:
            return False
        if known != event_digest(event):
            message = f"the id {event.id!r} was used for an event with another body"
            raise InvalidEvent(message, code="id-reuse", pointer="/id")
        return True


def _unwrapped(raw: msgspec.Raw | bytes) -> bytes | InvalidEvent:
    """Return the event of a CloudEvent, completed from its envelope."""
    try:
        cloud = _cloud_event.decode(raw)
        check_depth(cloud.data, InvalidEvent, pointer="/data", depth=2)
    except InvalidEvent as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever the bytes do to the decoder is their fault
        return InvalidEvent(f"not a CloudEvent: {error}", code="invalid-cloudevent")
    if not cloud.specversion.startswith("1."):
        return InvalidEvent(
            f"expected CloudEvents 1.x, got {cloud.specversion!r}",
            code="invalid-cloudevent",
            pointer="/specversion",
        )
    event: dict[str, Any] = {"id": cloud.id, "type": cloud.type.rpartition(".")[2]}
    if cloud.time is not None:
        event["ts"] = cloud.time
    if cloud.subject is not None:
        event["user"] = cloud.subject
    return msgspec.json.encode(event | cloud.data)
