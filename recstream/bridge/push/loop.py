"""Step 9 of the flow: the loop thread that holds every open connection.

A Flask route checks the request, then it lets go of the socket and hands it over here. A connection
costs a transport and a protocol object, no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from recstream.bridge.auth import Authenticator
from recstream.bridge.push.hub import Hub
from recstream.bridge.push.peer import Peer
from recstream.bridge.push.protocol import PING_S, CloseCode
from recstream.metrics import PUSH_CONNECTIONS, PUSH_DISCONNECTS

log = logging.getLogger(__name__)

CLOSE_S = 5.0
"""How long a client may take to answer that the connection ends."""
WRITE_BUFFER_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 64 * 1024


class Live:
    """The loop thread and its connections.

    Parameters
    ----------
    auth : Authenticator
    epoch : str
        Of the log, for `Welcome`.
    max_connections : int
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
        self.peers: set[StreamPeer] = set()
        self.hub: Hub | None = None
        self.is_draining = False
        self._emptied: asyncio.Event | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def start(self, hub: Hub) -> None:
        """Begin to serve."""
        self.hub = hub
        self._thread.start()

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function on the loop thread; dropped once the loop has stopped."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.debug("loop has stopped, call dropped function=%r", function)

    def adopt(self, sock: socket.socket, peer: StreamPeer) -> None:
        """Take over a socket from the thread that accepted it."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self.post(self._attach, sock, peer)

    def _attach(self, sock: socket.socket, peer: StreamPeer) -> None:
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: peer, sock))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def stop(self, *, timeout_s: float = CLOSE_S) -> None:
        """Tell every client that the bridge restarts (1012), and end the loop thread."""
        if not self._thread.is_alive():
            self._loop.close()
            return
        done = asyncio.run_coroutine_threadsafe(self._drain(timeout_s), self._loop)
        done.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def left(self, peer: StreamPeer) -> None:
        """Forget a peer."""
        self.peers.discard(peer)
        if self._emptied is not None and not self.peers:
            self._emptied.set()

    async def _drain(self, timeout_s: float) -> None:
        self.is_draining = True
        for peer in tuple(self.peers):
            peer.close(CloseCode.DRAINING, "the server restarts, connect again")
        self._emptied = asyncio.Event()
        if self.peers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), timeout_s)
        for peer in tuple(self.peers):
            peer.abort()
        await asyncio.sleep(0)


class StreamPeer(Peer, asyncio.Protocol):
    """A peer on a transport of the loop thread: what WebSocket and event stream share."""

    __slots__ = ("live", "timer", "transport")

    def __init__(self, live: Live) -> None:
        super().__init__()
        self.live = live
        self.timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with what the route prepared."""
        if not isinstance(transport, asyncio.Transport):
            message = f"expected a stream transport, got {type(transport).__name__}"
            raise TypeError(message)
        self.transport = transport
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        self.live.peers.add(self)
        PUSH_CONNECTIONS.set(len(self.live.peers))
        self.begin()
        if len(self.live.peers) > self.live.max_connections:
            self.close(CloseCode.TOO_MANY_CONNECTIONS, "too many connections, try again later")
        elif self.live.is_draining:
            self.close(CloseCode.DRAINING, "the server restarts, connect again")

    def begin(self) -> None:
        """Write the answer to the request."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything about the connection."""
        del exc
        if self.timer is not None:
            self.timer.cancel()
        self.live.left(self)
        PUSH_CONNECTIONS.set(len(self.live.peers))
        PUSH_DISCONNECTS.labels(str(self.close_code)).inc()
        self.hub.leave(self)

    @property
    def close_code(self) -> int:
        """Why the connection ended, as a WebSocket close code."""
        return 1006

    @property
    def hub(self) -> Hub:
        """Who knows what this peer subscribed to."""
        if self.live.hub is None:
            message = "Live.start must come before the first connection"
            raise RuntimeError(message)
        return self.live.hub

    def pause_writing(self) -> None:
        """Keep only the newest for a client that reads too slowly."""
        self.is_blocked = True

    def resume_writing(self) -> None:
        """Send what waited, now that the client caught up."""
        self.unblock()

    def abort(self) -> None:
        """End the connection without a word."""
        if self.transport is not None:
            self.transport.abort()

    def later(self, delay_s: float, function: Callable[[], None]) -> None:
        """Run a function after a while, in place of the one that was waiting."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(delay_s, function)
