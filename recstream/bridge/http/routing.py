"""Declare a route and its OpenAPI description with one decorator, and add it to a Flask app."""

import inspect
import threading
import time
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal, TypeVar

import msgspec
from flask import Flask, Response, g, request

from recstream.bridge.auth import Authenticator
from recstream.bridge.http.bodies import JSON, json_response, read_json
from recstream.bridge.http.problems import HttpProblem, Pointed
from recstream.bridge.http.rate_limit import RateLimiter, identity
from recstream.core.events import MAX_ID_CHARACTERS, is_printable
from recstream.core.json_input import json_error
from recstream.errors import InvalidJson
from recstream.metrics import HTTP_DURATION

Access = Literal["public", "user", "service"]
"""Who may call: anybody, an identity that may act for the user in the path, a service."""

LIST_FORMS = (
    'Separated by commas; or, where an id may contain one, as JSON: `["a,b"]`, or one parameter '
    "for each, at least two"
)
"""Forms of a parameter with several texts, for the documents."""
MAX_IN_FLIGHT = 24
"""Requests of one route at the same time: fewer than there are threads, so that others are served."""
_Handler = TypeVar("_Handler", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One operation of the HTTP API.

    Attributes
    ----------
    rule : str
        Flask's, e.g. ``/v1/items/<item>``.
    name : str
        Name of the handler; the operation's id.
    summary : str
        First line of the handler's docstring, without its full stop.
    handler : callable
        Gets the path's variables, then ``query`` and ``body`` where it has these parameters. Returns
        a struct, a list, or a `Response`.
    tag : str
        Its section in the documents; by default the ``tag`` of the handler's class.
    query : struct type, optional
        Parameters of the query string.
    as_body : callable, optional
        For a POST whose requests may also come as a GET with ``query``: returns the body, of the handler's
        type, that asks for the same. The GET is called ``get_…`` where the handler is ``post_…``.
    body : type, optional
        Type of a JSON request body, decoded before the handler runs.
    consumes : mapping, optional
        Media type to type of a body that the handler reads itself.
    returns : type or None
        Type of a successful answer's JSON.
    status : int
        Status of a successful answer.
    produces : str
        Media type of a successful answer.
    also : mapping of int to str
        Other statuses whose answer has the type of a successful one.
    max_in_flight : int
        Requests that run at the same time; more get 503.
    examples : mapping of str to object
        Bodies that the document shows; each is a valid request.
    problems : mapping of int to str
        Expected errors besides those of every route (see `recstream.bridge.http.documents.openapi`).
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    rule: str
    access: Access
    tag: str = ""
    name: str = ""
    summary: str = ""
    handler: Callable[..., Any] = print
    query: type[msgspec.Struct] | None = None
    as_body: Callable[[Any, Any], Any] | None = None
    body: Any = None
    consumes: Mapping[str, Any] = field(default_factory=dict)
    returns: Any = None
    status: int = 200
    produces: str = JSON
    also: Mapping[int, str] = field(default_factory=dict)
    max_in_flight: int = MAX_IN_FLIGHT
    examples: Mapping[str, Any] = field(default_factory=dict)
    problems: Mapping[int, str] = field(default_factory=dict)


def route(
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"], rule: str, **described: Any
) -> Callable[[_Handler], _Handler]:
    """Mark a method as the handler of a route.

    The types of ``query``, ``body`` and the answer come from the handler's annotations; the
    operation's id and summary come from its name and its docstring. By default a route with a user in its
    path is open to that user, any other to services alone.

    Parameters
    ----------
    described
        Other attributes of `Endpoint`; ``returns`` where the handler returns a `Response`.
    """
    described.setdefault("access", "user" if "<user>" in rule else "service")

    def mark(handler: _Handler) -> _Handler:
        handler.__endpoint__ = Endpoint(  # type: ignore[attr-defined]
            method=method,
            rule=rule,
            name=handler.__name__,
            summary=(inspect.getdoc(handler) or "").partition("\n")[0].removesuffix("."),
            **described,
        )
        return handler

    return mark


def endpoints_of(routes: object) -> Iterable[Endpoint]:
    """Yield the endpoints of an object's marked methods, in the order of their definition."""
    for function in vars(type(routes)).values():
        endpoint: Endpoint | None = getattr(function, "__endpoint__", None)
        if endpoint is None:
            continue
        types = typing.get_type_hints(function)
        returned = types.get("return")
        found = replace(
            endpoint,
            tag=endpoint.tag or getattr(routes, "tag", ""),
            handler=function.__get__(routes),
            query=types.get("query"),
            body=types.get("body"),
            returns=returned
            if endpoint.returns is None and returned is not Response
            else endpoint.returns,
        )
        if endpoint.as_body is not None:
            yield _with_parameters(endpoint, found, endpoint.as_body)
        yield found


def _with_parameters(
    declared: Endpoint, post: Endpoint, as_body: Callable[[Any, Any], Any]
) -> Endpoint:
    """Return the GET that asks for the same as a POST."""

    def handle(query: msgspec.Struct, **path: str) -> Any:
        return post.handler(body=as_body(query, post.body), **path)

    return replace(
        post,
        method="GET",
        name=post.name.replace("post_", "get_"),
        handler=handle,
        query=declared.query,
        body=None,
        examples={},
    )


def add(app: Flask, endpoint: Endpoint, *, auth: Authenticator, limiter: RateLimiter) -> None:
    """Add an endpoint to an app."""
    seconds = HTTP_DURATION.labels(endpoint.rule)
    in_flight = threading.BoundedSemaphore(endpoint.max_in_flight)

    def view(**path: str) -> Response:
        if not in_flight.acquire(blocking=False):
            message = "too many requests of this kind run; try again later"
            raise HttpProblem(503, message, code="overloaded", retry_after_s=1)
        started = time.perf_counter()
        try:
            return answer(path)
        finally:
            seconds.observe(time.perf_counter() - started)
            in_flight.release()

    def answer(path: dict[str, str]) -> Response:
        g.identity = auth.identify(request.headers.get("Authorization"))
        if endpoint.tag != "site":
            limiter.charge(1)
        check_access(endpoint.access, path)
        given: dict[str, Any] = dict(path)
        for name, text in path.items():
            if len(text) > MAX_ID_CHARACTERS or not is_printable(text):
                message = f"{name} must be at most {MAX_ID_CHARACTERS} printable characters"
                raise HttpProblem(400, message)
        if endpoint.query is not None:
            given["query"] = _query(endpoint.query)
        if endpoint.body is not None:
            given["body"] = _body(endpoint)
        found = endpoint.handler(**given)
        return found if isinstance(found, Response) else json_response(found, endpoint.status)

    options: dict[str, Any] = {"methods": [endpoint.method], "strict_slashes": False}
    app.add_url_rule(endpoint.rule, endpoint.name, view, **options)
    if endpoint.status == HTTPStatus.SWITCHING_PROTOCOLS:
        # Werkzeug routes WebSocket handshakes separately; the handler answers both kinds.
        app.add_url_rule(endpoint.rule, endpoint.name, view, websocket=True, **options)


def check_access(access: Access, path: Mapping[str, str]) -> None:
    """Raise `HttpProblem` 401 or 403 unless the caller may; ``path``: its user, if it names one."""
    who = identity()
    if access == "public" or who.is_service:
        return
    if who.user is None:
        message = "this request needs a token; send `Authorization: Bearer <token>`"
        raise HttpProblem(401, message, code="token-missing")
    if access == "service" or not who.may_act_for(path.get("user", who.user)):
        message = "the token does not allow this request; a service token does"
        raise HttpProblem(403, message, code="forbidden")


def _body(endpoint: Endpoint) -> Any:
    if endpoint.query is None and request.args:
        name = next(iter(request.args))
        raise _wrong_query(name, f"unknown parameter {name!r}; send fields in the body")
    return read_json(endpoint.body)


def _query(struct: type[msgspec.Struct]) -> msgspec.Struct:
    given: dict[str, Any] = request.args.to_dict()
    fields = msgspec.structs.fields(struct)
    lists = {each.encode_name for each in fields if isinstance(each.default, tuple)}
    for name, values in request.args.lists():
        if name in lists:
            given[name] = _texts(values)
        elif len(values) > 1:
            raise _wrong_query(name, f"{name}: expected one value, got {len(values)}")
    unknown = sorted(given.keys() - set(struct.__struct_encode_fields__))
    if unknown:
        known = ", ".join(struct.__struct_encode_fields__)
        message = f"unknown parameter {unknown[0]!r}; known: {known}"
        raise _wrong_query(unknown[0], message)
    try:
        return msgspec.convert(given, struct, strict=False)
    except msgspec.ValidationError as error:
        wrong = json_error(error, InvalidJson, kind=struct)
        name = wrong.pointer.lstrip("/").partition("/")[0]
        # A parameter is a text; its value says more.
        reason = wrong.reason.replace("got `str`", f"got {given.get(name, '')[:40]!r}")
        raise _wrong_query(name, f"{name}: {reason}") from error


def _texts(values: Sequence[str]) -> list[str]:
    """Return the texts of a parameter: of one value with commas or of JSON, or of several values."""
    if len(values) == 1:
        try:
            found = msgspec.json.decode(values[0], type=list[str | int])
            values = [str(each) for each in found]
        except msgspec.MsgspecError:
            values = values[0].split(",")
    return [each for each in values if each]


def _wrong_query(name: str, message: str) -> HttpProblem:
    pointed = Pointed(pointer=f"?{name}", detail=message)
    return HttpProblem(400, message, code="invalid-parameter", errors=(pointed,))
