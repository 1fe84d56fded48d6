"""Step 9 of the flow: the same messages as server-sent events, for clients without WebSocket."""

from __future__ import annotations

from recstream.bridge.auth import Identity
from recstream.bridge.push.hub import Refused
from recstream.bridge.push.loop import Live, StreamPeer
from recstream.bridge.push.peer import Outgoing
from recstream.bridge.push.protocol import CloseCode, ErrorMessage, Subscription
from recstream.errors import LogError

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


class EventStreamPeer(StreamPeer):
    """A client of ``GET /v1/stream``.

    Parameters
    ----------
    live : Live
    user : str or None
        Whose lists.
    identity : Identity
    subs : tuple of Subscription
    more_headers : bytes
        Whole header lines.
    """

    __slots__ = ("_code", "_more_headers", "_subs")

    def __init__(
        self,
        live: Live,
        *,
        user: str | None,
        identity: Identity,
        subs: tuple[Subscription, ...],
        more_headers: bytes = b"",
    ) -> None:
        super().__init__(live)
        self.user = user
        self.identity = identity
        self._subs = subs
        self._more_headers = more_headers
        self._code = 1006

    @property
    def close_code(self) -> int:
        """Why the stream ended."""
        return self._code

    def begin(self) -> None:
        """Write the head and the snapshots."""
        if self.transport is None:
            return
        self.transport.write(HEAD % self._more_headers)
        for wanted in self._subs:
            try:
                _, start = self.hub.subscribe(self, wanted)
            except Refused as refusal:
                self.refuse(ErrorMessage(code=refusal.code, detail=str(refusal), ch=wanted.ch))
            except LogError as error:
                told = ErrorMessage(
                    code="unavailable", temporary=True, detail=str(error), ch=wanted.ch
                )
                self.refuse(told)
            else:
                start()
        self._again()

    def write(self, message: Outgoing) -> None:
        """Send a message as one event."""
        if self.transport is None or self.transport.is_closing():
            return
        head = f"id: {message.position}\n" if message.position else ""
        self.transport.write(
            f"{head}event: {message.kind}\ndata: ".encode() + message.payload + b"\n\n"
        )

    def close(self, code: CloseCode | int, reason: str = "") -> None:
        """End the stream; the client comes back with the last id it saw."""
        del reason
        self._code = int(code)
        if self.transport is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Ignore what a client should not send."""

    def _again(self) -> None:
        """Keep proxies awake; end what is too slow or no longer allowed."""
        expires_s = self.identity.expires_s
        if self.is_blocked:
            self._code = CloseCode.TOO_SLOW
            self.abort()
            return
        if expires_s is not None and expires_s <= self.live.now():
            self.close(CloseCode.TOKEN_EXPIRED)
            return
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b": still here\n\n")
            self.later(self.live.ping_s, self._again)
