"""The event loop thread that holds every push connection.

A Flask route checks the request, detaches the socket and passes it here. A connection costs a
transport and a protocol object, no thread. A client that reads nothing, or answers no ping, between two
pings is closed with 4008 (`_tick`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, cast

from recstream.bridge.auth import Authenticator
from recstream.bridge.push.connection import Connection
from recstream.bridge.push.hub import Hub
from recstream.bridge.push.protocol import PING_S, CloseCode
from recstream.metrics import PUSH_CONNECTIONS, PUSH_DISCONNECTS
from recstream.process import new_event_loop, start_thread, watch

log = logging.getLogger(__name__)

CLOSE_S = 5.0
"""Time for a client to answer the close of a connection."""
WRITE_BUFFER_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 64 * 1024


class ConnectionLoop:
    """The loop thread and its connections.

    Parameters
    ----------
    now : callable
        Seconds since 1970, for the expiry of tokens.
    """

    def __init__(
        self,
        auth: Authenticator,
        *,
        epoch: str,
        max_connections: int,
        now: Callable[[], float],
        ping_s: float = PING_S,
    ) -> None:
        self.auth = auth
        self.epoch = epoch
        self.max_connections = max_connections
        self.ping_s = ping_s
        self.now = now
        self.connections: set[SocketConnection] = set()
        self.hub: Hub | None = None
        self.is_draining = False
        self._emptied: asyncio.Event | None = None
        self._loop = new_event_loop()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def start(self, hub: Hub, fail: Callable[[BaseException], object]) -> None:
        """Start the loop thread; ``fail`` is called with an error that ends it."""
        self.hub = hub
        self._thread = start_thread("connections", self._run, stopping=self._stopping, fail=fail)

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function on the loop thread; ignored once the loop has stopped."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.debug("loop has stopped, call dropped function=%r", function)

    def adopt(self, sock: socket.socket, connection: SocketConnection, unread: bytes) -> None:
        """Take over a socket from the server that accepted it, with the bytes it read already."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.post(self._attach, sock, connection, unread)

    def _attach(self, sock: socket.socket, connection: SocketConnection, unread: bytes) -> None:
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: connection, sock))

        watch(task, "push connection")

        def attached(done: asyncio.Task[Any]) -> None:
            if not done.cancelled() and done.exception() is None and unread:
                connection.data_received(unread)

        task.add_done_callback(attached)

    def stop(self, *, timeout_s: float = CLOSE_S) -> None:
        """Close every connection with 1012 (service restart), and end the loop thread."""
        self._stopping.set()
        if self._thread is None or not self._thread.is_alive():
            self._loop.close()
            return
        done = asyncio.run_coroutine_threadsafe(self._drain(timeout_s), self._loop)
        done.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def remove(self, connection: SocketConnection) -> None:
        """Remove a connection that ended."""
        self.connections.discard(connection)
        if self._emptied is not None and not self.connections:
            self._emptied.set()

    async def _drain(self, timeout_s: float) -> None:
        self.is_draining = True
        for connection in tuple(self.connections):
            connection.close(CloseCode.DRAINING, "the server restarts, connect again")
        self._emptied = asyncio.Event()
        if self.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
        for connection in tuple(self.connections):
            connection.abort()
        await asyncio.sleep(0)


class SocketConnection(Connection, asyncio.Protocol):
    """A connection on a transport of the loop thread: shared by WebSocket and event stream.

    Every `ConnectionLoop.ping_s` it pings the client, closes a connection that read nothing since
    the last ping (4008), and closes one whose token expired (4001).
    """

    __slots__ = ("loop", "timer", "transport")

    def __init__(self, loop: ConnectionLoop) -> None:
        super().__init__()
        self.loop = loop
        self.timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Write the prepared answer, or close if the bridge is full or stopping."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self.loop.connections.add(self)
        PUSH_CONNECTIONS.set(len(self.loop.connections))
        self.begin()
        if len(self.loop.connections) > self.loop.max_connections:
            self.close(CloseCode.TOO_MANY_CONNECTIONS, "too many connections, try again later")
        elif self.loop.is_draining:
            self.close(CloseCode.DRAINING, "the server restarts, connect again")

    def begin(self) -> None:
        """Write the answer to the request."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection and its subscriptions."""
        del exc
        if self.timer is not None:
            self.timer.cancel()
        self.loop.remove(self)
        PUSH_CONNECTIONS.set(len(self.loop.connections))
        PUSH_DISCONNECTS.labels(str(self.close_code)).inc()
        self.hub.remove(self)

    @property
    def close_code(self) -> int:
        """The WebSocket close code of why the connection ended."""
        return 1006

    @property
    def hub(self) -> Hub:
        """The subscriptions of all connections."""
        if self.loop.hub is None:
            raise RuntimeError("ConnectionLoop.start must come before the first connection")
        return self.loop.hub

    @property
    def is_stalled(self) -> bool:
        """Whether output waits because the client reads nothing; `websocket.py` adds missing pongs."""
        return self.is_blocked

    def ping(self) -> None:
        """Send something that keeps proxies awake."""
        raise NotImplementedError

    def start_pings(self) -> None:
        """Send the first ping after a period, or earlier if the token expires before."""
        self.later(min(self.loop.ping_s, max(0.0, self._token_left_s())), self._tick)

    def _tick(self) -> None:
        if self.is_stalled:
            # The close frame waits behind the unread data: a client that reads on still gets it.
            self.close(CloseCode.TOO_SLOW, "nothing was read for too long")
        elif self._token_left_s() <= 0:
            self.close(CloseCode.TOKEN_EXPIRED, "the token has expired, connect with a new one")
        elif self.transport is not None and not self.transport.is_closing():
            self.ping()
            self.start_pings()

    def _token_left_s(self) -> float:
        expires_s = self.identity.expires_s
        return float("inf") if expires_s is None else expires_s - self.loop.now()

    def pause_writing(self) -> None:
        """Mark the connection as blocked: the client reads too slowly. Nothing is read from it either.

        Else it could have answers made without end, which wait in memory.
        """
        self.is_blocked = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Send what waited: the client reads again."""
        if self.transport is not None:
            self.transport.resume_reading()
        self.unblock()

    def abort(self) -> None:
        """End the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    def later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Run a function after a delay; replaces the function that waited."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(delay_s, function)
