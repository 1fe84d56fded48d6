"""Percent-decode the segments of a URL's path one by one, so that an id may contain a slash.

WSGI decodes the whole path: ``/v1/users/a%2Fb`` and ``/v1/users/a/b`` look the same. The middleware
takes the path from the request line and keeps ``/`` and ``%`` inside a segment escaped for routing.
"""

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from flask import Flask, request
from werkzeug.routing import PathConverter, UnicodeConverter

from recstream.bridge.http.problems import HttpProblem

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]
_INVALID = "recstream.invalid-url"


class _Segment(UnicodeConverter):
    def to_python(self, value: str) -> str:
        return unquote(value)


class _Path(PathConverter):
    def to_python(self, value: str) -> str:
        return unquote(value)


def install(app: Flask) -> None:
    """Make an app decode path segments one by one, and refuse URLs that are not UTF-8."""
    app.url_map.converters |= {"default": _Segment, "string": _Segment, "path": _Path}
    app.wsgi_app = _segments(app.wsgi_app)  # type: ignore[assignment, method-assign]

    @app.before_request
    def check() -> None:
        if request.environ.get(_INVALID):
            message = "expected a URL in percent-encoded UTF-8, got other bytes"
            raise HttpProblem(400, message, code="invalid-url")


def _segments(app: WsgiApp) -> WsgiApp:
    def decoded(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        raw = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
        path, _, query = raw.partition("?")
        if path.startswith("/"):
            segments = [unquote_to_bytes(segment) for segment in path.split("/")]
            escaped = (part.replace(b"%", b"%25").replace(b"/", b"%2F") for part in segments)
            environ["PATH_INFO"] = b"/".join(escaped).decode("latin-1")
            environ[_INVALID] = not all(map(_is_utf8, [*segments, unquote_to_bytes(query)]))
        return app(environ, start_response)

    return decoded


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
