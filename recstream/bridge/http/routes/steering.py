"""The steering document over REST: read, set, delete and check the merchandising rules."""

from collections import deque
from typing import Annotated

import msgspec
from msgspec.structs import asdict, replace

from recstream.bridge.http.bodies import JSON, read_bytes
from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import invalid
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routing import LIST_FORMS, route
from recstream.bridge.recommender import SteeringEffect
from recstream.bridge.views import LogSearch
from recstream.control import NEVER_SET, ActiveSteering, read_control, submit
from recstream.core.events import timestamp_ms
from recstream.core.records import SteeringSet
from recstream.core.steering import MAX_BYTES, Steering, decode_steering, describe_steering
from recstream.errors import InvalidInput, InvalidSteering

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


MAX_PREVIEWED = 50
MAX_PAST = 100


class PreviewQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose lists to preview."""

    users: Annotated[
        tuple[str, ...],
        msgspec.Meta(description="Up to 50 ids; default: recent users. " + LIST_FORMS),
    ] = ()
    n_users: Annotated[
        int, msgspec.Meta(ge=1, le=MAX_PREVIEWED, description="Number of recent users")
    ] = 5
    n: Annotated[int, msgspec.Meta(ge=1, le=100, description="Items in each list")] = 20


class SteeringPreview(msgspec.Struct, frozen=True, kw_only=True):
    """Effects of a document on lists, before it is set.

    Attributes
    ----------
    words, warnings : tuple of str
        As in `SteeringState`.
    mean_overlap : float
        Mean share of items that are in both lists of a user.
    """

    words: tuple[str, ...]
    warnings: tuple[str, ...]
    mean_overlap: float
    users: tuple[SteeringEffect, ...]


class PastSteering(msgspec.Struct, frozen=True, kw_only=True):
    """A document that was set; ``offset`` is its own on the control topic."""

    offset: int
    id: str
    requested_ts: int
    author: str
    words: tuple[str, ...]
    steering: Steering


class SteeringHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The newest documents that were set, newest first."""

    documents: tuple[PastSteering, ...]


class SteeringRoutes:
    """The steering document."""

    tag = "steering"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @route("GET", "/v1/steering")
    def get_steering(self) -> SteeringState:
        """Return the rules of all lists, as JSON and in words."""
        return self._state(self._deps.steering.newest(at_once=True))

    @route(
        "PUT",
        "/v1/steering",
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

    @route("DELETE", "/v1/steering", status=202, problems=_PROBLEMS)
    def delete_steering(self) -> SteeringState:
        """Remove all rules."""
        return self._set(Steering())

    @route(
        "POST",
        "/v1/steering/check",
        consumes={JSON: Steering},
        problems={422: "The document is invalid"},
    )
    def check_steering(self) -> SteeringState:
        """Describe a document in words, with warnings; nothing is set."""
        return self._state(replace(NEVER_SET, steering=_read_document()))

    @route(
        "POST",
        "/v1/steering/preview",
        consumes={JSON: Steering},
        max_in_flight=2,
        problems={422: "The document is invalid"},
    )
    def preview_steering(self, query: PreviewQuery) -> SteeringPreview:
        """Compare users' lists under a document with their lists now; nothing is set."""
        steering = _read_document()
        if len(query.users) > MAX_PREVIEWED:
            raise InvalidInput(f"expected at most {MAX_PREVIEWED} users, got {len(query.users)}")
        users = query.users or LogSearch(self._deps.log).recent_users(query.n_users)
        effects = self._deps.recommender.preview(users, steering, query.n)
        overlaps = [effect.overlap for effect in effects]
        return SteeringPreview(
            words=describe_steering(steering),
            warnings=self._deps.recommender.steering_warnings(steering),
            mean_overlap=sum(overlaps) / len(overlaps) if overlaps else 1.0,
            users=effects,
        )

    @route("GET", "/v1/steering/history", problems=_PROBLEMS)
    def get_steering_history(self) -> SteeringHistory:
        """List the documents that were set, newest first, with author and time."""
        documents = deque(
            (
                PastSteering(
                    offset=offset,
                    id=record.id,
                    requested_ts=record.requested_ts,
                    author=record.author,
                    words=describe_steering(record.steering),
                    steering=record.steering,
                )
                for offset, record in read_control(self._deps.log)
                if isinstance(record, SteeringSet)
            ),
            maxlen=MAX_PAST,
        )
        return SteeringHistory(documents=tuple(reversed(documents)))

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
            author=identity().user or "",
        )
        submit(self._deps.log, record)
        return self.get_steering()


def _read_document() -> Steering:
    try:
        return decode_steering(read_bytes(max_bytes=MAX_BYTES))
    except InvalidSteering as error:
        raise invalid(error, "invalid-steering") from error
