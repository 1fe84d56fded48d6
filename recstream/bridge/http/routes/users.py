"""Users: properties, the merge of a session into a user, erasure; all are records of the log."""

import re
from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem, Pointed, invalid
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routes.events import LogPosition, positioned
from recstream.bridge.http.routing import route
from recstream.bridge.session_merge import copy_event, read_session
from recstream.core.events import (
    MAX_ID_CHARACTERS,
    MAX_PROPERTIES,
    Event,
    admit,
    encode_event,
    is_printable,
    timestamp_ms,
)
from recstream.core.history import History
from recstream.core.records import ForgetRequested
from recstream.erasure import request_erasure
from recstream.errors import InvalidEvent
from recstream.log import INTERACTIONS, NewRecord, partition_for

WHAT_FOLLOWS = (
    "A worker deletes the history and the list within seconds. Then the user's events, lists and "
    "dead letters are blanked in the log, and the trainer trains without them. Events that arrive "
    "before the deletion are erased too; later ones start a new history. On Kafka this begins when "
    "the oldest request is `forget_after_s` old, and takes up to three times as long."
)


class ForgetAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request to erase a user, stored durably in the log.

    Attributes
    ----------
    offset : int
        Position of the request, which is erased last: on the control topic, or on Kafka on
        ``recstream.forget-requests``.
    follows : str
        The next steps.
    """

    id: str
    offset: int
    follows: str


MAX_MERGES = 4
"""Merges at a time: each may read 100,000 records."""
_UNGUESSABLE = re.compile(r"visitor-[0-9a-z]{16,}")
"""Session ids that only their own browser knows; for other ids the session's token is required."""


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The session whose events become the user's.

    ``token`` is the session's own token. A user's token alone is not enough, unless the session's
    id is ``visitor-`` and at least 16 random letters and digits: who knows such an id owns it.
    """

    from_: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)] = msgspec.field(
        name="from"
    )
    token: str = ""


class MergeAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A session's events, stored durably in the log as the user's.

    Attributes
    ----------
    merged : int
        Events that are the user's now. A repeated merge counts them again, and copies only those
        that the user's history doesn't contain yet.
    left : int
        Events that were not copied: older than the newest 1,000, or not found in the log.
    position : LogPosition
        Position of the newest copy.
    """

    user: str
    merged: int
    left: int
    position: LogPosition


class UserFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Properties of a user by name: texts, numbers, booleans; null removes one."""

    properties: Annotated[
        dict[str, bool | int | float | str | None],
        msgspec.Meta(min_length=1, max_length=MAX_PROPERTIES),
    ]


class UserAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """Properties, stored durably in the log as an event of type ``profile``."""

    user: str
    id: str
    position: LogPosition


class UserRoutes:
    """Users."""

    tag = "users"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @route(
        "POST",
        "/v1/users/<user>/merge",
        status=202,
        max_in_flight=MAX_MERGES,
        problems={
            422: "The session is the user, or not a valid id",
            503: "The log can't be reached, or the workers are too far behind",
        },
    )
    def post_merge(self, user: str, body: MergeRequest) -> MergeAccepted:
        """Copy a session's events to a user who logged in."""
        session = body.from_
        if session == user or not is_printable(session):
            message = "expected the id of a session, not the user's own"
            pointed = Pointed(pointer="/from", detail=message)
            raise HttpProblem(422, message, code="invalid-body", errors=(pointed,))
        self._check_session(body)
        views, event_log = self._deps.views, self._deps.log
        folded = views.folded(partition_for(session.encode(), event_log.partitions(INTERACTIONS)))
        found = read_session(event_log, session, views.history(session), folded)
        self._deps.limiter.charge(len(found.events))
        known = views.history(user) or History(user)
        copies = (copy_event(event, user) for event in found.events)
        records = [
            NewRecord(INTERACTIONS, user.encode(), encode_event(copy))
            for copy in copies
            if not known.has_event(copy.id)
        ]
        positions = event_log.append(records) if records else []
        return MergeAccepted(
            user=user,
            merged=len(found.events),
            left=found.n_missing,
            position=positioned(event_log.epoch, positions),
        )

    def _check_session(self, body: MergeRequest) -> None:
        """Refuse to give one user the events of another user."""
        who = identity()
        if body.token:
            who = self._deps.auth.verify(body.token)
        elif _UNGUESSABLE.fullmatch(body.from_):
            return
        if not who.may_act_for(body.from_):
            message = (
                f"a merge of {body.from_!r} needs the session's own token in `token`; only ids of "
                "visitor- and 16 random characters need none"
            )
            raise HttpProblem(403, message, code="forbidden")

    @route(
        "PUT",
        "/v1/users/<user>",
        status=202,
        examples={
            "a segment and a country": {"properties": {"segment": "vip", "country": "DE"}},
            "one property less": {"properties": {"segment": None}},
        },
        problems={503: "The log can't be reached"},
    )
    def put_user(self, user: str, body: UserFields) -> UserAccepted:
        """Set properties of a user, for rules and arms; null removes one, others stay."""
        event = Event(type="profile", user=user, properties=body.properties)
        try:
            admitted = admit(event, now=self._deps.now(), new_id=self._deps.new_id)
        except InvalidEvent as error:
            raise invalid(error, "invalid-body") from error
        record = NewRecord(INTERACTIONS, user.encode(), encode_event(admitted))
        positions = self._deps.log.append([record])
        return UserAccepted(
            user=user, id=admitted.id, position=positioned(self._deps.log.epoch, positions)
        )

    @route("DELETE", "/v1/users/<user>", status=202, problems={503: "The log can't be reached"})
    def delete_user(self, user: str) -> ForgetAccepted:
        """Erase a user: events, history, lists."""
        requested = ForgetRequested(
            id=self._deps.new_id(), user=user, requested_ts=timestamp_ms(self._deps.now())
        )
        offset = request_erasure(self._deps.log, requested)
        return ForgetAccepted(id=requested.id, offset=offset, follows=WHAT_FOLLOWS)
