"""Records of the log and a user's events over REST."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import route
from recstream.bridge.push import LogRecord, log_record
from recstream.core.events import Event
from recstream.errors import InvalidInput, NotFound
from recstream.log import (
    INTERACTIONS,
    Record,
    decode,
    full_name,
    may_contain,
    own_topics,
    partition_for,
    read_backwards,
    start_of_newest,
)

MAX_SCANNED = 20_000
CHUNK = 2_000

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class LogQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects records of a topic."""

    partition: Annotated[
        int | None, msgspec.Meta(description="Default: the partition of `user`, else 0")
    ] = None
    from_: Annotated[
        Offset | None, msgspec.Meta(description="First offset; default: the newest records")
    ] = msgspec.field(default=None, name="from")
    limit: Limit = 100
    user: Annotated[str, msgspec.Meta(description="Only records with this key")] = ""
    type: Annotated[str, msgspec.Meta(description="Only records with this `type`")] = ""


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a partition.

    Attributes
    ----------
    earliest, end : int
        The oldest offset that is kept, and the next one that will be written.
    next : int
        Value of ``from`` for the next page.
    """

    epoch: str
    topic: str
    partition: int
    earliest: int
    end: int
    next: int
    records: tuple[LogRecord, ...]


class UserEventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects a user's events."""

    limit: Limit = 50
    before: Annotated[
        Offset | None, msgspec.Meta(description="Only offsets below this; default: the end")
    ] = None


class UserEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event, its offset, its index in a batch, and when it was appended (ms since 1970)."""

    offset: int
    index: int
    appended_ts: int
    event: Event


class UserEvents(msgspec.Struct, frozen=True, kw_only=True):
    """A user's events, newest first.

    Attributes
    ----------
    next : int or None
        Value of ``before`` for older events; null where no older events are kept.
    earliest : int
        First offset of the partition that the log keeps. Above 0, older events were pruned.
    """

    user: str
    epoch: str
    partition: int
    events: tuple[UserEvent, ...]
    next: int | None
    earliest: int


class _Typed(msgspec.Struct):
    type: Any = None


_type_of = msgspec.json.Decoder(_Typed).decode
_UNAVAILABLE = {503: "The log can't be reached"}


class LogRoutes:
    """The log."""

    tag = "events"

    def __init__(self, deps: Deps) -> None:
        self._log = deps.log

    @route("GET", "/v1/users/<user>/events", problems=_UNAVAILABLE)
    def get_user_events(self, user: str, query: UserEventsQuery) -> UserEvents:
        """List a user's events, newest first."""
        # The log is read backwards, at most MAX_SCANNED records.
        partition = partition_for(user.encode(), self._log.partitions(INTERACTIONS))
        earliest = self._log.earliest(INTERACTIONS, partition)
        end = self._log.high_watermark(INTERACTIONS, partition)
        end = end if query.before is None else min(end, query.before)
        lowest = max(earliest, end - MAX_SCANNED)
        found: list[UserEvent] = []
        for record in read_backwards(self._log, INTERACTIONS, partition, end):
            if record.offset < lowest or len(found) >= query.limit:
                break
            found += reversed(_events_of(record, user))
            end = record.offset
        if len(found) < query.limit:
            end = lowest
        return UserEvents(
            user=user,
            epoch=self._log.epoch,
            partition=partition,
            events=tuple(found),
            next=end if end > earliest else None,
            earliest=earliest,
        )

    @route(
        "GET",
        "/v1/log/<topic>",
        tag="log",
        problems={404: "No such topic or partition", 410: "`from` was pruned"} | _UNAVAILABLE,
    )
    def get_log(self, topic: str, query: LogQuery) -> LogPage:
        """List records of a topic."""
        topic = full_name(topic, own_topics(self._log.topics()))
        partitions = self._log.partitions(topic)
        partition = query.partition
        if partition is None:
            partition = partition_for(query.user.encode(), partitions) if query.user else 0
        if not 0 <= partition < partitions:
            raise NotFound(f"topic {topic} has partitions 0 to {partitions - 1}, got {partition}")
        earliest = self._log.earliest(topic, partition)
        end = self._log.high_watermark(topic, partition)
        at = query.from_
        if at is None:
            at = start_of_newest(self._log, topic, partition, query.limit)
        if at > end:
            raise InvalidInput(
                f"from must be up to {end}, the end of {topic}[{partition}], got {at}; omit it for "
                "the newest records"
            )
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
                    found.append(log_record(record))
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


def _events_of(record: Record, user: str) -> list[UserEvent]:
    """Return a user's events in a record, in order."""
    if record.value is None or not may_contain(record.value, msgspec.json.encode(user)):
        return []
    return [
        UserEvent(offset=record.offset, index=index, appended_ts=record.timestamp_ms, event=event)
        for index, event in decode(record).events
        if event.user == user
    ]


def _filter(user: str, type_: str) -> Callable[[Record], bool]:
    """Return a predicate for records of a key and a type."""
    key = user.encode()

    def is_wanted(record: Record) -> bool:
        if user and record.key != key:
            return False
        if not type_:
            return True
        try:
            return record.value is not None and _type_of(record.value).type == type_
        except Exception:  # noqa: BLE001 - whatever a record's bytes do to a decoder
            return False

    return is_wanted
