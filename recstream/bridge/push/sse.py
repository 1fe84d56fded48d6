"""Server-sent events: the messages of the WebSocket for clients without one."""

from collections.abc import Sequence

from recstream.bridge.auth import Identity
from recstream.bridge.push.connection import Outgoing
from recstream.bridge.push.hub import PreparedSubscription
from recstream.bridge.push.loop import CLOSE_S, ConnectionLoop, SocketConnection
from recstream.bridge.push.protocol import CloseCode

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"%s"
    b"Connection: close\r\n\r\n"
    b"retry: 1000\n\n"
)


class EventStreamConnection(SocketConnection):
    """A client of ``GET /v1/stream``.

    Parameters
    ----------
    more_headers : bytes
        Whole header lines, added to the answer.
    """

    __slots__ = ("_code", "_more_headers", "_subs")

    def __init__(
        self,
        loop: ConnectionLoop,
        *,
        user: str | None,
        identity: Identity,
        subs: Sequence[PreparedSubscription],
        more_headers: bytes = b"",
    ) -> None:
        super().__init__(loop)
        self.user = user
        self.identity = identity
        self._subs = subs
        self._more_headers = more_headers
        self._code = 1006

    @property
    def close_code(self) -> int:
        """The WebSocket close code of why the stream ended."""
        return self._code

    def begin(self) -> None:
        """Write the HTTP head and the snapshots."""
        if self.transport is None:
            return
        self.transport.write(HEAD % self._more_headers)
        for prepared in self._subs:
            _, start = self.hub.subscribe(self, prepared)
            start()
        self.ping()
        self.start_pings()

    def write(self, message: Outgoing) -> None:
        """Send a message as one event."""
        if self.transport is None or self.transport.is_closing():
            return
        head = f"id: {message.position}\n" if message.position else ""
        self.transport.write(
            f"{head}event: {message.kind}\ndata: ".encode() + message.payload + b"\n\n"
        )

    def close(self, code: CloseCode | int, reason: str = "") -> None:
        """End the stream; the client reconnects with the last id it saw."""
        del reason
        self._code = int(code)
        if self.transport is not None:
            self.transport.close()
            self.later(CLOSE_S, self.abort)

    def data_received(self, data: bytes) -> None:
        """Ignore what the client sends."""

    def ping(self) -> None:
        """Send a comment."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b": still here\n\n")
