"""Answers of the bridge. Written from the OpenAPI document by scripts/client.py."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from recstream.client.bodies import ListRequest, LogPosition


class AsOf(TypedDict):
    """Position on the interactions topic of the newest event of the user that a list includes."""

    partition: int
    offset: int


class Boosted(TypedDict):
    """The addition of a rule to a score."""

    rule: str
    score: float


class Counted(TypedDict):
    """The events that were counted: of each partition, from the first offset to before the next."""

    first: dict[str, int]
    next: dict[str, int]


class ItemsPage(TypedDict):
    """A page of items, and the cursor of the next page; empty on the last one."""

    items: list[Item]
    next: str


class ListedShelf(TypedDict):
    """The best items of a category, or of all if it is empty."""

    category: NotRequired[str]
    items: list[ListedEntry]


class ForgetAccepted(TypedDict):
    """A request to erase a user, stored durably in the log."""

    id: str
    offset: int
    follows: str


class ItemsAnswer(TypedDict):
    """The result for the items of a request."""

    accepted: int
    rejected: list[RejectedItem]
    position: LogPosition


class Unranked(TypedDict):
    """A candidate that has no place in the order, and why."""

    item: str
    reason: Literal["cut", "excluded", "unknown", "withdrawn"]
    rule: NotRequired[str]


class UserAccepted(TypedDict):
    """Properties, stored durably in the log as an event of type ``profile``."""

    user: str
    id: str
    position: LogPosition


class ViewedShelf(TypedDict):
    """Items recommended because of one history entry."""

    item: str
    event: str
    items: list[ViewedEntry]


class EventsAnswer(TypedDict):
    """The result for the events of a request."""

    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]
    position: LogPosition


class ListedEntry(TypedDict):
    """An item of a shelf, with the fields that were asked for."""

    item: str
    rank: NotRequired[int]
    score: NotRequired[float | None]
    details: NotRequired[Item | None]


class MergeAccepted(TypedDict):
    """A session's events, stored durably in the log as the user's."""

    user: str
    merged: int
    left: int
    position: LogPosition


class Requested(TypedDict):
    """What shaped a list made for a request, besides history and generation."""

    request: ListRequest
    steering: NotRequired[int]
    items: NotRequired[list[str]]
    warnings: NotRequired[list[str]]


class SimilarItem(TypedDict):
    """A similar item: similarity, reasons, and its catalogue entry."""

    item: str
    score: NotRequired[float | None]
    why: NotRequired[list[Similarity]]
    details: NotRequired[Item | None]


class Similarity(TypedDict):
    """A part of a similar item's score."""

    kind: Literal["behaviour", "boosted", "content"]
    share: float
    shared: NotRequired[list[str]]
    rule: NotRequired[str]


class Lineage(TypedDict):
    """Origin of a list, and when each step was done (milliseconds since 1970)."""

    event_id: NotRequired[str]
    event_ts: NotRequired[int]
    appended_ts: NotRequired[int]
    folded_ts: NotRequired[int]
    published_ts: NotRequired[int]


class RejectedEvent(TypedDict):
    """An event that was not accepted: its place in the request, what is wrong, and where."""

    index: int
    id: NotRequired[str]
    pointer: str
    code: str
    detail: str


class RejectedItem(TypedDict):
    """An item that was not accepted: its place in the request, what is wrong, and where."""

    index: int
    item: NotRequired[str]
    pointer: str
    code: str
    detail: str


class Sources(TypedDict):
    """A score by source; the five parts add up to it."""

    factors: float
    behaviour: float
    content: float
    popularity: float
    boost: float


class ListedItem(TypedDict):
    """An item of a list, with the fields that were asked for."""

    item: str
    rank: NotRequired[int]
    score: NotRequired[float | None]
    was: NotRequired[int]
    why: NotRequired[list[Reason]]
    details: NotRequired[Item | None]


class SimilarAnswer(TypedDict):
    """The most similar items."""

    item: str
    generation: int | None
    known: bool
    items: list[SimilarItem]
    next: NotRequired[str]
    warnings: NotRequired[list[str]]


class ViewedEntry(TypedDict):
    """An item of a shelf, with the fields that were asked for."""

    item: str
    rank: NotRequired[int]
    score: NotRequired[float | None]
    share: float
    shared: NotRequired[list[str]]
    details: NotRequired[Item | None]


class Reason(TypedDict):
    """Why an item is in a list: the contribution of one source to its score."""

    kind: Literal["because", "boosted", "content", "newcomer", "pinned", "popular"]
    item: NotRequired[str]
    event: NotRequired[str]
    offset: NotRequired[int]
    share: NotRequired[float]
    shared: NotRequired[list[str]]
    rule: NotRequired[str]


class ShelvesAnswer(TypedDict):
    """A user's shelves, with the fields of their items that were asked for."""

    rec_id: str
    user: str
    generation: int
    delta: NotRequired[int]
    as_of: NotRequired[AsOf | None]
    shelves: list[ViewedShelf]
    requested: NotRequired[Requested | None]


class KindAnswer(TypedDict):
    """Shelves of one kind, with the fields of their items that were asked for."""

    kind: Literal["again", "bought-together", "newest", "popular", "trending"]
    generation: int
    delta: NotRequired[int]
    now: NotRequired[int]
    counted: NotRequired[Counted | None]
    shelves: list[ListedShelf]
    requested: Requested
    next: NotRequired[str]


class Contribution(TypedDict):
    """The contribution of one history entry to a score."""

    item: str
    event: str
    offset: int
    n_events: int
    score: float
    factors: NotRequired[float]
    behaviour: NotRequired[float]
    content: NotRequired[float]
    shared: NotRequired[list[str]]


Item = TypedDict(
    "Item",
    {
        "item": "str",
        "title": "NotRequired[str]",
        "category": "NotRequired[str]",
        "brand": "NotRequired[str]",
        "price": "NotRequired[float | None]",
        "description": "NotRequired[str]",
        "image": "NotRequired[str]",
        "attributes": "NotRequired[dict[str, Any]]",
        "available": "NotRequired[bool]",
        "from": "NotRequired[str | None]",
        "until": "NotRequired[str | None]",
        "vector": "NotRequired[list[float]]",
    },
)


class Explanation(TypedDict):
    """The explanation of an item's score and of its place in the list."""

    user: str
    item: str
    generation: int
    delta: int
    arm: str
    score: float
    prior: float
    because: list[Contribution]
    boosts: list[Boosted]
    sources: Sources
    verdict: Literal[
        "below-min-relevance",
        "below-the-cut",
        "diversified",
        "excluded",
        "listed",
        "made-way",
        "newcomer",
        "pinned",
        "rotated",
        "seen",
        "withdrawn",
    ]
    rule: str
    rank: int
    cut: float
    missing: float


class ListAnswer(TypedDict):
    """A list, with the fields of its items that were asked for."""

    rec_id: str
    user: str
    generation: int
    delta: NotRequired[int]
    followed: NotRequired[list[Any] | None]
    control: NotRequired[int]
    arm: NotRequired[str]
    now: NotRequired[int]
    as_of: NotRequired[AsOf | None]
    source: Literal["content", "fold-in", "popular", "refresh"]
    items: list[ListedItem]
    lineage: NotRequired[Lineage]
    epoch: NotRequired[str]
    partition: NotRequired[int]
    offset: NotRequired[int]
    requested: NotRequired[Requested | None]
    next: NotRequired[str]


class RankAnswer(ListAnswer):
    """Candidates in order, and those that have no place in it, with the reason of each."""

    unranked: list[Unranked]
