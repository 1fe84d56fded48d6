"""Beside the flow: the log, the models and the pipeline over REST, for people and tools to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from flask import Response

from recstream.bridge.auth import DEFAULT_TTL_S, MAX_TTL_S
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import Endpoint, json_response
from recstream.bridge.push import LogRecord, Pipeline, shown
from recstream.control import submit
from recstream.core.events import MAX_ID_CHARACTERS, Event, timestamp_ms
from recstream.core.records import GenerationAnnounced, TrainingRequested
from recstream.errors import NotFound
from recstream.log import INTERACTIONS, Record, decode, partition_for

MAX_SCANNED = 20_000
CHUNK = 2_000

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Offset = Annotated[int, msgspec.Meta(ge=0)]


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which records."""

    partition: Annotated[int | None, msgspec.Meta(description="Default: the user's, else 0")] = None
    from_: Annotated[
        int | None, msgspec.Meta(description="First offset; default: the newest records")
    ] = msgspec.field(default=None, name="from")
    limit: Limit = 100
    user: Annotated[str, msgspec.Meta(description="Only records of this key")] = ""
    type: Annotated[str, msgspec.Meta(description="Only records of this `type`")] = ""


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some records of a partition.

    Attributes
    ----------
    earliest, end : int
        Bounds of the partition: the oldest kept offset, and the next one to be written.
    next : int
        Where to go on reading.
    """

    epoch: str
    topic: str
    partition: int
    earliest: int
    end: int
    next: int
    records: tuple[LogRecord, ...]


class UserEventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a user's events."""

    limit: Limit = 50
    before: Annotated[
        int | None, msgspec.Meta(description="Only offsets below this; default: the end")
    ] = None


class UserEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its place in the log. ``appended_ts``: milliseconds since 1970."""

    offset: int
    appended_ts: int
    event: Event


class UserEvents(msgspec.Struct, frozen=True, kw_only=True):
    """A user's events, newest first.

    Attributes
    ----------
    next : int or None
        Value of ``before`` for older ones; none when the beginning of the log was reached.
    """

    user: str
    epoch: str
    partition: int
    events: tuple[UserEvent, ...]
    next: int | None


class TrainingBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a training run is wanted, for the log."""

    reason: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class TrainingAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a training run, durably in the log; the answer is the next generation."""

    id: str
    offset: int
    generation: int | None


class ModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest generations announced, newest first, and the one that this bridge serves."""

    serving: int | None
    delta: int
    models: tuple[GenerationAnnounced, ...]


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For whom a token is wanted, and for how long."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
    ttl_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_TTL_S)] = DEFAULT_TTL_S


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A token, and when it expires: milliseconds since 1970."""

    token: str
    user: str
    expires_ts: int


class _Typed(msgspec.Struct):
    type: Any = None


_type_of = msgspec.json.Decoder(_Typed).decode


class LogRoutes:
    """Log, models, pipeline, tokens."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._log = deps.log

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        log_down = {503: "The log can't be reached"}
        no_generation = {404: "No such generation"}
        return [
            Endpoint(
                method="GET",
                rule="/v1/users/<user>/events",
                handler=self.user_events,
                name="get_user_events",
                summary="A user's events, newest first",
                tag="events",
                access="user",
                query=UserEventsQuery,
                returns=UserEvents,
                problems=log_down,
            ),
            Endpoint(
                method="GET",
                rule="/v1/log/<topic>",
                handler=self.records,
                name="get_log",
                summary="Records of a topic",
                tag="log",
                query=LogQuery,
                returns=LogPage,
                problems={404: "No such topic or partition", 416: "`from` was pruned"} | log_down,
            ),
            Endpoint(
                method="POST",
                rule="/v1/training-runs",
                handler=self.train,
                name="post_training_run",
                summary="Ask for a training run",
                tag="models",
                body=TrainingBody,
                returns=TrainingAccepted,
                status=202,
                problems={415: "Another media type"} | log_down,
            ),
            Endpoint(
                method="GET",
                rule="/v1/models",
                handler=self.models,
                name="list_models",
                summary="Generations announced, newest first",
                tag="models",
                returns=ModelsAnswer,
            ),
            Endpoint(
                method="GET",
                rule="/v1/models/<generation>",
                handler=self.model,
                name="get_model",
                summary="A generation",
                tag="models",
                returns=GenerationAnnounced,
                problems=no_generation,
            ),
            Endpoint(
                method="GET",
                rule="/v1/pipeline",
                handler=self.pipeline,
                name="get_pipeline",
                summary="What the roles are doing now",
                tag="models",
                access="public",
                returns=Pipeline,
            ),
            Endpoint(
                method="POST",
                rule="/v1/tokens",
                handler=self.token,
                name="post_token",
                summary="A short-lived token for a user",
                tag="tokens",
                body=TokenRequest,
                returns=TokenAnswer,
                status=201,
                problems={415: "Another media type"},
            ),
        ]

    def user_events(self, user: str, query: UserEventsQuery) -> UserEvents:
        """Return a user's events, found by reading the log backwards, up to a bound."""
        partition = partition_for(user.encode(), self._log.partitions(INTERACTIONS))
        earliest = self._log.earliest(INTERACTIONS, partition)
        end = self._log.high_watermark(INTERACTIONS, partition)
        end = end if query.before is None else min(end, query.before)
        lowest = max(earliest, end - MAX_SCANNED)
        found: list[UserEvent] = []
        while end > lowest and len(found) < query.limit:
            start = max(lowest, end - CHUNK)
            records = self._log.read(INTERACTIONS, partition, start, end - start)
            for record in reversed([one for one in records if one.offset < end]):
                found += reversed(_events_of(record, user))
                end = record.offset
                if len(found) >= query.limit:
                    break
            else:
                end = start
        return UserEvents(
            user=user,
            epoch=self._log.epoch,
            partition=partition,
            events=tuple(found),
            next=end if end > earliest else None,
        )

    def records(self, topic: str, query: LogQuery) -> LogPage:
        """Return records of a partition, from an offset on."""
        partitions = self._log.partitions(topic)
        partition = query.partition
        if partition is None:
            partition = partition_for(query.user.encode(), partitions) if query.user else 0
        if not 0 <= partition < partitions:
            message = f"topic {topic} has partitions 0 to {partitions - 1}, got {partition}"
            raise NotFound(message)
        earliest = self._log.earliest(topic, partition)
        end = self._log.high_watermark(topic, partition)
        at = max(earliest, end - query.limit) if query.from_ is None else query.from_
        is_wanted = _filter(query.user, query.type)
        last = min(end, at + MAX_SCANNED)
        found: list[LogRecord] = []
        while at < last and len(found) < query.limit:
            records = self._log.read(topic, partition, at, min(CHUNK, last - at))
            if not records:
                at = last
            for record in records:
                at = record.offset + 1
                if is_wanted(record):
                    found.append(shown(record))
                    if len(found) == query.limit:
                        break
        return LogPage(
            epoch=self._log.epoch,
            topic=topic,
            partition=partition,
            earliest=earliest,
            end=end,
            next=at,
            records=tuple(found),
        )

    def train(self, body: TrainingBody) -> TrainingAccepted:
        """Put a request for training into the log."""
        wanted = TrainingRequested(
            id=self._deps.new_id(),
            requested_ts=timestamp_ms(self._deps.now()),
            reason=body.reason,
        )
        offset = submit(self._log, wanted)
        current = self._deps.serving.current
        return TrainingAccepted(
            id=wanted.id,
            offset=offset,
            generation=None if current is None else current[0],
        )

    def models(self) -> ModelsAnswer:
        """Return the generations."""
        current = self._deps.serving.current
        return ModelsAnswer(
            serving=None if current is None else current[0],
            delta=0 if current is None else current[1],
            models=tuple(self._deps.views.generations()),
        )

    def model(self, generation: str) -> GenerationAnnounced:
        """Return a generation's announcement."""
        if not generation.isdecimal():
            raise HttpProblem(400, f"expected a generation's number, got {generation!r}")
        announced = self._deps.views.generation(int(generation))
        if announced is None:
            raise NotFound(f"no generation {generation} was announced")
        return announced

    def pipeline(self) -> Pipeline:
        """Return the pipeline's state."""
        return self._deps.status.pipeline()

    def token(self, body: TokenRequest) -> Response:
        """Return a token."""
        token, expires_s = self._deps.auth.issue(body.user, ttl_s=body.ttl_s)
        answer = TokenAnswer(token=token, user=body.user, expires_ts=round(expires_s * 1000))
        return json_response(answer, 201)


def _events_of(record: Record, user: str) -> list[UserEvent]:
    """Return a user's events in a record, in their order."""
    if record.value is None or record.key not in {None, user.encode()}:
        return []
    return [
        UserEvent(offset=record.offset, appended_ts=record.timestamp_ms, event=event)
        for _, event in decode(record).events
        if event.user == user
    ]


def _filter(user: str, type_: str) -> Callable[[Record], bool]:
    """Return what tells which records are wanted."""
    key = user.encode()

    def is_wanted(record: Record) -> bool:
        if user and record.key != key:
            return False
        if not type_:
            return True
        try:
            return record.value is not None and _type_of(record.value).type == type_
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False

    return is_wanted
