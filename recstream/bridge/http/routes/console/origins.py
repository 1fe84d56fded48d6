"""The origin of lists: what they were made from, what changed them, what they would have been."""

from typing import Annotated

import msgspec

from recstream.analysis import (
    Alternative,
    Causes,
    ListOrigin,
    WhatIf,
    causes,
    find_origin,
    what_if,
)
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routing import route
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.steering import Steering, decode_steering
from recstream.errors import InvalidSteering
from recstream.time_travel import Moment, moment

At = Annotated[str, msgspec.Meta(description="An offset of the user's partition, or a time")]


class CausesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Two moments, the earlier one first."""

    a: At
    b: At


class WhatIfRequest(Alternative, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What-if request: user, moment (default: now), changed inputs."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
    as_of: At = ""


class OriginRoutes:
    """The origin of lists."""

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

    @route(
        "POST",
        "/v1/what-if",
        access="user",
        problems={404: "No generation was announced by then, or its artifact was pruned"},
    )
    def post_what_if(self, body: WhatIfRequest) -> WhatIf:
        """Derive a user's list as it was and as it would have been; nothing is published."""
        if not identity().may_act_for(body.user):
            raise HttpProblem(403, "the token is for another user", code="forbidden")
        check_steering(body.steering)
        when = moment(body.as_of) if body.as_of else Moment()
        return self._time_travel.ask(lambda travel: what_if(travel, body.user, when, body))


def check_steering(steering: Steering | None) -> None:
    """Refuse a document that contradicts itself."""
    if steering is None:
        return
    try:
        decode_steering(msgspec.json.encode(steering))
    except InvalidSteering as error:
        pointed = Pointed(pointer=f"/steering{error.pointer}", detail=error.reason)
        raise HttpProblem(422, str(error), code="invalid-steering", errors=(pointed,)) from error
