"""``POST /v1/events``: append events to the log; 202 means that they are stored durably."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from flask import Response, request

from recstream.bridge.auth import Identity
from recstream.bridge.http.bodies import JSON, NDJSON, answer_batch, read_entries
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routing import route
from recstream.core.events import Event, admit, decode_event, encode_event, event_digest
from recstream.core.json_input import check_depth
from recstream.errors import InvalidEvent
from recstream.log import INTERACTIONS, NewRecord, Position, partition_for

CLOUD_EVENT = "application/cloudevents+json"
CLOUD_EVENTS = "application/cloudevents-batch+json"


class RejectedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event that was not accepted: its place in the request, what is wrong, and where."""

    index: int
    id: str = ""
    pointer: str
    code: str
    detail: str


class LogPosition(msgspec.Struct, frozen=True, kw_only=True):
    """Epoch of the log, and the newest offset of these records in each partition."""

    epoch: str
    offsets: dict[str, int]


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result for the events of a request."""

    accepted: int
    duplicates: int
    rejected: tuple[RejectedEvent, ...]
    position: LogPosition


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event in the envelope of CloudEvents 1.0 (JSON format).

    ``data`` is the event. Fields that it lacks come from the envelope: ``id``; ``ts`` from ``time``;
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
    """Return the newest of these positions in each partition."""
    offsets: dict[str, int] = {}
    for position in positions:
        partition = str(position.partition)
        offsets[partition] = max(position.offset, offsets.get(partition, -1))
    return LogPosition(epoch=epoch, offsets=offsets)


_cloud_event = msgspec.json.Decoder(CloudEvent)


class EventRoutes:
    """``POST /v1/events``."""

    tag = "events"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @route(
        "POST",
        "/v1/events",
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
            422: "No event was accepted; `rejected` contains the reasons",
            503: "The log can't be written; no event was stored",
        },
    )
    def post_events(self) -> Response:
        """Append events: one, an array, lines of JSON, or CloudEvents."""
        entries, is_batch = read_entries((JSON, NDJSON, CLOUD_EVENT, CLOUD_EVENTS), "events")
        self._deps.limiter.charge(len(entries))
        is_wrapped = request.mimetype in {CLOUD_EVENT, CLOUD_EVENTS}
        batch = ReceivedEvents(self._deps, identity(), is_batch=is_batch)
        for index, raw in enumerate(entries):
            batch.add(index, _unwrapped(raw) if is_wrapped else raw)
        return self._append(batch)

    def _append(self, batch: ReceivedEvents) -> Response:
        positions = self._deps.log.append(batch.records) if batch.records else []
        answer = batch.appended(positions)
        is_accepted = bool(answer.accepted or answer.duplicates)
        return answer_batch(answer, batch.rejected, is_accepted=is_accepted, what="event")


class ReceivedEvents:
    """The events of one request: accepted, duplicate and rejected ones.

    Parameters
    ----------
    who : Identity
        The sender.
    is_batch : bool
        The request has an array or lines, so that pointers begin with an index.
    """

    def __init__(self, deps: Deps, who: Identity, *, is_batch: bool) -> None:
        self._deps = deps
        self._is_batch = is_batch
        self._now: datetime = deps.now()
        self._who = who
        self.records: list[NewRecord] = []
        self.digests: dict[tuple[str, str], bytes] = {}
        self.duplicates = 0
        self._repeating: set[str] = set()
        self.rejected: list[RejectedEvent] = []

    def add(self, index: int, raw: msgspec.Raw | bytes | InvalidEvent) -> None:
        """Check the next event and add it."""
        event: Event | None = None
        try:
            if isinstance(raw, InvalidEvent):
                raise raw
            event = decode_event(raw)
            self._check(event)
            if event.id and self._is_repeated(event):
                self.duplicates += 1
                self._repeating.add(event.user)
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
        # Hash the event as the client sent it: a repeat has the same digest at any time.
        self.digests[admitted.user, admitted.id] = event_digest(event)
        key = admitted.user.encode()
        self.records.append(NewRecord(INTERACTIONS, key, encode_event(admitted)))

    def appended(self, positions: Sequence[Position]) -> EventsAnswer:
        """Note that the accepted events are in the log; return the answer."""
        if self.records:
            self._deps.dedup.add(self.digests.items())
        return EventsAnswer(
            accepted=len(self.records),
            duplicates=self.duplicates,
            rejected=tuple(self.rejected),
            position=positioned(self._deps.log.epoch, [*positions, *self._ends()]),
        )

    def _ends(self) -> Iterator[Position]:
        """Yield positions at or behind the events that were repeated: the ends of their partitions."""
        if not self._repeating:
            return
        event_log = self._deps.log
        n_partitions = event_log.partitions(INTERACTIONS)
        for partition in {partition_for(user.encode(), n_partitions) for user in self._repeating}:
            end = event_log.high_watermark(INTERACTIONS, partition)
            yield Position(INTERACTIONS, partition, end - 1)

    def _check(self, event: Event) -> None:
        if not self._who.may_act_for(event.user):
            raise InvalidEvent("the token is for another user", code="forbidden", pointer="/user")

    def _is_repeated(self, event: Event) -> bool:
        known = self.digests.get((event.user, event.id)) or self._deps.dedup.find(
            (event.user, event.id)
        )
        if known is None:
            return False
        if known != event_digest(event):
            message = f"the id {event.id!r} was used for an event with another body"
            raise InvalidEvent(message, code="id-reuse", pointer="/id")
        return True


def _unwrapped(raw: msgspec.Raw | bytes) -> bytes | InvalidEvent:
    """Return the event in a CloudEvent, completed from its envelope."""
    try:
        cloud = _cloud_event.decode(raw)
        check_depth(cloud.data, InvalidEvent, pointer="/data", depth=2)
    except InvalidEvent as error:
        return error
    except Exception as error:  # noqa: BLE001 - untrusted bytes
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
