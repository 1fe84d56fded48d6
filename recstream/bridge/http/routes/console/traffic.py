"""Synthetic traffic of the demo shop's customers."""

from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import route
from recstream.bridge.traffic_switch import TrafficState
from recstream.simulate import is_seeded

MAX_RATE = 1000.0


class TrafficAnswer(TrafficState, frozen=True, kw_only=True):
    """Synthetic traffic of this bridge; ``why_not`` says why it can't be switched on."""

    why_not: str = ""


class TrafficBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events a second; 0 switches it off."""

    rate: Annotated[float, msgspec.Meta(ge=0, le=MAX_RATE)]


class TrafficRoutes:
    """Traffic control."""

    tag = "log"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

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
