"""Search the log: its topics, records of all partitions merged by time, decoded events."""

from typing import Annotated, Literal

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import route
from recstream.bridge.push import LogRecord, log_record
from recstream.bridge.views import (
    FoundRecords,
    LogSearch,
    RecordFilter,
    decode_places,
    encode_places,
)
from recstream.core.events import Event
from recstream.errors import InvalidInput
from recstream.log import (
    CATALOGUE,
    CHECKPOINTS,
    CONTROL,
    DEAD_LETTERS,
    INTERACTIONS,
    MODELS,
    PIPELINE,
    RECOMMENDATIONS,
    ReadableLog,
    Record,
    decode,
    full_name,
    own_topics,
)
from recstream.time_travel import moment, require_in_log

PREVIEW_BYTES = 8 * 1024
MAX_EVENT_BYTES = 256 * 1024
"""Of records in one answer of decoded events: a record may hold a thousand."""
MAX_BATCH_BYTES = 1 << 25
"""The same where one user or id is asked for, whose events are few of a record."""
PURPOSES = {
    INTERACTIONS: "Events of users: all other state is derived from them.",
    RECOMMENDATIONS: "Published lists, one record each.",
    MODELS: "Generations of the model, and deltas between them.",
    CATALOGUE: "Products: added, replaced, withdrawn.",
    CONTROL: "Requests of people, and the settings that shape lists.",
    DEAD_LETTERS: "Records that could not be read, with the reason.",
    PIPELINE: "Status of the roles; no state depends on it.",
    CHECKPOINTS: "Where each checkpoint of the histories is, and as of which offset.",
}
HISTORIES = "Histories of users, row by row: the worker's table can be made again from them."
_UNAVAILABLE = {503: "The log can't be reached"}

Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]
Place = Annotated[
    str, msgspec.Meta(max_length=4000, description="`older` or `newer` of another answer")
]
Text = Annotated[str, msgspec.Meta(max_length=256)]


class PartitionRange(msgspec.Struct, frozen=True, kw_only=True):
    """Kept offsets of a partition: from ``earliest`` to before ``end``."""

    partition: int
    earliest: int
    end: int


class TopicSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A topic.

    Attributes
    ----------
    purpose : str
        One sentence; empty for an unknown topic.
    n_offsets : int
        Kept offsets; a compacted topic has fewer records.
    first_ts, last_ts : int or None
        Times of the oldest and the newest record, milliseconds since 1970.
    """

    topic: str
    purpose: str
    partitions: tuple[PartitionRange, ...]
    n_offsets: int
    first_ts: int | None
    last_ts: int | None


class TopicsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All topics of the log."""

    epoch: str
    topics: tuple[TopicSummary, ...]


class SearchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects records by what they hold, and where to begin."""

    user: Text = ""
    item: Text = ""
    type: Annotated[Text, msgspec.Meta(description="`type` of the event or record")] = ""
    id: Annotated[Text, msgspec.Meta(description="An event's id, or a list's `rec_id`")] = ""
    partition: Annotated[int | None, msgspec.Meta(description="Default: all")] = None
    at: Annotated[
        str,
        msgspec.Meta(
            description="Records from this time on; with `partition` also an offset. Default: the "
            "newest records"
        ),
    ] = ""
    older: Annotated[Place, msgspec.Meta(description="Records before this place")] = ""
    newer: Annotated[Place, msgspec.Meta(description="Records from this place on")] = ""
    limit: Limit = 100


class FoundRecord(LogRecord, frozen=True, kw_only=True, omit_defaults=True):
    """A record; of a large one, ``text`` has the beginning and ``is_cut`` is set."""

    n_bytes: int = 0
    is_cut: bool = msgspec.field(default_factory=bool)


class RecordsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a topic, all partitions merged by time, oldest first.

    Attributes
    ----------
    older, newer : str
        Values of the parameters for the records before and after these.
    n_scanned : int
        Records read for this answer.
    has_more : bool
        More records follow in the direction of this search.
    """

    epoch: str
    topic: str
    records: tuple[FoundRecord, ...]
    older: str
    newer: str
    n_scanned: int
    has_more: bool


class FoundEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its position: partition, offset, and place inside a record of several events."""

    partition: int
    offset: int
    index: int
    appended_ts: int
    event: Event


class EventsFound(msgspec.Struct, frozen=True, kw_only=True):
    """Events, newest first; fields as in `RecordsAnswer`.

    Attributes
    ----------
    is_pruned : bool
        Whether older events of the partitions that were searched were pruned.
    """

    epoch: str
    events: tuple[FoundEvent, ...]
    older: str
    n_scanned: int
    has_more: bool
    is_pruned: bool


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects events."""

    user: Text = ""
    item: Text = ""
    type: Text = ""
    id: Annotated[Text, msgspec.Meta(description="The event's id, or its `rec_id`")] = ""
    older: Annotated[Place, msgspec.Meta(description="Events before this place")] = ""
    limit: Limit = 50


