"""Recommendations over REST: lists of users and visitors, shelves, explanations, popular items."""

from typing import Annotated

import msgspec
from flask import Response

from recstream.bridge.http.bodies import json_response
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.routes.list_query import (
    AnswerFields,
    ListBody,
    ListedItem,
    ListParameters,
    PositionWaiter,
    as_body,
)
from recstream.bridge.http.routing import check_access, route
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.ranking import Explanation
from recstream.core.records import Recommendations
from recstream.core.serving import Unranked
from recstream.errors import InvalidInput
from recstream.time_travel import ListDiff, diff_lists, moment

MAX_CANDIDATES = 1_000
_PROBLEMS = {
    422: "A condition is invalid, or contradicts another",
    409: "min_position was not reached in time; try again",
}
Moment = Annotated[str, msgspec.Meta(description="An offset, a time with a zone, or `now`")]
Session = Annotated[
    str,
    msgspec.Meta(
        max_length=MAX_ID_CHARACTERS,
        description="Id of the visitor's session; chooses the arm of an experiment",
    ),
]
ItemId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class ListQuery(ListParameters, frozen=True, kw_only=True):
    """Selects and filters a list."""

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


class PopularQuery(ListParameters, frozen=True, kw_only=True):
    """Selects popular items."""

    session: Session = ""


class VisitorRequest(ListBody, frozen=True, kw_only=True):
    """A list for a visitor without a history, from the items that they viewed."""

    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=500)] = ()
    session: Session = ""


class RankBody(ListBody, frozen=True, kw_only=True):
    """Items to rank for a user, or for a visitor by what they viewed; items seen before stay in.

    ``fields`` and the rest are those of every list.
    """

    n: Annotated[int, msgspec.Meta(ge=1, le=MAX_CANDIDATES, description="Items")] = MAX_CANDIDATES
    known: bool = True
    user: Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)] = ""
    items: Annotated[tuple[ItemId, ...], msgspec.Meta(max_length=500)] = ()
    session: Session = ""
    candidates: Annotated[
        tuple[ItemId, ...],
        msgspec.Meta(min_length=1, max_length=MAX_CANDIDATES, description="Ids to rank"),
    ]


class ListAnswer(Recommendations, frozen=True, kw_only=True, omit_defaults=True):
    """A list, with the fields of its items that were asked for."""

    items: tuple[ListedItem, ...]  # type: ignore[assignment]


class RankAnswer(ListAnswer, frozen=True, kw_only=True, omit_defaults=True):
    """Candidates in order, and those that have no place in it, with the reason of each."""

    unranked: tuple[Unranked, ...]


class ListRoutes:
    """Lists."""

    tag = "recommendations"

    def __init__(self, deps: Deps) -> None:
        self._recommender = deps.recommender
        self._steering = deps.steering
        self._fields = AnswerFields(deps)
        self._time_travel = deps.time_travel
        self._waiter = PositionWaiter(deps)

    @route(
        "GET",
        "/v1/users/<user>/recommendations",
        returns=ListAnswer,
        problems={404: "No model had been announced by then", **_PROBLEMS},
    )
    def get_recommendations(self, user: str, query: ListQuery) -> Response:
        """Return a user's list; popular items for an unknown user."""
        if query.as_of:
            return self._list_at(user, query)
        return self._listed(user, as_body(query, ListBody))

    @route(
        "POST",
        "/v1/users/<user>/recommendations",
        returns=ListAnswer,
        examples={
            "the first page": {"n": 12},
            "cheap items of a brand, read after one's own write": {
                "n": 12,
                "exclude": ["p1"],
                "filter": {"brand": "Acme", "price": {"max": 20}},
                "boost": [{"where": {"attributes": {"new": {"eq": True}}}, "by": 0.5}],
                "min_position": {"epoch": "", "offsets": {}},
                "fields": ["score", "details"],
            },
        },
        problems=_PROBLEMS,
    )
    def post_user_recommendations(self, user: str, body: ListBody) -> Response:
        """Return a user's list, shaped by the request."""
        return self._listed(user, body)

    def _listed(self, user: str, body: ListBody) -> Response:
        request = body.request(self._steering.document()[1])
        is_fresh = self._waiter.wait(user, body)
        return self._fields.of(
            self._recommender.recommend(user, request, is_fresh=is_fresh), body.fields
        )

    def _list_at(self, user: str, query: ListQuery) -> Response:
        if query != ListQuery(as_of=query.as_of, n=query.n):
            raise InvalidInput(
                "as_of returns the list as it was published; omit every other parameter but n"
            )
        when = moment(query.as_of)
        found = self._time_travel.ask(lambda travel: travel.list_at(user, when))
        body = msgspec.structs.replace(found.list, items=found.list.items[: query.n])
        response = json_response(body)
        if found.is_identical is not None:
            response.headers["Recstream-Identical"] = str(found.is_identical).lower()
        return response

    @route("GET", "/v1/users/<user>/diff", problems={422: "a or b is not a moment"})
    def get_diff(self, user: str, query: DiffQuery) -> ListDiff:
        """Compare a user's lists at two moments: items that entered, left and moved, and why."""
        a, b = moment(query.a), moment(query.b)
        return self._time_travel.ask(lambda travel: diff_lists(travel, user, a, b))

    @route(
        "GET",
        "/v1/users/<user>/recommendations/<item>/explanation",
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
        access="public",
        returns=ListAnswer,
        examples={
            "after two views": {"items": ["p1", "p7"], "n": 10, "session": "visitor-1"},
            "without a shop's own brand": {"items": ["p1"], "filter": {"not": {"brand": "Acme"}}},
        },
        problems=_PROBLEMS,
    )
    def post_recommendations(self, body: VisitorRequest) -> Response:
        """Compute a list for a visitor who viewed some items, by fold-in."""
        request = body.request(self._steering.document()[1])
        if body.session:
            self._waiter.wait(body.session, body)
        found = self._recommender.rank_for_items(body.items, request, session=body.session)
        return self._fields.of(found, body.fields)

    @route(
        "POST",
        "/v1/rank",
        access="public",
        returns=RankAnswer,
        examples={
            "results of a search": {"user": "u42", "candidates": ["p1", "p7", "p9"]},
            "for a visitor": {"items": ["p3"], "candidates": ["p1", "p7"], "n": 1},
        },
        problems={403: "The token is for another user", **_PROBLEMS},
    )
    def post_rank(self, body: RankBody) -> Response:
        """Order candidates, such as the results of a search, for a user or a visitor."""
        if body.user and (body.items or body.session):
            raise InvalidInput("expected user, or items and session of a visitor, got both")
        if body.user:
            check_access("user", {"user": body.user})
        request = body.request(self._steering.document()[1])
        if who := body.user or body.session:
            self._waiter.wait(who, body)
        found, rest = self._recommender.rank_candidates(
            body.candidates, request, user=body.user, items=body.items, session=body.session
        )
        return self._fields.of(found, body.fields, unranked=rest)

    @route("GET", "/v1/popular", access="public", returns=ListAnswer, problems=_PROBLEMS)
    def get_popular(self, query: PopularQuery) -> Response:
        """List items that are popular now."""
        return self.post_recommendations(as_body(query, VisitorRequest))
