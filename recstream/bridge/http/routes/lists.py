"""Recommendations over REST: a user's list, a visitor's list, shelves, explanations, popular items."""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Response

from recstream.bridge.http.bodies import json_response
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routing import route
from recstream.bridge.recommender import Shelves
from recstream.bridge.views import Mask
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.ranking import Explanation
from recstream.core.records import Recommendations
from recstream.errors import InvalidInput
from recstream.time_travel import ListDiff, moment

Count = Annotated[int, msgspec.Meta(ge=1, le=500, description="Items in the list")]
Category = Annotated[str, msgspec.Meta(description="Only items of exactly this category")]
Moment = Annotated[str, msgspec.Meta(description="An offset, or a time with a zone")]
Session = Annotated[
    str,
    msgspec.Meta(
        max_length=MAX_ID_CHARACTERS,
        description="Id of the visitor's session; chooses the arm of an experiment",
    ),
]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects and filters a list."""

    n: Count = 20
    category: Category = ""
    known: Annotated[bool, msgspec.Meta(description="Include items that the user has seen")] = False
    as_of: Annotated[
        str,
        msgspec.Meta(
            description="The list at an offset of the user's partition, or at a time, recomputed "
            "from the log. Header Recstream-Identical: whether it equals the published list byte "
            "for byte"
        ),
    ] = ""


class DiffQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Two moments to compare."""

    a: Moment
    b: Moment


class ExplanationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A moment."""

    as_of: Annotated[
        str, msgspec.Meta(description="An offset, or a time with a zone; default: now")
    ] = ""


class PopularQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Selects popular items."""

    n: Count = 20
    category: Category = ""
    session: Session = ""


class VisitorRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Items that a visitor without a history viewed."""

    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=500)] = ()
    n: Count = 20
    category: Category = ""
    session: Session = ""


class ShelvesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Number of shelves, items on each, and places of the list that are displayed elsewhere."""

    n: Annotated[int, msgspec.Meta(ge=1, le=20, description="Shelves")] = 3
    items: Annotated[int, msgspec.Meta(ge=1, le=50, description="Items on a shelf")] = 8
    skip: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=500,
            description="Skip this many first places of the list: they are displayed elsewhere",
        ),
    ] = 0


class ListRoutes:
    """Lists."""

    def __init__(self, deps: Deps) -> None:
        self._recommender = deps.recommender
        self._items = deps.items
        self._time_travel = deps.time_travel

    def _mask(self, category: str) -> Mask | None:
        return self._items.mask(category) if category else None

    @route(
        "GET",
        "/v1/users/<user>/recommendations",
        tag="recommendations",
        access="user",
        returns=Recommendations,
        problems={404: "No model had been announced by then", 422: "as_of is not a moment"},
    )
    def get_recommendations(self, user: str, query: ListQuery) -> Recommendations | Response:
        """Return a user's list; popular items for an unknown user."""
        if query.as_of:
            return self._list_at(user, query)
        mask = self._mask(query.category)
        return self._recommender.recommend(user, query.n, mask=mask, known=query.known)

    def _list_at(self, user: str, query: ListQuery) -> Response:
        if query.category or query.known:
            raise InvalidInput(
                "as_of returns the list as it was published; omit category and known"
            )
        found = self._time_travel.list_at(user, query.as_of)
        body = msgspec.structs.replace(found.list, items=found.list.items[: query.n])
        response = json_response(body)
        if found.is_identical is not None:
            response.headers["Recstream-Identical"] = str(found.is_identical).lower()
        return response

    @route("GET", "/v1/users/<user>/shelves", tag="recommendations", access="user")
    def get_shelves(self, user: str, query: ShelvesQuery) -> Shelves:
        """Return shelves of items related to a user's strongest items: because you viewed X."""
        return self._recommender.shelves(
            user, n_shelves=query.n, n_items=query.items, skip=query.skip
        )

    @route(
        "GET",
        "/v1/users/<user>/diff",
        tag="recommendations",
        access="user",
        problems={422: "a or b is not a moment"},
    )
    def get_diff(self, user: str, query: DiffQuery) -> ListDiff:
        """Compare a user's lists at two moments: items that entered, left and moved, and why."""
        return self._time_travel.diff(user, query.a, query.b)

    @route(
        "GET",
        "/v1/users/<user>/recommendations/<item>/explanation",
        tag="recommendations",
        access="user",
        problems={404: "The generation does not contain the item"},
    )
    def get_explanation(self, user: str, item: str, query: ExplanationQuery) -> Explanation:
        """Return the contribution of each entry of a user's history to an item's score."""
        if query.as_of:
            when = moment(query.as_of)
            return self._time_travel.ask(lambda travel: travel.explain(user, item, when))
        return self._recommender.explain(user, item)

    @route(
        "POST",
        "/v1/recommendations",
        tag="recommendations",
        access="public",
    )
    def post_recommendations(self, body: VisitorRequest) -> Recommendations:
        """Compute a list for a visitor who viewed some items, by fold-in."""
        return self._recommender.rank_for_items(
            body.items, body.n, mask=self._mask(body.category), session=body.session
        )

    @route("GET", "/v1/popular", tag="recommendations", access="public")
    def get_popular(self, query: PopularQuery) -> Recommendations:
        """List items that are popular now."""
        return self._recommender.rank_for_items(
            (), query.n, mask=self._mask(query.category), session=query.session
        )