class SearchRoutes:
    """Search of the log."""

    tag = "log"

    def __init__(self, deps: Deps) -> None:
        self._log = deps.log

    @route("GET", "/v1/log", problems=_UNAVAILABLE)
    def list_topics(self) -> TopicsAnswer:
        """List the topics with their offsets and times."""
        topics = tuple(summary(self._log, name) for name in sorted(own_topics(self._log.topics())))
        return TopicsAnswer(epoch=self._log.epoch, topics=topics)

    @route(
        "GET",
        "/v1/log/<topic>/records",
        max_in_flight=8,
        problems={404: "No such topic"} | _UNAVAILABLE,
    )
    def search_log(self, topic: str, query: SearchQuery) -> RecordsAnswer:
        """Search a topic's records: all partitions merged by time, from a time or place on."""
        return search_records(self._log, full_name(topic, own_topics(self._log.topics())), query)

    @route("GET", "/v1/events", tag="events", max_in_flight=8, problems=_UNAVAILABLE)
    def search_events(self, query: EventsQuery) -> EventsFound:
        """Search events by user, item, type or id, newest first; also inside batches."""
        wanted = RecordFilter(query.user, query.item, query.type, query.id)
        search = LogSearch(self._log)
        partitions = search.partitions(INTERACTIONS, query.user)
        found = search.search(
            INTERACTIONS,
            _start(search, INTERACTIONS, partitions, query.older),
            wanted.matcher(),
            limit=query.limit,
            backwards=True,
            # One user's events are a small part of their batches.
            max_bytes=MAX_BATCH_BYTES if query.user or query.id else MAX_EVENT_BYTES,
        )
        events = [
            FoundEvent(
                partition=record.partition,
                offset=record.offset,
                index=index,
                appended_ts=record.timestamp_ms,
                event=event,
            )
            for record in reversed(found.records)
            for index, event in reversed(decode(record).events)
            if _fits(event, query)
        ]
        return EventsFound(
            epoch=self._log.epoch,
            events=tuple(events),
            older=encode_places(found.older),
            n_scanned=found.n_scanned,
            has_more=found.has_more,
            is_pruned=any(self._log.earliest(INTERACTIONS, each) > 0 for each in partitions),
        )


def _fits(event: Event, query: EventsQuery) -> bool:
    return (
        query.user in {"", event.user}
        and query.item in {"", event.item, *event.items}
        and query.type in {"", event.type}
        and query.id in {"", event.id, event.rec_id}
    )


def search_records(event_log: ReadableLog, topic: str, query: SearchQuery) -> RecordsAnswer:
    """Return the records that a query selects.

    Raises
    ------
    InvalidInput
        More than one of ``at``, ``older`` and ``newer``, or one that can't be read.
    NotFound
        No such topic.
    """
    if sum(map(bool, (query.at, query.older, query.newer))) > 1:
        raise InvalidInput("expected one of at, older and newer, got several")
    search = LogSearch(event_log)
    partitions = search.partitions(topic, query.user, query.partition)
    if query.at:
        when = moment(query.at)
        if when.offset is None:
            start = search.places(topic, partitions, timestamp_ms=when.timestamp_ms)
        elif len(partitions) == 1:
            end = event_log.high_watermark(topic, partitions[0])
            require_in_log(when.offset, end, f"{topic}[{partitions[0]}]")
            start = {partitions[0]: when.offset}
        else:
            raise InvalidInput(
                f"an offset needs a partition, since {topic} has {len(partitions)}; add partition, "
                "or give a time with a zone"
            )
    else:
        start = _start(search, topic, partitions, query.older or query.newer)
    wanted = RecordFilter(query.user, query.item, query.type, query.id)
    backwards = not (query.at or query.newer)
    found = search.search(topic, start, wanted.matcher(), limit=query.limit, backwards=backwards)
    return _answer(event_log, topic, found)


def _start(search: LogSearch, topic: str, partitions: list[int], place: str) -> dict[int, int]:
    """Return where to begin in each partition: a place of another answer, or the end."""
    named = decode_places(place) if place else {}
    ends = search.places(topic, [each for each in partitions if each not in named])
    return {each: named[each] for each in partitions if each in named} | ends


def _answer(event_log: ReadableLog, topic: str, found: FoundRecords) -> RecordsAnswer:
    return RecordsAnswer(
        epoch=event_log.epoch,
        topic=topic,
        records=tuple(_found_record(each) for each in found.records),
        older=encode_places(found.older),
        newer=encode_places(found.newer),
        n_scanned=found.n_scanned,
        has_more=found.has_more,
    )


def _found_record(record: Record) -> FoundRecord:
    value = record.value or b""
    is_cut = len(value) > PREVIEW_BYTES
    readable = log_record(record._replace(value=value[:PREVIEW_BYTES]) if is_cut else record)
    return FoundRecord(**msgspec.structs.asdict(readable), n_bytes=len(value), is_cut=is_cut)


def summary(event_log: ReadableLog, topic: str) -> TopicSummary:
    """Return a topic's offsets and times."""
    ranges = [
        PartitionRange(
            partition=each,
            earliest=event_log.earliest(topic, each),
            end=event_log.high_watermark(topic, each),
        )
        for each in range(event_log.partitions(topic))
    ]
    search = LogSearch(event_log)

    def time_of(side: Literal["earliest", "end"]) -> int | None:
        start = {each.partition: getattr(each, side) for each in ranges}
        found = search.search(
            topic, start, lambda _: True, limit=1, backwards=side == "end"
        ).records
        return found[0].timestamp_ms if found else None

    return TopicSummary(
        topic=topic,
        purpose=PURPOSES.get(topic, HISTORIES if topic.endswith("-changelog") else ""),
        partitions=tuple(ranges),
        n_offsets=sum(each.end - each.earliest for each in ranges),
        first_ts=time_of("earliest"),
        last_ts=time_of("end"),
    )
