"""The WSGI environment of a request that an ASGI server read."""

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from typing import Any

_UNNAMED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}

CHUNK_WAIT_S = 120.0
"""Longer than the server lets the rest of a body take."""


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
