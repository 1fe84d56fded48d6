"""Beside the flow: a session becomes a user's over REST, and a user is forgotten; both go by the log."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.events import LogPosition, positioned
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.routing import Endpoint, identity
from recstream.bridge.merging import copied, session_events
from recstream.control import submit
from recstream.core.events import MAX_ID_CHARACTERS, timestamp_ms
from recstream.core.records import ForgetRequested
from recstream.erasure import erasable
from recstream.errors import NotPossible
from recstream.log import INTERACTIONS, partition_for

WHAT_FOLLOWS = (
    "A worker deletes the history and the list within seconds, then blanks the user's events, "
    "lists and dead letters in the log, and the trainer trains without them. Events that arrive "
    "until then are forgotten too; later ones begin a new history."
)


class ForgetAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A request to forget a user, durably in the log.

    Attributes
    ----------
    offset : int
        On the control topic; the record there is blanked when all is done.
    follows : str
        What will happen.
    """

    id: str
    offset: int
    follows: str


_UNGUESSABLE = re.compile(r"visitor-[0-9a-z]{16,}")
"""Ids of sessions that only their own browser knows; for others the session's token is asked for."""


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which session becomes the user's.

    ``token`` is the session's own. It is needed by who has only the user's token, unless the session
    is called ``visitor-`` and at least 16 random letters and digits: to know such an id is proof
    enough that it is one's own.
    """

    from_: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_CHARACTERS)] = msgspec.field(
        name="from"
    )
    token: str = ""


class MergeAccepted(msgspec.Struct, frozen=True, kw_only=True):
    """A session's events, durably in the log as the user's.

    Attributes
    ----------
    merged : int
        Events copied. A merge asked for again copies them again, and they count once.
    left : int
        Events of the session that were not: beyond the newest 1,000, or not found in the log.
    position : LogPosition
        Of the newest copy.
    """

    user: str
    merged: int
    left: int
    position: LogPosition


class UserRoutes:
    """Users."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        return [
            Endpoint(
                method="POST",
                rule="/v1/users/<user>/merge",
                handler=self.merge,
                name="post_merge",
                summary="Make a session's events the user's own: somebody logged in",
                tag="users",
                access="user",
                body=MergeRequest,
                returns=MergeAccepted,
                status=202,
                problems={
                    415: "Another media type",
                    422: "The session is the user, or no id of one",
                    503: "The log can't be reached, or the workers are too far behind",
                },
            ),
            Endpoint(
                method="DELETE",
                rule="/v1/users/<user>",
                handler=self.forget,
                name="delete_user",
                summary="Forget a user: events, history, lists",
                tag="users",
                access="user",
                returns=ForgetAccepted,
                status=202,
                problems={
                    501: "The log is Kafka's, whose records can't be blanked",
                    503: "The log can't be reached",
                },
            ),
        ]

    def merge(self, user: str, body: MergeRequest) -> MergeAccepted:
        """Append copies of a session's events as the user's."""
        session = body.from_
        if session == user or not session.isprintable():
            message = "expected the id of a session, not the user's own"
            pointed = Pointed(pointer="/from", detail=message)
            raise HttpProblem(422, message, code="invalid-body", errors=(pointed,))
        self._check_session(body)
        views, event_log = self._deps.views, self._deps.log
        folded = views.folded(partition_for(session.encode(), event_log.partitions(INTERACTIONS)))
        found = session_events(event_log, session, views.history(session), folded)
        records = [copied(event, user) for event in found.events]
        positions = event_log.append(records) if records else []
        return MergeAccepted(
            user=user,
            merged=len(records),
            left=found.n_left,
            position=positioned(event_log.epoch, positions),
        )

    def _check_session(self, body: MergeRequest) -> None:
        """Refuse to show one user what another one did."""
        who = identity()
        if body.token:
            who = self._deps.auth.verify(body.token)
        elif _UNGUESSABLE.fullmatch(body.from_):
            return
        if not who.may_act_for(body.from_):
            message = (
                f"to merge {body.from_!r}, send its own token as `token`; only ids like "
                "visitor- and 16 random characters need none"
            )
            raise HttpProblem(403, message, code="forbidden")

    def forget(self, user: str) -> ForgetAccepted:
        """Put a request to forget a user into the log."""
        try:
            event_log = erasable(self._deps.log)
        except NotPossible as error:
            raise HttpProblem(501, str(error)) from error
        wanted = ForgetRequested(
            id=self._deps.new_id(), user=user, requested_ts=timestamp_ms(self._deps.now())
        )
        offset = submit(event_log, wanted)
        return ForgetAccepted(id=wanted.id, offset=offset, follows=WHAT_FOLLOWS)
