"""``/v1/ws`` and ``/v1/stream``: check the request, then detach the socket from the HTTP server."""

import logging
import re
import socket
from collections.abc import Callable, Iterable
from typing import Annotated, Any, cast

import msgspec
from flask import Response, request
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from recstream.bridge.http.deps import Deps
from recstream.bridge.http.problems import HttpProblem
from recstream.bridge.http.rate_limit import identity
from recstream.bridge.http.routing import LIST_FORMS, route
from recstream.bridge.http.security import cors_headers
from recstream.bridge.push import (
    SUBPROTOCOL,
    Channel,
    EventStreamConnection,
    Refused,
    Since,
    SocketConnection,
    Subscription,
    WebSocketConnection,
)

DETACH = "recstream.detach"
"""Key of the WSGI environment: a function that detaches the connection's socket.

It returns the socket, and what was read beyond the request.
"""
Detach = Callable[[], tuple[socket.socket, bytes]]

_POSITION = re.compile(r"(.{1,256}):([0-9]{1,18})")
_quiet = logging.getLogger("recstream.bridge.handshake")
_quiet.setLevel(logging.WARNING)  # websockets logs every open and close at INFO


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """User and channels of a stream."""

    user: Annotated[str, msgspec.Meta(description="Default: the token's user")] = ""
    ch: Annotated[
        tuple[str, ...], msgspec.Meta(description="Channels, recs and pipeline. " + LIST_FORMS)
    ] = ("recs",)
    placement: Annotated[
        str, msgspec.Meta(description="Lists of this placement of the steering document")
    ] = ""


class PushRoutes:
    """WebSocket and server-sent events."""

    tag = "push"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._connections = deps.connections
        self._hub = deps.hub

    @route(
        "GET",
        "/v1/ws",
        access="public",
        status=101,
        produces="",
        problems={403: "The page's origin is not allowed", 426: "Not a WebSocket handshake"},
    )
    def websocket(self) -> Response:
        """Open a WebSocket, subprotocol recstream.v1; /asyncapi.json describes it."""
        protocol = ServerProtocol(
            subprotocols=[Subprotocol(SUBPROTOCOL)], select_subprotocol=_select, logger=_quiet
        )
        path = request.full_path if request.query_string else request.path
        handshake = Request(
            path,
            Headers(request.headers.items()),
            protocol=request.environ.get("SERVER_PROTOCOL", "HTTP/1.1"),
        )
        answer = protocol.accept(handshake)
        if answer.status_code != 101:  # noqa: PLR2004 - Switching Protocols
            raise HttpProblem(answer.status_code, (answer.body or b"").decode().strip())
        protocol.send_response(answer)
        return self._hand_over(
            WebSocketConnection(self._connections, b"".join(protocol.data_to_send()))
        )

    @route(
        "GET",
        "/v1/stream",
        access="user",
        produces="text/event-stream",
        problems={404: "No such placement"},
        returns=str,
    )
    def stream(self, query: StreamQuery) -> Response:
        """Stream the same messages as server-sent events; resumes from Last-Event-ID."""
        who = identity()
        user = query.user or who.user
        if user is not None and not who.may_act_for(user):
            raise HttpProblem(403, "the token is for another user", code="forbidden")
        channels = [name.strip() for name in query.ch if name.strip()]
        if not channels or {*channels} - {"recs", "pipeline"}:
            raise HttpProblem(400, f"expected channels recs and pipeline, got {list(query.ch)}")
        if "recs" in channels and user is None:
            raise HttpProblem(400, "channel recs needs a user; add `?user=`")
        since = _since(request.headers.get("Last-Event-ID", ""))
        subs = tuple(
            Subscription(
                ch=cast(Channel, name),
                since=since if name == "recs" else None,
                placement=query.placement if name == "recs" else "",
            )
            for name in channels
        )
        try:
            prepared = [self._hub.prepare(sub, user=user, identity=who) for sub in subs]
        except Refused as refusal:
            status = 404 if refusal.code == "not-found" else 403
            raise HttpProblem(status, str(refusal), code=refusal.code) from refusal
        headers = "".join(f"{name}: {value}\r\n" for name, value in cors_headers().items())
        connection = EventStreamConnection(
            self._connections,
            user=user,
            identity=who,
            subs=prepared,
            more_headers=headers.encode("latin-1"),
        )
        return self._hand_over(connection)

    def _hand_over(self, connection: SocketConnection) -> Response:
        detach = cast("Detach | None", request.environ.get(DETACH))
        if detach is None:
            message = "this server can't detach a socket; start the bridge with `recstream bridge`"
            raise HttpProblem(501, message)
        return _Detached(self._connections.adopt, detach, connection)


class _Detached(Response):
    """An answer that the loop thread writes to the detached socket."""

    def __init__(
        self,
        adopt: Callable[[socket.socket, SocketConnection, bytes], None],
        detach: Detach,
        connection: SocketConnection,
    ) -> None:
        super().__init__(status=101)
        self._adopt = adopt
        self._detach = detach
        self._connection = connection

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        del environ, start_response
        detached, unread = self._detach()
        self._adopt(detached, self._connection, unread)
        return ()


def _select(protocol: ServerProtocol, offered: Any) -> Subprotocol | None:
    """Return our subprotocol if it was offered; it is spoken in any case."""
    del protocol
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _since(last_event_id: str) -> Since | None:
    found = _POSITION.fullmatch(last_event_id)
    return None if found is None else Since(found[1], int(found[2]))
