"""Steps 7 and 8 of the flow over REST: a user's list, a visitor's list, reasons, what is popular."""

from __future__ import annotations

from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import Endpoint
from recstream.bridge.serving import Explanation, Mask
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.records import Recommendations

Count = Annotated[int, msgspec.Meta(ge=1, le=500, description="Items in the list")]
Category = Annotated[str, msgspec.Meta(description="Only items of exactly this category")]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which list."""

    n: Count = 20
    category: Category = ""
    known: Annotated[bool, msgspec.Meta(description="Items the user has seen may be in it")] = False


class PopularQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which popular items."""

    n: Count = 20
    category: Category = ""


class VisitorRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a visitor without a history looked at."""

    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=500)] = ()
    n: Count = 20
    category: Category = ""


class ListRoutes:
    """Lists."""

    def __init__(self, deps: Deps) -> None:
        self._serving = deps.serving
        self._items = deps.items

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

    def of_user(self, user: str, query: ListQuery) -> Recommendations:
        """Return a user's list."""
        mask = self._mask(query.category)
        return self._serving.recommend(user, query.n, mask=mask, known=query.known)

    def explanation(self, user: str, item: str) -> Explanation:
        """Return why an item has its score."""
        return self._serving.explain(user, item)

    def of_visitor(self, body: VisitorRequest) -> Recommendations:
        """Return a visitor's list."""
        return self._serving.made_from(body.items, body.n, mask=self._mask(body.category))

    def popular(self, query: PopularQuery) -> Recommendations:
        """Return the popular items."""
        return self._serving.made_from((), query.n, mask=self._mask(query.category))
