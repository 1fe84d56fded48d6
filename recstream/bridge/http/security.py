"""Check origin and host of requests; set CORS and security headers."""

import contextlib
import re
from functools import lru_cache
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request

from recstream.bridge.http.problems import HttpProblem
from recstream.settings import is_own_address

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_ALLOWED_ORIGINS = "RECSTREAM_ALLOWED_ORIGINS"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def install(app: Flask, *, allowed_origins: tuple[str, ...], is_open: bool) -> None:
    """Check origin and host of every request, and set the security headers of every answer.

    Parameters
    ----------
    allowed_origins : tuple of str
        Origins besides the bridge's own, e.g. ``https://shop.example``.
    is_open : bool
        No token is needed. Then ``Host`` must name this machine: otherwise a page elsewhere could
        resolve its own name to this bridge and act for its visitor (DNS rebinding).
    """
    allowed = frozenset(allowed_origins)
    hosts = {urlsplit(origin).netloc for origin in allowed}

    app.config[_ALLOWED_ORIGINS] = allowed

    @app.before_request
    def check() -> Response | None:
        host = request.headers.get("Host")
        if host is not None and not is_host(host):  # HTTP/1.0 has none, as some health checks
            raise HttpProblem(400, f"expected a Host header with a name and a port, got {host!r}")
        if is_open and not is_own_name(request.host) and request.host not in hosts:
            message = f"a bridge without a secret answers as localhost only, not as {request.host}"
            raise HttpProblem(421, message)
        origin = request.headers.get("Origin")
        if origin is None or is_same_site(origin, request.host):
            return None
        if origin in allowed:
            return _preflight() if request.method == "OPTIONS" else None
        _refuse_unless_harmless(origin)
        return None

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if response.mimetype == "text/html":
            response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        others = list(response.vary)
        response.headers.update(cors_headers())
        response.vary.update(others)
        return response


def cors_headers() -> dict[str, str]:
    """Return the CORS headers of the answer to the current request."""
    allowed = current_app.config[_ALLOWED_ORIGINS]
    origin = request.headers.get("Origin", "")
    headers = {"Vary": "Origin"} if allowed else {}
    if origin in allowed:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = (
            "Retry-After, ETag, Recstream-Identical, X-Request-Id"
        )
    return headers


def is_host(text: str) -> bool:
    """Return whether a ``Host`` header has the form of a name and a port."""
    return _HOST.fullmatch(text) is not None


@lru_cache(256)
def is_own_name(host: str) -> bool:
    """Return whether a ``Host`` can only name this machine."""
    with contextlib.suppress(ValueError):
        return is_own_address(urlsplit(f"//{host}").hostname or "")
    return False


def _refuse_unless_harmless(origin: str) -> None:
    """Allow reads from other origins: without CORS headers the page can't see the answer."""
    if request.method not in {"GET", "HEAD"} or request.headers.get("Upgrade") is not None:
        message = f"pages of {origin} may not do this; add the origin to setting allowed_origins"
        raise HttpProblem(403, message, code="origin-not-allowed")


def _preflight() -> Response:
    response = Response(status=204)
    response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, PATCH, DELETE"
    response.headers["Access-Control-Allow-Headers"] = "Authorization, Content-Type, Last-Event-ID"
    response.headers["Access-Control-Max-Age"] = "600"
    return response


def is_same_site(origin: str, host: str) -> bool:
    """Return whether an ``Origin`` is that of the requested ``Host``.

    >>> is_same_site("http://shop.test:8000", "shop.test:8000")
    True
    >>> is_same_site("https://evil.test", "shop.test")
    False
    """
    with contextlib.suppress(ValueError):
        return urlsplit(origin).netloc == host
    return False
