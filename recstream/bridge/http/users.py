"""Beside the flow: forgetting a user over REST: the request goes into the log, a worker carries it out."""

from __future__ import annotations

import msgspec

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.routing import Endpoint
from recstream.core.events import timestamp_ms
from recstream.core.records import ForgetRequested
from recstream.errors import NotPossible
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL
from recstream.stream.forgetting import erasable

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


class UserRoutes:
    """Users."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        return [
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

    def forget(self, user: str) -> ForgetAccepted:
        """Put a request to forget a user into the log."""
        try:
            event_log = erasable(self._deps.log)
        except NotPossible as error:
            raise HttpProblem(501, str(error)) from error
        wanted = ForgetRequested(
            id=self._deps.new_id(), user=user, requested_ts=timestamp_ms(self._deps.now())
        )
        record = NewRecord(CONTROL, None, msgspec.json.encode(wanted), 0)
        (position,) = event_log.append([record])
        return ForgetAccepted(id=wanted.id, offset=position.offset, follows=WHAT_FOLLOWS)
