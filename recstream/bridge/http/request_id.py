"""Give every request an id, which its answer and the program's log contain.

A client or a proxy may send its own in ``X-Request-Id``.
"""

import re
import secrets

from flask import Flask, Response, g, request

HEADER = "X-Request-Id"
_VALID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


def choose(sent: str) -> str:
    """Return the id that a client sent, or a new one if it is missing or not valid."""
    return sent if _VALID.fullmatch(sent) else secrets.token_hex(12)


def install(app: Flask) -> None:
    """Add the id to the answers of an app, and to `flask.g` as ``request_id``."""

    @app.before_request
    def note() -> None:
        g.request_id = choose(request.headers.get(HEADER, ""))

    @app.after_request
    def show(response: Response) -> Response:
        response.headers[HEADER] = g.request_id
        return response
