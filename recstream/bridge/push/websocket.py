"""A WebSocket connection on the loop thread.

A Flask route makes the handshake with `websockets.server.ServerProtocol`, which does no I/O. This
module sends and receives frames.
"""

import asyncio
import logging
import struct
from collections.abc import Sequence

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from recstream.bridge.auth import Identity
from recstream.bridge.push.connection import Outgoing
from recstream.bridge.push.hub import PreparedSubscription, Refused
from recstream.bridge.push.loop import CLOSE_S, ConnectionLoop, SocketConnection
from recstream.bridge.push.protocol import (
    MAX_MESSAGE_BYTES,
    MAX_SUBSCRIPTIONS,
    CloseCode,
    ErrorMessage,
    Hello,
    Refresh,
    Sub,
    Subscription,
    Welcome,
    decode_client,
    encode,
)
from recstream.errors import InvalidInput, LogError, TokenRefused
from recstream.process import watch

log = logging.getLogger(__name__)
_quiet = logging.getLogger("recstream.bridge.frames")
_quiet.setLevel(logging.WARNING)  # websockets logs every open and close at INFO

_FINAL_TEXT = 0x81
_TWO_BYTES, _EIGHT_BYTES = 126, 127
"""Instead of a length: it follows in so many bytes."""
HELLO_S = 10.0
MESSAGES_PER_S = 10.0
BURST_MESSAGES = 60.0


def text_frame(payload: bytes) -> bytes:
    """Return a whole text message as one frame of a server (RFC 6455, 5.2), in a tenth of the time.

    >>> text_frame(b"{}") == Frame(Opcode.TEXT, b"{}").serialize(mask=False)
    True
    """
    n = len(payload)
    if n < _TWO_BYTES:
        return b"%c%c%b" % (_FINAL_TEXT, n, payload)
    form, length = ("!BBH", _TWO_BYTES) if n < 1 << 16 else ("!BBQ", _EIGHT_BYTES)
    return struct.pack(form, _FINAL_TEXT, length, n) + payload


