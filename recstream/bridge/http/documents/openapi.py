"""``/openapi.json`` (OpenAPI 3.1), generated from the endpoints and their structs."""

import inspect
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from recstream import __version__
from recstream.bridge.http.problems import HTML, PROBLEM_JSON, Problem
from recstream.bridge.http.routing import Endpoint

_REF = "#/components/schemas/{name}"
_VARIABLE = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>")
_ALWAYS = {
    400: "Invalid request",
    421: "A bridge without a secret answers as localhost only",
    500: "Internal error of the bridge",
    503: "Too many requests of this kind run, or what they need can't be reached",
}
_ON_BODY = {
    413: "The body is too large",
    415: "Unsupported media type",
    422: "The body is invalid; `errors` contain the places and reasons",
}
_ON_TOKEN = {401: "The token is missing, invalid or expired", 403: "The token does not allow this"}

INTRODUCTION = """Send events, get recommendations. `POST /v1/events` answers 202 once events are
stored durably in the log. Each new list is pushed to WebSocket clients (`/v1/ws`, see
`/asyncapi.json`). Every error is `application/problem+json` (RFC 9457). A bridge that listens on
loopback and has no secret needs no token."""


def openapi(endpoints: Sequence[Endpoint]) -> bytes:
    """Return the document as JSON."""
    types = list(_types(endpoints))
    schemas, components = schemas_of(types)
    by_type = {_key(type_): schema for type_, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _VARIABLE.sub(r"{\1}", endpoint.rule)
        operation = _operation(endpoint, by_type, components)
        paths.setdefault(path, {})[endpoint.method.lower()] = operation
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "recstream",
            "version": __version__,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def schemas_of(types: Iterable[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a schema for each type, and the components that the schemas refer to by name.

    Descriptions have no indent, whichever version of msgspec or Python reads the docstrings.
    """
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    for component in components.values():
        if "description" in component:
            component["description"] = inspect.cleandoc(component["description"])
    return schemas, components


def _types(endpoints: Iterable[Endpoint]) -> Iterable[Any]:
    """Yield every type of bodies, answers and parameters, once."""
    seen: set[str] = set()
    for endpoint in endpoints:
        wanted = (endpoint.body, endpoint.returns, endpoint.query, *endpoint.consumes.values())
        for type_ in (*wanted, Problem):
            if type_ is not None and _key(type_) not in seen:
                seen.add(_key(type_))
                yield type_


def _key(type_: Any) -> str:
    return str(type_)


def _operation(
    endpoint: Endpoint, by_type: dict[str, Any], components: dict[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "security": [{}] if endpoint.access == "public" else [{"token": []}, {}],
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _VARIABLE.findall(endpoint.rule)
    ]
    if endpoint.query is not None:
        parameters += _query_parameters(components[endpoint.query.__name__])
    if parameters:
        operation["parameters"] = parameters
    bodies = dict(endpoint.consumes)
    if endpoint.body is not None:
        bodies["application/json"] = endpoint.body
    if bodies:
        operation["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": by_type[_key(type_)]} for kind, type_ in bodies.items()},
        }
    if endpoint.examples:
        examples = {name: {"value": value} for name, value in endpoint.examples.items()}
        operation["requestBody"]["content"]["application/json"]["examples"] = examples
    operation["responses"] = _responses(endpoint, by_type)
    return operation


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = set(schema.get("required", ()))
    parameters = []
    for name, field in schema["properties"].items():
        parameter: dict[str, Any] = {"name": name, "in": "query", "required": name in required}
        described = dict(field)
        if "description" in described:
            parameter["description"] = described.pop("description")
        parameter["schema"] = described
        parameters.append(parameter)
    return parameters


def _responses(endpoint: Endpoint, by_type: dict[str, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": HTTPStatus(endpoint.status).phrase}
    if endpoint.returns is not None:
        schema = by_type[_key(endpoint.returns)]
        success["content"] = {endpoint.produces: {"schema": schema}}
    responses = {str(endpoint.status): success}
    problems = dict(_ALWAYS)
    problems[401] = _ON_TOKEN[401]  # also of a public route: a token that is sent must be valid
    problems[403] = _ON_TOKEN[403]
    if endpoint.tag != "site":
        problems[429] = "The client sends faster than it may; retry after Retry-After"
    if endpoint.body is not None or endpoint.consumes:
        problems |= _ON_BODY
    problems |= endpoint.problems
    content = {PROBLEM_JSON: {"schema": by_type[_key(Problem)]}}
    if endpoint.tag == "site":
        content[HTML] = {"schema": {"type": "string"}}
    for status, description in sorted(problems.items()):
        responses[str(status)] = {"description": description, "content": content}
    for status, description in endpoint.also.items():
        responses[str(status)] = success | {"description": description}
    return responses
