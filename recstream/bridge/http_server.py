"""Serve the Flask app by uvicorn: one event loop for requests and answers, threads for the app.

A thread is used only between the last byte of a request and the first byte of its answer, so slow
clients hold none. A head has a deadline, body and answer a minimum rate. Single events are answered
by `recstream.bridge.http.single_events`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from recstream.bridge.http import PROBLEM_JSON, Answer, Pace, Received, SingleEvents, encode_json
from recstream.bridge.wsgi import WsgiAdapter, WsgiApp
from recstream.process import Background, run_in_loop, watch

log = logging.getLogger(__name__)

BACKLOG = 1024
MAX_HEAD_BYTES = 64 * 1024
IDLE_S = 30
"""Time between two requests of a connection."""
SWEEP_S = 1.0
SHUTDOWN_S = 5


class HttpServer(Background):
    """uvicorn on a socket that is bound already, in a thread of its own."""

    def __init__(self, bound: socket.socket, app: WsgiApp, single_events: SingleEvents) -> None:
        super().__init__("http")
        self._bound = bound
        self._single_events = single_events
        self._adapter = WsgiAdapter(app, single_events)
        config = uvicorn.Config(
            self._adapter,
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            interface="asgi3",
            backlog=BACKLOG,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        self._server = uvicorn.Server(config)

    def _run(self) -> None:
        run_in_loop(self._serve())

    async def _serve(self) -> None:
        sweeping = asyncio.create_task(self._sweep())
        watch(sweeping, "end slow connections")
        loop = asyncio.get_running_loop()

        def answered(answers: Sequence[tuple[_Protocol, Answer]]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_answer_events, answers)

        self._single_events.answered = answered
        self._single_events.start()
        try:
            await self._server.serve(sockets=[self._bound])
        finally:
            sweeping.cancel()
            self._single_events.stop()

    async def _sweep(self) -> None:
        """End connections that are too slow."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = loop.time()
            for protocol in tuple(self._server.server_state.connections):
                if isinstance(protocol, _Protocol):
                    _call(protocol, protocol.check_deadline, now_s)

    def _wake(self) -> None:
        self._server.should_exit = True

    def stop(self) -> None:
        """Finish the requests that run, then end."""
        super().stop()
        self._adapter.close()


def _answer_events(answers: Sequence[tuple[_Protocol, Answer]]) -> None:
    """Answer requests with single events."""
    for protocol, answer in answers:
        _call(protocol, protocol.answer_event, answer)


def _call(protocol: _Protocol, method: Callable[[Any], object], argument: Any) -> None:
    """Call a method of a connection; abort the connection if the method fails."""
    try:
        method(argument)
    except Exception:
        log.exception("connection aborted")
        protocol.transport.abort()


