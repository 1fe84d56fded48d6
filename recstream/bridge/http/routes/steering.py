"""The steering document over REST: read, set, delete and check the merchandising rules."""

from __future__ import annotations

from msgspec.structs import asdict, replace

from recstream.bridge.http.bodies import JSON, read_bytes
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.routing import route
from recstream.control import NEVER_SET, ActiveSteering, submit
from recstream.core.events import timestamp_ms
from recstream.core.records import SteeringSet
from recstream.core.steering import MAX_BYTES, Steering, decode_steering, describe_steering
from recstream.errors import InvalidSteering

_PROBLEMS = {503: "The log can't be reached"}


class SteeringState(ActiveSteering, frozen=True, kw_only=True):
    """A steering document, its description, and how many partitions apply it.

    Attributes
    ----------
    words : tuple of str
        Its description, one sentence a rule.
    partitions : int
        Number of partitions that will apply it.
    warnings : tuple of str
        Probably unintended effects on the active generation.
    """

    words: tuple[str, ...]
    partitions: int
    warnings: tuple[str, ...]


class SteeringRoutes:
    """The steering document."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @route("GET", "/v1/steering", tag="steering")
    def get_steering(self) -> SteeringState:
        """Return the rules of all lists, as JSON and in words."""
        return self._state(self._deps.steering.newest(at_once=True))

    @route(
        "PUT",
        "/v1/steering",
        tag="steering",
        consumes={JSON: Steering},
        status=202,
        problems={
            413: f"More than {MAX_BYTES} bytes",
            422: "The document is invalid; errors contain the places and reasons",
            **_PROBLEMS,
        },
    )
    def put_steering(self) -> SteeringState:
        """Replace the rules of all lists by a document."""
        return self._set(_read_document())

    @route("DELETE", "/v1/steering", tag="steering", status=202, problems=_PROBLEMS)
    def delete_steering(self) -> SteeringState:
        """Remove all rules."""
        return self._set(Steering())

    @route(
        "POST",
        "/v1/steering/check",
        tag="steering",
        consumes={JSON: Steering},
        problems={422: "The document is invalid"},
    )
    def check_steering(self) -> SteeringState:
        """Describe a document in words, with warnings; nothing is set."""
        return self._state(replace(NEVER_SET, steering=_read_document()))

    def _state(self, found: ActiveSteering) -> SteeringState:
        return SteeringState(
            **asdict(found),
            words=describe_steering(found.steering),
            partitions=self._deps.settings.partitions,
            warnings=self._deps.recommender.steering_warnings(found.steering),
        )

    def _set(self, steering: Steering) -> SteeringState:
        record = SteeringSet(
            id=self._deps.new_id(),
            steering=steering,
            requested_ts=timestamp_ms(self._deps.now()),
        )
        submit(self._deps.log, record)
        return self.get_steering()


def _read_document() -> Steering:
    try:
        return decode_steering(read_bytes(max_bytes=MAX_BYTES))
    except InvalidSteering as error:
        pointed = Pointed(pointer=error.pointer, detail=error.reason)
        raise HttpProblem(422, str(error), code="invalid-steering", errors=(pointed,)) from error
