"""A route and its description in one value: Flask is wired from it and OpenAPI is written from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from flask import Flask, Response, g, request

from recstream.bridge.auth import Authenticator, Identity
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.core.events import MAX_ID_CHARACTERS
from recstream.core.json_input import json_error
from recstream.errors import InvalidJson
from recstream.metrics import HTTP_DURATION

Access = Literal["public", "user", "service"]
"""Who may call: anybody, whoever may act for the user named in the path, a service."""

JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One operation of the HTTP surface.

    Attributes
    ----------
    rule : str
        Flask's, e.g. ``/v1/items/<item>``.
    handler : callable
        Gets the path's variables, then ``query`` and ``body`` where there are any; returns a struct,
        a list, or a whole `Response`.
    query : struct type, optional
        Parameters of the query string.
    body : type, optional
        Of a JSON request body, decoded before the handler runs.
    consumes : mapping, optional
        Media type to type of bodies that the handler reads itself.
    returns : type or None
        Of a successful answer's JSON.
    status : int
        Of a successful answer.
    produces : str
        Media type of a successful answer.
    problems : mapping of int to str
        Errors that clients should expect, besides 400, 401, 403 and 500.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    rule: str
    handler: Callable[..., Any]
    name: str
    summary: str
    tag: str
    access: Access = "service"
    query: type[msgspec.Struct] | None = None
    body: Any = None
    consumes: Mapping[str, Any] = field(default_factory=dict)
    returns: Any = None
    status: int = 200
    produces: str = JSON
    problems: Mapping[int, str] = field(default_factory=dict)


def identity() -> Identity:
    """Return who sent the current request."""
    who: Identity = g.identity
    return who


def json_response(body: Any, status: int = 200) -> Response:
    """Return a struct, list or dict as a JSON answer."""
    response = Response(msgspec.json.encode(body), status, content_type=JSON)
    response.headers["Cache-Control"] = "no-store"
    return response


def add(app: Flask, endpoint: Endpoint, *, auth: Authenticator) -> None:
    """Wire an endpoint into an app."""
    seconds = HTTP_DURATION.labels(endpoint.rule)

    def view(**path: str) -> Response:
        started = time.perf_counter()
        g.identity = auth.identify(request.headers.get("Authorization"))
        _check_access(endpoint.access, path)
        given: dict[str, Any] = dict(path)
        for name, text in path.items():
            if len(text) > MAX_ID_CHARACTERS or not text.isprintable():
                message = f"{name} must be at most {MAX_ID_CHARACTERS} printable characters"
                raise HttpProblem(400, message)
        if endpoint.query is not None:
            given["query"] = _query(endpoint.query)
        if endpoint.body is not None:
            given["body"] = _body(endpoint.body)
        answer = endpoint.handler(**given)
        seconds.observe(time.perf_counter() - started)
        if isinstance(answer, Response):
            return answer
        return json_response(answer, endpoint.status)

    options: dict[str, Any] = {"methods": [endpoint.method], "strict_slashes": False}
    app.add_url_rule(endpoint.rule, endpoint.name, view, **options)
    if endpoint.status == HTTPStatus.SWITCHING_PROTOCOLS:
        # Werkzeug keeps handshakes apart from other requests; the handler answers both.
        app.add_url_rule(endpoint.rule, endpoint.name, view, websocket=True, **options)


def _check_access(access: Access, path: Mapping[str, str]) -> None:
    who = identity()
    if access == "public" or who.is_service:
        return
    if who.user is None:
        message = "this needs a token; send `Authorization: Bearer <token>`"
        raise HttpProblem(401, message, code="token-missing")
    if access == "service" or not who.may_act_for(path.get("user", who.user)):
        raise HttpProblem(403, "the token is not for this; a service token is", code="forbidden")


def _query(struct: type[msgspec.Struct]) -> msgspec.Struct:
    given = request.args.to_dict()
    unknown = sorted(given.keys() - set(struct.__struct_encode_fields__))
    if unknown:
        known = ", ".join(struct.__struct_encode_fields__)
        message = f"unknown parameter {unknown[0]!r}; known: {known}"
        raise _wrong_query(unknown[0], message)
    try:
        return msgspec.convert(given, struct, strict=False)
    except msgspec.ValidationError as error:
        _, _, name = str(error).rpartition("`$.")
        raise _wrong_query(name.rstrip("`"), str(error)) from error


def _wrong_query(name: str, message: str) -> HttpProblem:
    pointed = Pointed(pointer=f"?{name}", detail=message)
    return HttpProblem(400, message, code="invalid-parameter", errors=(pointed,))


def _body(wanted: Any) -> Any:
    if request.mimetype != JSON:
        message = f"expected a body of {JSON}, got {request.mimetype or 'no Content-Type'!r}"
        raise HttpProblem(415, message)
    try:
        return msgspec.json.decode(request.get_data(cache=False), type=wanted)
    except Exception as error:
        wrong = json_error(error, InvalidJson, names_field=False)
        pointed = Pointed(pointer=wrong.pointer, code=wrong.code, detail=wrong.reason)
        is_malformed = wrong.code == "malformed-json"
        status, code = (400, "malformed-json") if is_malformed else (422, "invalid-body")
        raise HttpProblem(status, str(error), code=code, errors=(pointed,)) from error
