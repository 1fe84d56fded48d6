"""Bodies and parameters of requests to the bridge. Written from the OpenAPI document by scripts/client.py."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class ExplainQuery(TypedDict):
    """Parameters of `Methods.explain`."""

    as_of: NotRequired[str | None]


class Now(TypedDict):
    """Time ``now`` seconds after the list's own time: ``{'now': -604800}`` is a week ago."""

    now: float


class UserFields(TypedDict):
    """Properties of a user by name: texts, numbers, booleans; null removes one."""

    properties: dict[str, bool | int | float | str | None]


class LogPosition(TypedDict):
    """Epoch of the log, and the newest offset of these records in each partition."""

    epoch: str
    offsets: dict[str, int]


MergeRequest = TypedDict("MergeRequest", {"from": "str", "token": "NotRequired[str]"})


class Moments(TypedDict):
    """Times from ``min`` to ``max``, both included: RFC 3339 texts, or relative to now."""

    min: NotRequired[str | Now | None]
    max: NotRequired[str | Now | None]


class Range(TypedDict):
    """Numbers from ``min`` to ``max``, both included; either may be absent."""

    min: NotRequired[float | None]
    max: NotRequired[float | None]


class RequestBoost(TypedDict):
    """Add ``by`` typical scores to items that meet a condition, as a ``boost`` rule does."""

    where: Condition
    by: float


AttributeTest = TypedDict(
    "AttributeTest",
    {
        "eq": "NotRequired[bool | int | float | str | None]",
        "in": "NotRequired[list[bool | int | float | str] | None]",
        "min": "NotRequired[int | float | str | Now | None]",
        "max": "NotRequired[int | float | str | Now | None]",
        "exists": "NotRequired[bool | None]",
    },
)


class FindItemsQuery(TypedDict):
    """Parameters of `Methods.find_items`."""

    ids: NotRequired[list[str] | None]
    q: NotRequired[str | None]
    category: NotRequired[str | None]
    cursor: NotRequired[str | None]
    limit: NotRequired[int | None]


class ListRequest(TypedDict):
    """What a request asks of a list; lists that are made for a request contain it."""

    n: NotRequired[int]
    offset: NotRequired[int]
    cursor: NotRequired[str]
    exclude: NotRequired[list[str]]
    filter: NotRequired[Condition | None]
    boost: NotRequired[list[RequestBoost]]
    category: NotRequired[str]
    placement: NotRequired[str]
    context: NotRequired[dict[str, bool | int | float | str]]
    known: NotRequired[bool]


Condition = TypedDict(
    "Condition",
    {
        "category": "NotRequired[str | list[str] | None]",
        "brand": "NotRequired[str | list[str] | None]",
        "price": "NotRequired[Range | None]",
        "attributes": "NotRequired[dict[str, AttributeTest] | None]",
        "items": "NotRequired[list[str] | None]",
        "users": "NotRequired[Range | None]",
        "from": "NotRequired[Moments | None]",
        "until": "NotRequired[Moments | None]",
        "all": "NotRequired[list[Condition] | None]",
        "any": "NotRequired[list[Condition] | None]",
        "not": "NotRequired[Condition | None]",
    },
)


class Event(TypedDict):
    """An interaction of a user with an item, as clients send it and as the log keeps it."""

    id: NotRequired[str]
    type: Literal[
        "cart",
        "click",
        "dislike",
        "impression",
        "like",
        "profile",
        "purchase",
        "rate",
        "remove",
        "view",
    ]
    user: str
    item: NotRequired[str | None]
    items: NotRequired[list[str]]
    ts: NotRequired[str | None]
    value: NotRequired[float | None]
    session: NotRequired[str | None]
    rec_id: NotRequired[str | None]
    context: NotRequired[dict[str, Any]]
    properties: NotRequired[dict[str, bool | int | float | str | None]]


ItemChanges = TypedDict(
    "ItemChanges",
    {
        "title": "NotRequired[str]",
        "category": "NotRequired[str]",
        "brand": "NotRequired[str]",
        "price": "NotRequired[float | None]",
        "description": "NotRequired[str]",
        "image": "NotRequired[str]",
        "attributes": "NotRequired[dict[str, str | int | float | bool | list[str] | None]]",
        "available": "NotRequired[bool]",
        "from": "NotRequired[str | None]",
        "until": "NotRequired[str | None]",
        "vector": "NotRequired[list[float]]",
    },
)


class ItemFields(ItemChanges):
    """A product as a client sends it; ``item`` is optional where the URL contains it."""

    item: NotRequired[str]


class ListBody(TypedDict):
    """A request of a list: what shapes it, what to wait for, and which fields to return."""

    n: NotRequired[int | None]
    offset: NotRequired[int]
    cursor: NotRequired[str]
    exclude: NotRequired[list[str]]
    filter: NotRequired[Condition | None]
    boost: NotRequired[list[RequestBoost]]
    category: NotRequired[str]
    placement: NotRequired[str]
    context: NotRequired[dict[str, bool | int | float | str]]
    known: NotRequired[bool]
    min_position: NotRequired[int | LogPosition | None]
    timeout_ms: NotRequired[int]
    fields: NotRequired[list[Literal["details", "rank", "score", "was", "why"]] | None]


class PopularQuery(TypedDict):
    """Parameters of `Methods.popular`."""

    n: NotRequired[int | None]
    offset: NotRequired[int | None]
    cursor: NotRequired[str | None]
    exclude: NotRequired[list[str] | None]
    filter: NotRequired[str | None]
    boost: NotRequired[str | None]
    category: NotRequired[str | None]
    placement: NotRequired[str | None]
    known: NotRequired[bool | None]
    context: NotRequired[str | None]
    min_position: NotRequired[str | None]
    timeout_ms: NotRequired[int | None]
    fields: NotRequired[list[Literal["details", "rank", "score", "was", "why"]] | None]
    session: NotRequired[str | None]


class KindBody(ListBody):
    """A shelf for everybody; one, or one of each category."""

    by: NotRequired[Literal["", "category"]]
    shelves: NotRequired[int]


class ShelfBody(ListRequest):
    """Number of shelves, items on each, and places of the list that are displayed elsewhere."""

    min_position: NotRequired[int | LogPosition | None]
    timeout_ms: NotRequired[int]
    fields: NotRequired[list[Literal["details", "rank", "score", "was", "why"]] | None]
    items: NotRequired[int]
    skip: NotRequired[int]


class VisitorRequest(ListBody):
    """A list for a visitor without a history, from the items that they viewed."""

    items: NotRequired[list[str]]
    session: NotRequired[str]


class RankBody(ListRequest):
    """Items to rank for a user, or for a visitor by what they viewed; items seen before stay in."""

    min_position: NotRequired[int | LogPosition | None]
    timeout_ms: NotRequired[int]
    fields: NotRequired[list[Literal["details", "rank", "score", "was", "why"]] | None]
    user: NotRequired[str]
    items: NotRequired[list[str]]
    session: NotRequired[str]
    candidates: list[str]
