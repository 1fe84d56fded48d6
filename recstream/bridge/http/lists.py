"""Steps 7 and 8 of the flow over REST: a user's list, a visitor's list, reasons, what is popular."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import Endpoint, json_response
from recstream.bridge.serving import Shelves
from recstream.bridge.views import Mask
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.ranking import Explanation
from recstream.core.records import Recommendations
from recstream.errors import InvalidInput
from recstream.time_travel import ListDiff

Count = Annotated[int, msgspec.Meta(ge=1, le=500, description="Items in the list")]
Category = Annotated[str, msgspec.Meta(description="Only items of exactly this category")]
Moment = Annotated[str, msgspec.Meta(description="An offset, or a time with a zone")]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which list."""

    n: Count = 20
    category: Category = ""
    known: Annotated[bool, msgspec.Meta(description="Items the user has seen may be in it")] = False
    as_of: Annotated[
        str,
        msgspec.Meta(
            description="The list at an offset of the user's partition, or at a time, made again "
            "from the log; header Recstream-Identical says whether it was published byte for byte"
        ),
    ] = ""


class DiffQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which two moments."""

    a: Moment
    b: Moment


class PopularQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which popular items."""

    n: Count = 20
    category: Category = ""


class VisitorRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a visitor without a history looked at."""

    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=500)] = ()
    n: Count = 20
    category: Category = ""


class ShelvesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How many shelves, how many items on each, and what is shown elsewhere."""

    n: Annotated[int, msgspec.Meta(ge=1, le=20, description="Shelves")] = 3
    items: Annotated[int, msgspec.Meta(ge=1, le=50, description="Items on a shelf")] = 8
    skip: Annotated[
        int, msgspec.Meta(ge=0, le=500, description="Places of the list that are shown elsewhere")
    ] = 0


class ListRoutes:
    """Lists."""

    def __init__(self, deps: Deps) -> None:
        self._serving = deps.serving
        self._items = deps.items
        self._past = deps.past

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        return [
            Endpoint(
                method="GET",
                rule="/v1/users/<user>/recommendations",
                handler=self.of_user,
                name="get_recommendations",
                summary="A user's list; popular items for a user nobody knows",
                tag="recommendations",
                access="user",
                query=ListQuery,
                returns=Recommendations,
                problems={404: "No model had been announced by then", 422: "as_of is not a moment"},
            ),
            Endpoint(
                method="GET",
                rule="/v1/users/<user>/shelves",
                handler=self.shelves,
                name="get_shelves",
                summary="What follows from the strongest things a user did: because you viewed X",
                tag="recommendations",
                access="user",
                query=ShelvesQuery,
                returns=Shelves,
            ),
            Endpoint(
                method="GET",
                rule="/v1/users/<user>/diff",
                handler=self.diff,
                name="get_diff",
                summary="How a user's list became another: who entered, left and moved, and why",
                tag="recommendations",
                access="user",
                query=DiffQuery,
                returns=ListDiff,
                problems={422: "a or b is not a moment"},
            ),
            Endpoint(
                method="GET",
                rule="/v1/users/<user>/recommendations/<item>/explanation",
                handler=self.explanation,
                name="get_explanation",
                summary="What each thing in a user's history adds to an item's score",
                tag="recommendations",
                access="user",
                returns=Explanation,
                problems={404: "The generation served does not know the item"},
            ),
            Endpoint(
                method="POST",
                rule="/v1/recommendations",
                handler=self.of_visitor,
                name="post_recommendations",
                summary="A list for somebody who looked at some items, folded in on the spot",
                tag="recommendations",
                access="public",
                body=VisitorRequest,
                returns=Recommendations,
                problems={415: "Another media type", 422: "A field is not what it must be"},
            ),
            Endpoint(
                method="GET",
                rule="/v1/popular",
                handler=self.popular,
                name="get_popular",
                summary="What is popular of late",
                tag="recommendations",
                access="public",
                query=PopularQuery,
                returns=Recommendations,
            ),
        ]

    def _mask(self, category: str) -> Mask | None:
        return self._items.mask(category) if category else None

    def of_user(self, user: str, query: ListQuery) -> Recommendations | Response:
        """Return a user's list."""
        if query.as_of:
            return self._of_the_past(user, query)
        mask = self._mask(query.category)
        return self._serving.recommend(user, query.n, mask=mask, known=query.known)

    def _of_the_past(self, user: str, query: ListQuery) -> Response:
        if query.category or query.known:
            raise InvalidInput(
                "as_of gives the list as it was published; leave category and known out"
            )
        found = self._past.list_at(user, query.as_of)
        body = msgspec.structs.replace(found.list, items=found.list.items[: query.n])
        response = json_response(body)
        if found.is_identical is not None:
            response.headers["Recstream-Identical"] = str(found.is_identical).lower()
        return response

    def shelves(self, user: str, query: ShelvesQuery) -> Shelves:
        """Return a user's shelves."""
        return self._serving.shelves(user, n_shelves=query.n, n_items=query.items, skip=query.skip)

    def diff(self, user: str, query: DiffQuery) -> ListDiff:
        """Return how a user's list at one moment became the one at another."""
        return self._past.diff(user, query.a, query.b)

    def explanation(self, user: str, item: str) -> Explanation:
        """Return why an item has its score."""
        return self._serving.explain(user, item)

    def of_visitor(self, body: VisitorRequest) -> Recommendations:
        """Return a visitor's list."""
        return self._serving.made_from(body.items, body.n, mask=self._mask(body.category))

    def popular(self, query: PopularQuery) -> Recommendations:
        """Return the popular items."""
        return self._serving.made_from((), query.n, mask=self._mask(query.category))
