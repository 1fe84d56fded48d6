"""Published lists: what they were made from, and what changed them."""

from typing import Annotated

import msgspec

from recstream.analysis import Causes, ListOrigin, causes, find_origin
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routing import route
from recstream.time_travel import moment

At = Annotated[str, msgspec.Meta(description="An offset of the user's partition, or a time")]


class CausesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Two moments, the earlier one first."""

    a: At
    b: At


class PublishedListRoutes:
    """Published lists and their causes."""

    tag = "recommendations"

    def __init__(self, deps: Deps) -> None:
        self._time_travel = deps.time_travel

    @route(
        "GET",
        "/v1/lists/<rec_id>",
        access="user",
        problems={404: "No such list was published, or it is another user's"},
    )
    def get_list(self, rec_id: str) -> ListOrigin:
        """Return a published list with its origin, derived again now, and what the user did with it."""
        who = identity()
        reader = None if who.is_service else who.user
        return self._time_travel.ask(lambda travel: find_origin(travel, rec_id, reader))

    @route(
        "GET",
        "/v1/users/<user>/causes",
        problems={404: "There was no list yet, or its generation is gone"},
    )
    def get_causes(self, user: str, query: CausesQuery) -> Causes:
        """Compare a user's lists at two moments, and name the events, model or rules that did it."""
        a, b = moment(query.a), moment(query.b)
        return self._time_travel.ask(lambda travel: causes(travel, user, a, b))