class _Protocol(H11Protocol):
    """A connection of the HTTP server."""

    def __init__(self, config: uvicorn.Config, *arguments: Any, **options: Any) -> None:
        super().__init__(config, *arguments, **options)
        adapter: Any = config.app
        self.app = functools.partial(adapter.serve, self)
        self.is_detached = False
        self._single_events: SingleEvents = adapter.single_events
        self._is_appending = False
        self._has_answered = False
        self._has_ended = False
        self._is_last = False
        self._unread = b""
        self._pace = Pace()
        self._n_received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Send small answers at once."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Accept a single event, or pass the data to the parser."""
        self._n_received += len(data)
        if self._is_appending:
            self._unread += data
            self.flow.pause_reading()
            return
        if self._is_between_requests():
            request = self._single_events.receive(data, self.client[0] if self.client else "")
            if request is not None:
                self._unset_keepalive_if_required()
                self._is_appending = True
                self._single_events.submit(self, request)
                return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Pass data to the parser; refuse what it can't read."""
        try:
            super().data_received(data)
        except ValueError:  # a number with more digits than Python converts
            self.send_400_response("Invalid HTTP request received.")

    def _is_between_requests(self) -> bool:
        cycle: Any = self.cycle
        return (
            self.conn.their_state is h11.IDLE
            and (cycle is None or cycle.response_complete)
            and not self.conn.trailing_data[0]
        )

    def answer_event(self, answer: Answer) -> None:
        """Write the answer to a single event, then handle what was received meanwhile.

        A request that must go another way goes to the parser instead.
        """
        self._is_appending, self._has_answered = False, True
        if self.transport.is_closing():
            return
        if answer is None:
            self.transport.abort()
            return
        unread, self._unread = self._unread, b""
        if isinstance(answer, Received):
            self._parse(answer.data + unread)
            if self._is_last:
                super().shutdown()
            self._end_if_answered()
            return
        is_last = self._is_last or (self._has_ended and not unread)
        line, _, rest = answer.partition(b"\r\n")
        head = [b"%b: %b" % each for each in self.server_state.default_headers]
        if is_last:
            head.append(b"connection: close")
        self.transport.write(b"\r\n".join([line, *head, rest]))
        if is_last:
            self.transport.close()
        super().on_response_complete()
        if unread and not is_last:
            self.data_received(unread)
        self._end_if_answered()

    def on_response_complete(self) -> None:
        """Continue with the next request."""
        super().on_response_complete()
        self._end_if_answered()

    def _end_if_answered(self) -> None:
        """End the connection with the last answer, if the client ended its stream."""
        if not self._has_ended or self._is_appending or self.transport.is_closing():
            return
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()
        elif cycle.more_body:
            self.refuse("the body ended early")
        elif not self.conn.trailing_data[0]:
            cycle.keep_alive = False

    def shutdown(self) -> None:
        """End the connection once it has its answer."""
        if self._is_appending:
            self._is_last = True
        else:
            super().shutdown()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Let a client that ends its stream still get the answers to its whole requests."""
        self._has_ended = True
        self._end_if_answered()
        return not self.transport.is_closing()

    def refuse(self, why: str) -> None:
        """Refuse the request that is answered now, and end the connection."""
        self.cycle.disconnected = True
        self.send_400_response(why)

    def send_400_response(self, msg: str) -> None:
        """Answer with a problem, and end the connection."""
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        error = sys.exception()
        status, detail = HTTPStatus.BAD_REQUEST, f"expected an HTTP/1.1 request, got another: {msg}"
        if isinstance(error, h11.RemoteProtocolError):  # uvicorn calls this while it is handled
            if error.error_status_hint < HTTPStatus.INTERNAL_SERVER_ERROR:
                status = HTTPStatus(error.error_status_hint)
            detail = f"expected an HTTP/1.1 request, got another: {error}"
        if status == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
            detail = f"expected a head, and each chunk's line, of at most {MAX_HEAD_BYTES} bytes"
        body = encode_json(
            {
                "type": "urn:recstream:problem:malformed-request",
                "title": status.phrase,
                "status": status,
                "detail": detail,
                "instance": "",
            }
        )
        headers = [("content-type", PROBLEM_JSON), ("content-length", str(len(body)))]
        response = h11.Response(
            status_code=status,
            headers=[*headers, ("connection", "close")],
            reason=status.phrase.encode(),
        )
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Break reference cycles: thousands of sockets may be detached before a collection."""
        super().connection_lost(exc)
        if self.is_detached:
            del self.app, self.cycle, self.conn, self.scope, self.flow

    def _should_upgrade(self) -> bool:
        return False  # a route does it, see `detach`

    def check_deadline(self, now_s: float) -> None:
        """Abort the connection if head, body or answer are too slow."""
        cycle: Any = self.cycle
        stage: tuple[str, Any] | None = None
        n_moved = self._n_received
        if n_unsent := self.transport.get_write_buffer_size():
            stage, n_moved = ("answer", cycle), -n_unsent
        elif self.conn.their_state is h11.SEND_BODY:
            stage = ("body", cycle)
        elif self.conn.their_state is h11.IDLE and (
            (cycle is None and not (self._is_appending or self._has_answered))
            or self.conn.trailing_data[0]
        ):
            stage = ("head", cycle)
        if self._pace.is_too_slow(stage, 0 if stage and stage[0] == "head" else n_moved, now_s):
            self.transport.abort()

    def detach(self) -> tuple[socket.socket, bytes]:
        """Detach the socket from the server; return it and what was read beyond the request.

        Called in the thread of the request.
        """
        return asyncio.run_coroutine_threadsafe(self._detach(), self.loop).result()

    async def _detach(self) -> tuple[socket.socket, bytes]:
        self.is_detached = self.cycle.disconnected = True
        self.transport.pause_reading()
        descriptor = self.transport.get_extra_info("socket").fileno()
        detached = socket.socket(fileno=os.dup(descriptor))
        unread, _ = self.conn.trailing_data
        self.transport.abort()
        return detached, unread