class WebSocketConnection(SocketConnection):
    """A WebSocket client.

    Parameters
    ----------
    answer : bytes
        The answer to the handshake; sent first.
    """

    __slots__ = (
        "_allowance",
        "_allowed_at_s",
        "_answer",
        "_awaits_pong",
        "_backlog",
        "_greeted",
        "_is_preparing",
        "_parts",
        "_protocol",
    )

    def __init__(self, loop: ConnectionLoop, answer: bytes) -> None:
        super().__init__(loop)
        self._answer = answer
        # A new protocol object does not keep the handshake's headers in memory.
        self._protocol = ServerProtocol(state=OPEN, max_size=MAX_MESSAGE_BYTES, logger=_quiet)
        self._parts: list[bytes] = []
        self._greeted = False
        self._awaits_pong = False
        self._is_preparing = False
        self._backlog: list[bytes] = []
        self._allowance = BURST_MESSAGES
        self._allowed_at_s = 0.0

    def begin(self) -> None:
        """Write the answer to the handshake and wait for hello."""
        if self.transport is not None:
            self.transport.write(self._answer)
        self._answer = b""
        self._allowed_at_s = asyncio.get_running_loop().time()
        missing = f"expected hello within {HELLO_S:g} s"
        self.later(HELLO_S, lambda: self.close(CloseCode.NO_HELLO, missing))

    @property
    def close_code(self) -> int:
        """The close code of why the connection ended."""
        sent, received = self._protocol.close_sent, self._protocol.close_rcvd
        return sent.code if sent is not None else received.code if received is not None else 1006

    # Out

    def write(self, message: Outgoing) -> None:
        """Send a message as one text frame."""
        if self._protocol.state is not OPEN or self.transport is None:
            return
        if message.frame is None:
            message.frame = text_frame(message.payload)
        self.transport.write(message.frame)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame and give the client a few seconds to answer it."""
        if self._protocol.state is not OPEN:
            return
        self._protocol.send_close(code, reason)
        self._flush()
        self.later(CLOSE_S, self.abort)

    def _flush(self) -> None:
        if self.transport is None:
            return
        for data in self._protocol.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    @property
    def is_stalled(self) -> bool:
        """Whether the client read nothing, or did not answer the last ping."""
        return self.is_blocked or self._awaits_pong

    def ping(self) -> None:
        """Send a ping frame; the pong must come before the next one."""
        self._awaits_pong = True
        self._protocol.send_ping(b"")
        self._flush()

    # In

    def data_received(self, data: bytes) -> None:
        """Parse frames and handle whole messages."""
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events_received():
                if isinstance(event, Frame):
                    self._frame(event)
        except Exception:
            log.exception("WebSocket message failed")
            self.close(CloseCode.INTERNAL_ERROR, "internal error")
        self._flush()

    def eof_received(self) -> bool:
        """End our stream after the client ended its own."""
        self._protocol.receive_eof()
        self._flush()
        return False

    def _frame(self, frame: Frame) -> None:
        if self._protocol.state is not OPEN:
            return
        if not self._within_rate():
            self.close(CloseCode.RATE, f"more than {MESSAGES_PER_S:g} messages/s")
        elif frame.opcode is Opcode.PONG:
            self._awaits_pong = False
        elif frame.opcode is Opcode.BINARY:
            self.close(CloseCode.NOT_TEXT, "expected text")
        elif frame.opcode in {Opcode.TEXT, Opcode.CONT}:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                raw = b"".join(self._parts)
                self._parts.clear()
                self._message(raw)

    def _message(self, raw: bytes) -> None:
        if self._is_preparing:
            self._backlog.append(raw)
        else:
            self._handle(raw)

    def _handle(self, raw: bytes) -> None:
        try:
            message = decode_client(raw)
            if isinstance(message, Hello):
                self._hello(message)
            elif not self._greeted:
                raise InvalidInput("expected hello first")  # noqa: TRY301 - one handler for all
            elif isinstance(message, Sub):
                self._subscribe((message,))
            elif isinstance(message, Refresh):
                self._refresh(message)
            else:
                self.hub.unsubscribe(self, message.ch)
        except TokenRefused as error:
            self.refuse(ErrorMessage(code="forbidden", detail=str(error)))
            code = CloseCode.TOKEN_EXPIRED if error.expired else CloseCode.FORBIDDEN
            self.close(code, str(error)[:100])
        except InvalidInput as error:
            self.refuse(ErrorMessage(code="invalid-message", detail=str(error)[:300]))
            self.close(CloseCode.INVALID_MESSAGE, "invalid message")

    def _within_rate(self) -> bool:
        """Return whether the client may send one more frame of any kind (token bucket)."""
        at_s = asyncio.get_running_loop().time()
        self._allowance += (at_s - self._allowed_at_s) * MESSAGES_PER_S
        self._allowance = min(self._allowance, BURST_MESSAGES) - 1.0
        self._allowed_at_s = at_s
        return self._allowance >= 0.0

    def _hello(self, hello: Hello) -> None:
        if self._greeted:
            raise InvalidInput("expected one hello on a connection")
        self.identity = self.loop.auth.greet(hello.token, hello.user)
        user = self.identity.user
        if hello.user is not None and user is not None and hello.user != user:
            raise TokenRefused("the token was made for another user")
        self.user = user if user is not None else hello.user
        self._greeted = True
        self.start_pings()
        self._subscribe(hello.subs)

    def _refresh(self, refresh: Refresh) -> None:
        identity = self.loop.auth.verify(refresh.token)
        if identity.user != self.identity.user or identity.is_service != self.identity.is_service:
            raise TokenRefused("a refreshed token must be for the same user and scope")
        self.identity = identity

    def _subscribe(self, wanted: Sequence[Subscription]) -> None:
        """Read the snapshots in another thread; later messages wait for them."""
        self._is_preparing = True
        user, identity = self.user, self.identity
        loop = asyncio.get_running_loop()

        def fail(_: BaseException) -> None:
            self.close(CloseCode.INTERNAL_ERROR, "internal error")

        preparing = loop.run_in_executor(None, self._prepare, wanted, user, identity)
        watch(preparing, "subscription", fail)

    def _prepare(
        self, wanted: Sequence[Subscription], user: str | None, identity: Identity
    ) -> None:
        prepared: list[PreparedSubscription | ErrorMessage] = []
        for one in wanted:
            try:
                prepared.append(self.hub.prepare(one, user=user, identity=identity))
            except Refused as refusal:
                error = ErrorMessage(code=refusal.code, detail=str(refusal), ch=one.ch)
                prepared.append(error)
            except Exception as failure:
                if not isinstance(failure, LogError):
                    log.exception("subscription failed channel=%s", one.ch)
                detail = str(failure) if isinstance(failure, LogError) else "internal error"
                error = ErrorMessage(code="unavailable", temporary=True, detail=detail, ch=one.ch)
                prepared.append(error)
        self.loop.post(self._prepared, prepared)

    def _prepared(self, prepared: Sequence[PreparedSubscription | ErrorMessage]) -> None:
        """Register the subscriptions, send the welcome, then the snapshots."""
        self._is_preparing = False
        if self._protocol.state is not OPEN or self.transport is None:
            return
        if self.transport.is_closing():
            return
        states, starts, errors = [], [], []
        for one in prepared:
            if isinstance(one, ErrorMessage):
                errors.append(one)
            elif len(self.channels) + len(self.logs) >= MAX_SUBSCRIPTIONS:
                detail = f"at most {MAX_SUBSCRIPTIONS} subscriptions on a connection"
                errors.append(ErrorMessage(code="too-many", detail=detail, ch=one.wanted.ch))
            else:
                state, start = self.hub.subscribe(self, one)
                states.append(state)
                starts.append(start)
        welcome = Welcome(
            ping_s=round(self.loop.ping_s),
            epoch=self.loop.epoch,
            user=self.user,
            subs=tuple(states),
        )
        self.write(Outgoing("recs", encode(welcome), kind="welcome"))
        for error_message in errors:
            self.refuse(error_message)
        for start in starts:
            start()
        while self._backlog and not self._is_preparing:
            self._handle(self._backlog.pop(0))
