"""What if: a list, or a range of the log, with other events, rules or another model."""

import time
from datetime import timedelta
from typing import Annotated

import msgspec

from recstream.analysis import (
    Alternative,
    LogWhatIf,
    WhatIf,
    evaluate_what_if,
    parse_ranges,
    sample_events,
    what_if,
)
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, invalid
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routes.console.lists import At
from recstream.bridge.http.routing import route
from recstream.control import read_timeline
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.steering import Steering, decode_steering
from recstream.errors import InvalidSteering
from recstream.time_travel import Generations, Moment, moment

MAX_SECONDS = 40.0
"""Then what was compared so far is returned."""


class WhatIfRequest(Alternative, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What-if request: user, moment (default: now), changed inputs."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]
    as_of: At = ""


class LogWhatIfRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A range of the log, and what is different; absent fields stay as they were.

    Attributes
    ----------
    from_, to : str
        Offsets or times with a zone; default: the last 24 hours, to the end.
    steering : Steering or None
        Rules, blend and options instead of those in force; an empty document has none.
    generation : int or None
        This generation, with all its deltas.
    limit : int
        Most events to compare.
    """

    from_: At = msgspec.field(default="", name="from")
    to: At = ""
    steering: Steering | None = None
    generation: Annotated[int, msgspec.Meta(ge=0)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 2_000


class WhatIfRoutes:
    """Lists as they would have been."""

    tag = "recommendations"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

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
        _check_steering(body.steering)
        when = moment(body.as_of) if body.as_of else Moment()
        return self._deps.time_travel.ask(lambda travel: what_if(travel, body.user, when, body))

    @route(
        "POST",
        "/v1/what-if/log",
        max_in_flight=1,
        problems={
            404: "No such generation, or its artifact was pruned",
            503: "Another replay runs; retry after Retry-After",
        },
    )
    def post_log_what_if(self, body: LogWhatIfRequest) -> LogWhatIf:
        """Replay a range of the log by other rules or another model, beside what was published."""
        _check_steering(body.steering)
        deps = self._deps
        deadline_s = time.monotonic() + MAX_SECONDS
        start = body.from_ or (deps.now() - timedelta(days=1)).isoformat()
        ranges = parse_ranges(deps.log, start, body.to or None)
        samples, n_found = deps.time_travel.ask(
            lambda travel: sample_events(deps.log, travel.snapshots, ranges, limit=body.limit)
        )
        return evaluate_what_if(
            samples,
            n_found,
            Generations(deps.log, deps.models),
            read_timeline(deps.log),
            steering=body.steering,
            generation=body.generation,
            is_late=lambda: time.monotonic() > deadline_s,
        )


def _check_steering(steering: Steering | None) -> None:
    """Refuse a document that contradicts itself."""
    if steering is None:
        return
    try:
        decode_steering(msgspec.json.encode(steering))
    except InvalidSteering as error:
        raise invalid(error, "invalid-steering", under="/steering") from error
