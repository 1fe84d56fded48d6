"""Clients of freshness.py and push.py: they post events and hold WebSockets, with little processor time.

A shop's browsers take no processor time from the server. So these clients parse only what is measured:
the status of an answer, and the event's id and times in a message.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

HANDSHAKE = (
    "GET /v1/ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: recstream.v1\r\n\r\n"
)
_TEXT, _PING, _PONG = 1, 9, 10
_LINEAGE, _EVENT_ID = b'"lineage":', b'"event_id":"'


class Received:
    """What is known of each event: when it was due, acknowledged, and when its list was received.

    Attributes
    ----------
    failed : int
        Posts with another answer than 202.
    """

    def __init__(self) -> None:
        self.due: dict[str, float] = {}
        self.acknowledged: dict[str, float] = {}
        self.received: dict[str, float] = {}
        self.failed = 0
        self._messages: dict[str, tuple[float, bytes]] = {}

    def note_list(self, message: bytes) -> None:
        """Note the arrival of a message; the first list of an event counts."""
        lineage = message.rfind(_LINEAGE)
        first = message.find(_EVENT_ID, lineage) + len(_EVENT_ID)
        if lineage < 0 or first < len(_EVENT_ID):
            return
        event = message[first : message.index(b'"', first)].decode()
        if event in self.due and event not in self.received:
            self.received[event] = time.perf_counter()
            self._messages[event] = time.time() * 1000, message[lineage:]

    def times(self, event: str) -> dict[str, Any]:
        """Return the times of the steps to an event's list, in milliseconds since 1970."""
        received_ts, part = self._messages[event]
        content = part[len(_LINEAGE) : part.index(b"}") + 1]
        found: dict[str, Any] = msgspec.json.decode(content)
        return found | {"received_ts": received_ts}


def hello(user: str, *channels: str) -> bytes:
    """Return a user's first message to a bridge."""
    subs = [{"ch": each} for each in channels]
    return json.dumps({"type": "hello", "user": user, "subs": subs}).encode()


class Listener(asyncio.Protocol):
    """A WebSocket that notes its messages.

    Parameters
    ----------
    hello : bytes
        Sent first, and answered by one message that is not noted. Empty: nothing is sent.
    note : callable
        Called with each message.
    ready : asyncio.Semaphore
        Released when the connection is open, and the hello is answered.
    """

    def __init__(
        self, host: str, hello: bytes, note: Callable[[bytes], object], ready: asyncio.Semaphore
    ) -> None:
        self._host = host
        self._hello = hello
        self._note = note
        self._ready = ready
        self._is_open = self._is_welcome = False
        self._unread = b""

    @classmethod
    async def open(
        cls, host: str, hello: bytes, note: Callable[[bytes], object], ready: asyncio.Semaphore
    ) -> Listener:
        """Connect."""
        address, port = host.split(":")
        _, listener = await asyncio.get_running_loop().create_connection(
            lambda: cls(host, hello, note, ready), address, int(port)
        )
        return listener

    def connection_made(self, transport: Any) -> None:
        """Ask for the upgrade."""
        self._transport = transport
        transport.write(HANDSHAKE.format(host=self._host).encode())

    def data_received(self, data: bytes) -> None:
        """Handle whole frames."""
        self._unread += data
        if not self._is_open:
            head, end, rest = self._unread.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head[:16]:
                raise RuntimeError(f"the bridge refused a WebSocket: {head[:200]!r}")
            self._is_open, self._unread = True, rest
            if self._hello:
                self._send(_TEXT, self._hello)
            else:
                self._is_welcome = True
                self._ready.release()
        at = 0
        while (frame := _frame(self._unread, at)) is not None:
            kind, first, at = frame
            content = self._unread[first:at]
            if kind == _PING:
                self._send(_PONG, content)
            elif kind == _TEXT and not self._is_welcome:
                self._is_welcome = True
                self._ready.release()
            elif kind == _TEXT:
                self._note(content)
        self._unread = self._unread[at:]

    def _send(self, kind: int, content: bytes) -> None:
        """Send a frame of less than 126 bytes, masked by zeros."""
        self._transport.write(bytes([0x80 | kind, 0x80 | len(content), 0, 0, 0, 0]) + content)

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()


def _frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return kind, first byte and end of the frame at a place; None if it is not whole."""
    if len(data) < at + 4:
        return None
    length, first = data[at + 1] & 0x7F, at + 2
    if length >= 126:
        width = 2 if length == 126 else 8
        length, first = int.from_bytes(data[first : first + width], "big"), first + width
    end = first + length
    return None if len(data) < end else (data[at] & 0x0F, first, end)


class Posters:
    """Kept-alive HTTP connections; each posts one event after the other."""

    def __init__(self, host: str, found: Received) -> None:
        self._host = host.encode()
        self._found = found
        self._free: deque[_Poster] = deque()  # in turn, so that the bridge ends none as idle
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._n_open = 0
        self._done = asyncio.Event()

    async def open(self, n: int) -> None:
        """Connect."""
        address, port = self._host.decode().split(":")
        loop = asyncio.get_running_loop()
        for _ in range(n):
            _, poster = await loop.create_connection(lambda: _Poster(self), address, int(port))
            self._free.append(poster)

    def close(self) -> None:
        """End the connections."""
        for each in self._free:
            each.transport.abort()

    def post(self, event: dict[str, Any]) -> None:
        """Post an event, now or when a connection is free."""
        body = json.dumps(event).encode()
        request = (
            b"POST /v1/events HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (self._host, len(body), body)
        )
        self._n_open += 1
        if self._free:
            self._free.popleft().send(event["id"], request)
        else:
            self._waiting.append((event["id"], request))

    async def finish(self) -> None:
        """Wait for all answers."""
        while self._n_open:
            self._done.clear()
            await self._done.wait()

    def lost(self, poster: _Poster) -> None:
        """Forget a connection that the bridge closed."""
        if poster in self._free:
            self._free.remove(poster)

    def answered(self, poster: _Poster, event: str, status: bytes) -> None:
        """Note an answer, and post what waits."""
        if status == b"202":
            self._found.acknowledged[event] = time.perf_counter()
        else:
            self._found.failed += 1
        self._n_open -= 1
        self._done.set()
        if self._waiting:
            poster.send(*self._waiting.popleft())
        else:
            self._free.append(poster)


class _Poster(asyncio.Protocol):
    def __init__(self, posters: Posters) -> None:
        self._posters = posters
        self._event = ""
        self._unread = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._posters.lost(self)

    def send(self, event: str, request: bytes) -> None:
        self._event = event
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._unread = self._unread + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return
        length = data.find(b"content-length: ") + len(b"content-length: ")
        if len(data) < end + 4 + int(data[length : data.index(b"\r", length)]):
            return
        self._unread = b""
        self._posters.answered(self, self._event, data[9:12])
