"""Step 9 of the flow: the routes that let go of their socket, WebSocket and server-sent events."""

from __future__ import annotations

import logging
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
from recstream.bridge.http.routing import Endpoint, identity
from recstream.bridge.push import (
    SUBPROTOCOL,
    Channel,
    EventStreamPeer,
    Since,
    StreamPeer,
    Subscription,
    WebSocketPeer,
)

DETACH = "recstream.detach"
"""Key of the WSGI environment: a function that returns the connection's socket and gives it up."""


_quiet = logging.getLogger("recstream.bridge.handshake")
_quiet.setLevel(logging.WARNING)  # websockets says at INFO that a connection opens and closes


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream should carry."""

    user: Annotated[str, msgspec.Meta(description="Default: the token's user")] = ""
    ch: Annotated[str, msgspec.Meta(description="Channels, comma-separated: recs, pipeline")] = (
        "recs"
    )


class PushRoutes:
    """``/v1/ws`` and ``/v1/stream``."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._live = deps.live

    def endpoints(self) -> list[Endpoint]:
        """Return the routes of this module."""
        return [
            Endpoint(
                method="GET",
                rule="/v1/ws",
                handler=self.websocket,
                name="websocket",
                summary="WebSocket, subprotocol recstream.v1; /asyncapi.json describes it",
                tag="push",
                access="public",
                status=101,
                produces="",
                problems={
                    403: "The page's origin is not allowed",
                    426: "Not a WebSocket handshake",
                },
            ),
            Endpoint(
                method="GET",
                rule="/v1/stream",
                handler=self.stream,
                name="stream",
                summary="The same messages as server-sent events; resumes from Last-Event-ID",
                tag="push",
                access="user",
                query=StreamQuery,
                produces="text/event-stream",
                returns=str,
            ),
        ]

    def websocket(self) -> Response:
        """Make the handshake and hand the socket over."""
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
            problem = HttpProblem(answer.status_code, (answer.body or b"").decode().strip())
            raise problem
        protocol.send_response(answer)
        return self._hand_over(WebSocketPeer(self._live, b"".join(protocol.data_to_send())))

    def stream(self, query: StreamQuery) -> Response:
        """Begin a stream of server-sent events."""
        who = identity()
        user = query.user or who.user
        if user is not None and not who.may_act_for(user):
            raise HttpProblem(403, "the token is for another user", code="forbidden")
        channels = [name.strip() for name in query.ch.split(",") if name.strip()]
        wrong = sorted(set(channels) - {"recs", "pipeline"})
        if wrong or not channels:
            raise HttpProblem(400, f"channels of a stream are recs and pipeline, got {query.ch!r}")
        if "recs" in channels and user is None:
            raise HttpProblem(400, "say whose lists: `?user=`")
        since = _since(request.headers.get("Last-Event-ID", ""))
        subs = tuple(
            Subscription(ch=cast(Channel, name), since=since if name == "recs" else None)
            for name in channels
        )
        peer = EventStreamPeer(self._live, user=user, identity=who, subs=subs)
        return self._hand_over(peer)

    def _hand_over(self, peer: StreamPeer) -> Response:
        detach = cast("Callable[[], socket.socket] | None", request.environ.get(DETACH))
        if detach is None:
            message = "this server can't let go of a socket; start the bridge by `recstream bridge`"
            raise HttpProblem(501, message)
        return _Detached(self._live.adopt, detach, peer)


class _Detached(Response):
    """An answer that another thread gives, on the socket that it takes along."""

    def __init__(
        self,
        adopt: Callable[[socket.socket, StreamPeer], None],
        detach: Callable[[], socket.socket],
        peer: StreamPeer,
    ) -> None:
        super().__init__(status=101)
        self._adopt = adopt
        self._detach = detach
        self._peer = peer

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        del environ, start_response
        self._adopt(self._detach(), self._peer)
        return ()


def _select(protocol: ServerProtocol, offered: Any) -> Subprotocol | None:
    """Return our subprotocol if it was offered; a client that offers none speaks it all the same."""
    del protocol
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _since(last_event_id: str) -> Since | None:
    epoch, _, offset = last_event_id.rpartition(":")
    return Since(epoch, int(offset)) if epoch and offset.isdecimal() else None
