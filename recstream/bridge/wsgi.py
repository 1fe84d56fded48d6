"""Run a WSGI application in threads, on requests that an ASGI server reads."""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from recstream.bridge.http import DETACH, MAX_REQUEST_BYTES, SingleEvents

THREADS = 32
HEALTH_THREADS = 2
_UNNAMED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}

CHUNK_WAIT_S = 120.0
"""Longer than the server lets the rest of a body take."""

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class LargeBody(io.RawIOBase):
    """A request's body of which only the start was received; a thread waits for the rest as it reads."""

    def __init__(
        self, start: bytes, receive: Callable[[], Awaitable[Any]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._received = start
        self._receive = receive
        self._loop = loop
        self._has_more = True

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes; 0 at the end. Raises ConnectionError if the client goes away."""
        while not self._received and self._has_more:
            message = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result(
                CHUNK_WAIT_S
            )
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client ended the connection within the body")
            self._received = message["body"]
            self._has_more = message.get("more_body", False)
        n = min(len(buffer), len(self._received))
        buffer[:n], self._received = self._received[:n], self._received[n:]
        return n

    async def _next(self) -> Any:
        return await self._receive()


def environ_of(scope: Any) -> dict[str, Any]:
    """Return the WSGI environment of a request without a body."""
    path = scope["raw_path"].decode("ascii")
    if not path.startswith("/"):  # absolute form, as proxies get it
        path = "/" + path.partition("://")[2].partition("/")[2]
    query = scope["query_string"].decode("latin-1")
    host, port = scope["server"] or ("", 0)
    client = scope["client"]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": scope["path"].encode().decode("latin-1"),
        "REQUEST_URI": f"{path}?{query}" if query else path,
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:
            continue  # it would look like the header with a dash
        key = _UNNAMED.get(name) or f"HTTP_{name.upper().replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


class _Answer(NamedTuple):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class WsgiAdapter:
    """An ASGI application that reads requests and runs a WSGI application on them in threads."""

    def __init__(self, app: WsgiApp, single_events: SingleEvents) -> None:
        self._app = app
        self.single_events = single_events
        self._pool = ThreadPoolExecutor(THREADS, "request")
        # Health checks must answer while every other thread is busy.
        self._health_pool = ThreadPoolExecutor(HEALTH_THREADS, "health")

    def close(self) -> None:
        """End the threads after the requests that run."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._health_pool.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Never called: the protocol calls `serve`."""
        raise NotImplementedError

    async def serve(self, protocol: Any, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request of a connection, a protocol of `recstream.bridge.http_server`."""
        environ = environ_of(scope)
        if {"CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING"} <= environ.keys():
            # A proxy may have taken the other one for the end of the body: nothing behind is read.
            protocol.refuse("a request has Content-Length or Transfer-Encoding, not both")
            return
        target = scope["raw_path"]
        is_known = target[:1] == b"/" or b"://" in target
        if not is_known and (scope["method"], target) != ("OPTIONS", b"*"):
            found = target[:40].decode("latin-1")
            protocol.refuse(f"a request's target begins with /, got {found!r}")
            return
        body = bytearray()
        has_more = True
        # The app refuses a larger body, whose rest uvicorn discards, or reads it while it comes.
        while (
            has_more and max(len(body), int(environ.get("CONTENT_LENGTH", 0))) <= MAX_REQUEST_BYTES
        ):
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            has_more = message.get("more_body", False)
            body += message["body"]
        if has_more:
            loop = asyncio.get_running_loop()
            environ["wsgi.input"] = LargeBody(bytes(body), receive, loop)
        elif body:
            environ["wsgi.input"] = io.BytesIO(body)
            environ.setdefault("CONTENT_LENGTH", str(len(body)))
        environ[DETACH] = protocol.detach
        is_health = environ["PATH_INFO"].startswith("/health/")
        pool = self._health_pool if is_health else self._pool
        answer = await asyncio.get_running_loop().run_in_executor(pool, self._run, environ)
        if protocol.is_detached:
            return
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
        )
        await send({"type": "http.response.body", "body": answer.body})

    def _run(self, environ: dict[str, Any]) -> _Answer:
        """Run the app; called in a thread."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> None:
            del exc_info
            started.append((status, headers))

        parts = self._app(environ, start_response)
        try:
            body = b"".join(parts)
        finally:
            if close := getattr(parts, "close", None):
                close()
        if not started:
            return _Answer(500, [], b"")
        status, headers = started[-1]
        encoded = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        return _Answer(int(status[:3]), encoded, body)
