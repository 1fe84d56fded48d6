"""Errors of the HTTP API as ``application/problem+json`` (RFC 9457), and as a page for browsers."""

import logging
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from recstream.errors import (
    ArtifactCorrupt,
    CatalogueUnavailable,
    CheckpointError,
    InvalidEvent,
    InvalidInput,
    InvalidJson,
    LogUnavailable,
    ModelStoreUnavailable,
    NotFound,
    OffsetOutOfRange,
    OutOfSpace,
    Overloaded,
    RecstreamError,
    TokenRefused,
)

log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
HTML = "text/html"
RETRY_AFTER_S = 1


_STATUS: tuple[tuple[type[RecstreamError], int, str], ...] = (
    (OffsetOutOfRange, 410, "offset-pruned"),
    (InvalidInput, 400, "invalid-input"),
    (NotFound, 404, "not-found"),
    (LogUnavailable, 503, "log-unavailable"),
    (CatalogueUnavailable, 503, "catalogue-unavailable"),
    (ModelStoreUnavailable, 503, "model-store-unavailable"),
    (ArtifactCorrupt, 410, "artifact-damaged"),
    (CheckpointError, 410, "checkpoint-damaged"),
    (Overloaded, 503, "overloaded"),
    (OutOfSpace, 503, "out-of-space"),
)


class Pointed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error and its place: a JSON pointer into the body, or ``?name`` of a parameter."""

    pointer: str
    code: str = ""
    detail: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request failed."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: tuple[Pointed, ...] = ()


class HttpProblem(RecstreamError):
    """An error that becomes the answer of a request.

    Parameters
    ----------
    detail : str
        What was expected, what was received, what to do.
    code : str, optional
        Last part of the problem's type; default: the name of the status.
    more : struct, optional
        Its fields are added to the problem.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str = "",
        errors: tuple[Pointed, ...] = (),
        more: msgspec.Struct | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.errors = errors
        self.more = more
        self.retry_after_s = retry_after_s


def encode_json(value: Any) -> bytes:
    """Return a value as JSON with a line end, so that a shell prompt starts on its own line."""
    return msgspec.json.encode(value) + b"\n"


def encode_problem(problem: HttpProblem, path: str) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of the answer that a request of a path gets."""
    status = HTTPStatus(problem.status)
    code = problem.code or status.phrase.lower().replace(" ", "-").replace("'", "")
    body = Problem(
        type=f"urn:recstream:problem:{code}",
        title=status.phrase,
        status=problem.status,
        detail=problem.detail,
        instance=quote(path, safe="/%:@!$&'()*+,;=~"),
        errors=problem.errors,
    )
    fields: dict[str, Any] = msgspec.to_builtins(body)
    if problem.more is not None:
        fields |= msgspec.to_builtins(problem.more)
    headers = {"Content-Type": PROBLEM_JSON, "Cache-Control": "no-store"}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return encode_json(fields), headers


def respond(problem: HttpProblem) -> Response:
    """Return a problem as the answer to the current request.

    A browser that opens an address outside the API gets a page.
    """
    body, headers = encode_problem(problem, request.path)
    if request.path.startswith("/v1/"):
        return Response(body, problem.status, headers)
    accepts = request.accept_mimetypes
    if accepts[HTML] > max(accepts[PROBLEM_JSON], accepts["application/json"]):
        body = _page(problem)
        headers["Content-Type"] = f"{HTML}; charset=utf-8"
    return Response(body, problem.status, headers | {"Vary": "Accept"})


def _page(problem: HttpProblem) -> bytes:
    title = escape(HTTPStatus(problem.status).phrase)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        '<link rel="stylesheet" href="/docs/style.css"></head><body><main>'
        f"<h1>{title}</h1><p>{escape(problem.detail)}</p>"
        '<p><a href="/">Shop</a> · <a href="/pipeline">Console</a> · <a href="/docs">API</a></p>'
        "</main></body></html>\n"
    ).encode()


def invalid(error: InvalidJson, code: str, *, under: str = "") -> HttpProblem:
    """Return the problem of a body with an invalid value; ``under`` is where its part begins."""
    pointed = Pointed(pointer=under + error.pointer, code=error.code, detail=error.reason)
    return HttpProblem(422, str(error), code=code, errors=(pointed,))


def as_problem(error: RecstreamError) -> HttpProblem:
    """Return the problem document of an error."""
    if isinstance(error, HttpProblem):
        return error
    if isinstance(error, TokenRefused):
        return HttpProblem(401, str(error), code="token-refused")
    if isinstance(error, InvalidEvent):
        return invalid(error, error.code)
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            retry_after_s = RETRY_AFTER_S if status == HTTPStatus.SERVICE_UNAVAILABLE else None
            return HttpProblem(status, str(error), code=code, retry_after_s=retry_after_s)
    return HttpProblem(500, str(error))


def install(app: Flask) -> None:
    """Answer every error of an app with a problem."""

    @app.errorhandler(RecstreamError)
    def ours(error: RecstreamError) -> Response:
        problem = as_problem(error)
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning(
                "request failed request=%s status=%d reason=%s", g.request_id, problem.status, error
            )
        return respond(problem)

    @app.errorhandler(HTTPException)
    def theirs(error: HTTPException) -> Response:
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        if error.response is not None or status < HTTPStatus.BAD_REQUEST:
            return app.make_response(error)
        response = respond(HttpProblem(status, _detail(error, status)))
        for name, value in error.get_headers():
            if name.lower() in {"allow", "retry-after"}:
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def bug(error: Exception) -> Response:
        log.error(
            "request failed request=%s route=%s", g.request_id, request.url_rule, exc_info=error
        )
        detail = "internal error of the bridge; its log contains the cause"
        return respond(HttpProblem(500, detail))


def _detail(error: HTTPException, status: int) -> str:
    if status == HTTPStatus.NOT_FOUND:
        return f"nothing is at {request.path}; /openapi.json lists all paths"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.path} does not support {request.method}"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return "the body is too large; a request may have 1 MiB"
    return error.description or HTTPStatus(status).phrase
