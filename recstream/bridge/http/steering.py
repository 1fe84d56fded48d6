"""Step 8 of the flow over REST: the document by which a shop shapes its lists."""

from __future__ import annotations

from flask import request
from msgspec.structs import asdict, replace

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.routing import JSON, Endpoint
from recstream.control import NEVER_SET, ActiveSteering, submit
from recstream.core.events import timestamp_ms
from recstream.core.records import SteeringSet
from recstream.core.steering import MAX_BYTES, Steering, decode_steering, describe_steering
from recstream.errors import InvalidSteering

_PROBLEMS = {503: "The log can't be reached"}


class SteeringState(ActiveSteering, frozen=True, kw_only=True):
    """A steering document, what it says, and how far it holds.

    Attributes
    ----------
    words : tuple of str
        What it says, a sentence a rule.
    partitions : int
        How many there are to adopt it.
    warnings : tuple of str
        What it does on the generation served that is hardly meant.
    """

    words: tuple[str, ...]
    partitions: int
    warnings: tuple[str, ...]


class SteeringRoutes:
    """The steering document."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        return [
            Endpoint(
                method="GET",
                rule="/v1/steering",
                handler=self.show,
                name="get_steering",
                summary="The rules by which lists are shaped, in JSON and in words",
                tag="steering",
                returns=SteeringState,
            ),
            Endpoint(
                method="PUT",
                rule="/v1/steering",
                handler=self.put,
                name="put_steering",
                summary="Shape all lists by a document from now on; it takes the place of the one before",
                tag="steering",
                consumes={JSON: Steering},
                returns=SteeringState,
                status=202,
                problems={
                    413: f"More than {MAX_BYTES} bytes",
                    415: "Another media type",
                    422: "The document can't be meant; errors say where and why",
                    **_PROBLEMS,
                },
            ),
            Endpoint(
                method="DELETE",
                rule="/v1/steering",
                handler=self.clear,
                name="delete_steering",
                summary="Take all rules back",
                tag="steering",
                returns=SteeringState,
                status=202,
                problems=_PROBLEMS,
            ),
            Endpoint(
                method="POST",
                rule="/v1/steering/check",
                handler=self.check,
                name="check_steering",
                summary="What a document says in words, and what in it is hardly meant; nothing is set",
                tag="steering",
                consumes={JSON: Steering},
                returns=SteeringState,
                problems={415: "Another media type", 422: "The document can't be meant"},
            ),
        ]

    def show(self) -> SteeringState:
        """Return the newest document."""
        return self._state(self._deps.steering.newest(at_once=True))

    def put(self) -> SteeringState:
        """Put a document into the log."""
        return self._set(self._read())

    def clear(self) -> SteeringState:
        """Put an empty document into the log."""
        return self._set(Steering())

    def check(self) -> SteeringState:
        """Return what would be said of a document."""
        return self._state(replace(NEVER_SET, steering=self._read()))

    def _state(self, found: ActiveSteering) -> SteeringState:
        return SteeringState(
            **asdict(found),
            words=describe_steering(found.steering),
            partitions=self._deps.settings.partitions,
            warnings=self._deps.serving.warnings_of(found.steering),
        )

    def _set(self, steering: Steering) -> SteeringState:
        record = SteeringSet(
            id=self._deps.new_id(),
            steering=steering,
            requested_ts=timestamp_ms(self._deps.now()),
        )
        submit(self._deps.log, record)
        return self.show()

    def _read(self) -> Steering:
        if request.mimetype != JSON:
            kind = request.mimetype or "no Content-Type"
            raise HttpProblem(415, f"expected a body of {JSON}, got {kind!r}")
        raw = request.get_data(cache=False)
        if len(raw) > MAX_BYTES:
            raise HttpProblem(413, f"expected at most {MAX_BYTES} bytes, got {len(raw)}")
        try:
            return decode_steering(raw)
        except InvalidSteering as error:
            pointed = Pointed(pointer=error.pointer, detail=error.reason)
            raise HttpProblem(
                422, str(error), code="invalid-steering", errors=(pointed,)
            ) from error
