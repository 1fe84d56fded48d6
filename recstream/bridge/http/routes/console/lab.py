"""The lab: replay a range of the log with other rules or another model; synthetic traffic."""

import time
from datetime import timedelta
from typing import Annotated

import msgspec

from recstream.analysis import LogWhatIf, evaluate_what_if, parse_ranges, sample_events
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routes.console.origins import At, check_steering
from recstream.bridge.http.routing import route
from recstream.bridge.traffic import TrafficState
from recstream.control import read_timeline
from recstream.core.steering import Steering
from recstream.simulate import is_seeded
from recstream.time_travel import Generations

MAX_SECONDS = 40.0
"""Then what was compared so far is returned."""
MAX_RATE = 200.0


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


class TrafficAnswer(TrafficState, frozen=True, kw_only=True):
    """Synthetic traffic of this bridge; ``why_not`` says why it can't be switched on."""

    why_not: str = ""


class TrafficBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events a second; 0 switches it off."""

    rate: Annotated[float, msgspec.Meta(ge=0, le=MAX_RATE)]


class LabRoutes:
    """What-if over the log, and traffic control."""

    tag = "log"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @route(
        "POST",
        "/v1/what-if/log",
        tag="recommendations",
        max_in_flight=1,
        problems={
            404: "No such generation, or its artifact was pruned",
            503: "Another replay runs; retry after Retry-After",
        },
    )
    def post_log_what_if(self, body: LogWhatIfRequest) -> LogWhatIf:
        """Replay a range of the log with other rules or another model, and compare with what was published."""
        check_steering(body.steering)
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

    @route("GET", "/v1/traffic")
    def get_traffic(self) -> TrafficAnswer:
        """Return whether this bridge sends synthetic traffic, and how much."""
        state = msgspec.structs.asdict(self._deps.traffic.state())
        return TrafficAnswer(**state, why_not=self._why_not()[0])

    @route(
        "PUT",
        "/v1/traffic",
        problems={
            403: "The bridge has a secret, and setting allow_traffic is off",
            409: "The log does not have the demo shop",
        },
    )
    def put_traffic(self, body: TrafficBody) -> TrafficAnswer:
        """Switch synthetic traffic of the demo shop's customers on or off."""
        why_not, code = self._why_not()
        if why_not and body.rate > 0:
            raise HttpProblem(403 if code == "traffic-not-allowed" else 409, why_not, code=code)
        self._deps.traffic.switch(body.rate)
        return self.get_traffic()

    def _why_not(self) -> tuple[str, str]:
        """Return why traffic can't be switched on, and the problem's code; empty if it can."""
        if not self._deps.auth.is_open and not self._deps.settings.allow_traffic:
            message = "synthetic traffic is off on a bridge with a secret; set allow_traffic"
            return message, "traffic-not-allowed"
        if not is_seeded(self._deps.log):
            message = (
                "synthetic customers know only the demo shop, which this log does not have; "
                "`recstream up` puts it into an empty log"
            )
            return message, "no-demo-shop"
        return "", ""
