"""Step 9 of the flow: a WebSocket on the loop thread.

A Flask route makes the handshake with `websockets.server.ServerProtocol`, which does no I/O of its
own; here it goes on with frames.
"""

from __future__ import annotations

import asyncio
import logging

from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from recstream.bridge.push.hub import Refused
from recstream.bridge.push.loop import CLOSE_S, Live, StreamPeer
from recstream.bridge.push.peer import Outgoing
from recstream.bridge.push.protocol import (
    MAX_MESSAGE_BYTES,
    MAX_SUBSCRIPTIONS,
    CloseCode,
    ErrorMessage,
    Hello,
    Refresh,
    Sub,
    Subscription,
    Unsub,
    Welcome,
    decode_client,
    encode,
)
from recstream.errors import InvalidInput, LogError, TokenRefused

_quiet = logging.getLogger("recstream.bridge.frames")
_quiet.setLevel(logging.WARNING)  # websockets says at INFO that a connection opens and closes

HELLO_S = 10.0
MESSAGES_PER_S = 10.0
BURST_MESSAGES = 60.0
_POLICY = 1008
_NOT_TEXT = 1003


class WebSocketPeer(StreamPeer):
    """A WebSocket client.

    Parameters
    ----------
    live : Live
    answer : bytes
        To the handshake; goes out first.
    """

    __slots__ = (
        "_allowance",
        "_allowed_at_s",
        "_answer",
        "_awaits_pong",
        "_greeted",
        "_parts",
        "_protocol",
    )

    def __init__(self, live: Live, answer: bytes) -> None:
        super().__init__(live)
        self._answer = answer
        # A fresh one, so that the handshake's requests and headers are not kept.
        self._protocol = ServerProtocol(state=OPEN, max_size=MAX_MESSAGE_BYTES, logger=_quiet)
        self._parts: list[bytes] = []
        self._greeted = False
        self._awaits_pong = False
        self._allowance = BURST_MESSAGES
        self._allowed_at_s = 0.0

    def begin(self) -> None:
        """Write the handshake and wait for hello."""
        if self.transport is not None:
            self.transport.write(self._answer)
        self._answer = b""
        self._allowed_at_s = asyncio.get_running_loop().time()
        self.later(HELLO_S, self._hello_missing)

    def _hello_missing(self) -> None:
        self.close(_POLICY, f"expected hello within {HELLO_S:g} s")

    @property
    def close_code(self) -> int:
        """Why the connection ended."""
        sent, received = self._protocol.close_sent, self._protocol.close_rcvd
        return sent.code if sent is not None else received.code if received is not None else 1006

    # Out

    def write(self, message: Outgoing) -> None:
        """Send a message as one text frame."""
        if self._protocol.state is not OPEN or self.transport is None:
            return
        if message.frame is None:
            frame = Frame(Opcode.TEXT, message.payload)
            message.frame = frame.serialize(mask=False, extensions=[])
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

    def _tick(self) -> None:
        """Every `ping_s`: end what is dead or too slow, ping the others."""
        if self.is_blocked or self._awaits_pong:
            # The close frame waits behind what was not read: a client that goes on reading sees it.
            self.close(CloseCode.TOO_SLOW, "nothing was read for too long")
            return
        expires_s = self.identity.expires_s
        left_s = expires_s - self.live.now() if expires_s is not None else float("inf")
        if left_s <= 0:
            self.close(CloseCode.TOKEN_EXPIRED, "the token has expired, connect with a new one")
            return
        self._awaits_pong = True
        self._protocol.send_ping(b"")
        self._flush()
        self.later(min(self.live.ping_s, left_s), self._tick)

    # In

    def data_received(self, data: bytes) -> None:
        """Feed the protocol and act on whole messages."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        self._flush()

    def eof_received(self) -> bool:
        """Answer the end of the client's stream with ours."""
        self._protocol.receive_eof()
        self._flush()
        return False

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._awaits_pong = False
        elif frame.opcode is Opcode.BINARY:
            self.close(_NOT_TEXT, "expected text")
        elif frame.opcode in {Opcode.TEXT, Opcode.CONT}:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                raw = b"".join(self._parts)
                self._parts.clear()
                self._message(raw)

    def _message(self, raw: bytes) -> None:
        if self._protocol.state is not OPEN:
            return
        if not self._within_rate():
            self.close(CloseCode.RATE, f"more than {MESSAGES_PER_S:g} messages/s")
            return
        try:
            message = decode_client(raw)
            if isinstance(message, Hello):
                self._hello(message)
            elif not self._greeted:
                raise InvalidInput("expected hello first")  # noqa: TRY301 - one answer for all
            elif isinstance(message, Sub):
                self._subscribe((message,))
            elif isinstance(message, Refresh):
                self._refresh(message)
            else:
                self._unsubscribe(message)
        except TokenRefused as error:
            self.refuse(ErrorMessage(code="forbidden", detail=str(error)))
            code = CloseCode.TOKEN_EXPIRED if error.expired else CloseCode.FORBIDDEN
            self.close(code, str(error)[:100])
        except InvalidInput as error:
            self.refuse(ErrorMessage(code="invalid-message", detail=str(error)[:300]))
            self.close(CloseCode.INVALID_MESSAGE, "invalid message")

    def _within_rate(self) -> bool:
        """Return whether the client may say one thing more: a bucket that fills with time."""
        at_s = asyncio.get_running_loop().time()
        self._allowance += (at_s - self._allowed_at_s) * MESSAGES_PER_S
        self._allowance = min(self._allowance, BURST_MESSAGES) - 1.0
        self._allowed_at_s = at_s
        return self._allowance >= 0.0

    def _hello(self, hello: Hello) -> None:
        if self._greeted:
            raise InvalidInput("expected one hello on a connection")
        self.identity = self.live.auth.greet(hello.token, hello.user)
        user = self.identity.user
        if hello.user is not None and user is not None and hello.user != user:
            raise TokenRefused("the token was made for another user")
        self.user = user if user is not None else hello.user
        self._greeted = True
        expires_s = self.identity.expires_s
        left_s = expires_s - self.live.now() if expires_s is not None else self.live.ping_s
        self.later(min(self.live.ping_s, max(0.0, left_s)), self._tick)
        self._subscribe(hello.subs)

    def _refresh(self, refresh: Refresh) -> None:
        identity = self.live.auth.verify(refresh.token)
        if identity.user != self.identity.user or identity.is_service != self.identity.is_service:
            raise TokenRefused("a refreshed token must be for the same user and scope")
        self.identity = identity

    def _subscribe(self, wanted: tuple[Subscription, ...]) -> None:
        states, starts, errors = [], [], []
        for one in wanted:
            try:
                if len(self.channels) + len(self.logs) >= MAX_SUBSCRIPTIONS:
                    message = f"at most {MAX_SUBSCRIPTIONS} subscriptions on a connection"
                    raise Refused("too-many", message)  # noqa: TRY301 - one answer for all
                state, start = self.hub.subscribe(self, one)
            except Refused as refusal:
                errors.append(ErrorMessage(code=refusal.code, detail=str(refusal), ch=one.ch))
            except LogError as error:
                errors.append(
                    ErrorMessage(code="unavailable", temporary=True, detail=str(error), ch=one.ch)
                )
            else:
                states.append(state)
                starts.append(start)
        welcome = Welcome(
            ping_s=round(self.live.ping_s),
            epoch=self.live.epoch,
            user=self.user,
            subs=tuple(states),
        )
        self.write(Outgoing("recs", encode(welcome), kind="welcome"))
        for error_message in errors:
            self.refuse(error_message)
        for start in starts:
            start()

    def _unsubscribe(self, message: Unsub) -> None:
        self.hub.unsubscribe(self, message.ch)
