"""Compress answers on the fly for clients that accept it."""

import gzip
from http import HTTPStatus

from flask import Flask, Response, request

MIN_BYTES = 1024
LEVEL = 4
KINDS = frozenset(
    {"application/json", "application/problem+json", "text/html", "text/css", "text/plain"}
)


def install(app: Flask) -> None:
    """Compress answers of `MIN_BYTES` and more, except tokens."""

    @app.after_request
    def compress(response: Response) -> Response:
        if (
            response.is_streamed
            or response.direct_passthrough
            or response.mimetype not in KINDS
            or response.status_code != HTTPStatus.OK
            or request.path == "/v1/tokens"
        ):
            return response
        response.vary.add("Accept-Encoding")
        body = response.get_data()
        if len(body) < MIN_BYTES or "Content-Encoding" in response.headers or not accepts_gzip():
            return response
        response.set_data(gzip.compress(body, LEVEL, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
        etag, _ = response.get_etag()
        if etag is not None:
            response.set_etag(etag, weak=True)
        return response


def accepts_gzip() -> bool:
    """Return whether the current request's client decompresses gzip."""
    return request.accept_encodings.quality("gzip") > 0
