"""``/v1/ws``, ``/v1/stream`` and ``/health/ready`` answer any request as the OpenAPI document says.

Generated requests of schemathesis do not reach these: an upgrade, an answer without end, a 503 on
purpose.
"""

import functools
import json
import socket
from urllib.parse import quote

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.bridge.bridge_world import DEADLINE_S

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["u1", "a/b", "x" * 3_000, "\0", "recs", "pipeline,recs", "recs,recs", ",", "worker", "nobody"]
)
HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30).map(str.strip)
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.just(value) | HEADER for name, value in UPGRADE.items()},
        "Origin": HEADER | st.just("http://evil.test"),
        "Last-Event-ID": HEADER | st.sampled_from([":", "a:1", f"a:{2**63}", "a:-1", "x" * 300]),
        "Authorization": HEADER | st.just("Bearer a.b.c"),
        "Sec-WebSocket-Protocol": HEADER | st.just("recstream.v1"),
        "Sec-WebSocket-Extensions": HEADER | st.just("permessage-deflate; server_max_window_bits=99"),
        "Accept": HEADER,
    },
)  # fmt: skip
QUERY = st.dictionaries(st.sampled_from(["user", "ch", "placement", "role", "x"]), TEXT, max_size=3)


def answer_to(address: str, method: str, target: str, headers: dict[str, str]):
    """Return status, headers and body of an answer; of one without end, what came with its head."""
    host, port = address.split(":")
    lines = [f"{method} {target} HTTP/1.1", f"Host: {address}", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        received = b""
        while b"\r\n\r\n" not in received:
            received += (part := client.recv(1 << 16))
            assert part, f"the connection ended without an answer to {target!r} {headers}"
        head, _, body = received.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
        while len(body) < int(fields.get("content-length", 0)):
            body += client.recv(1 << 16)
    return int(first.split()[1]), fields, body


@functools.cache
def documented(world):
    return world.get("/openapi.json").json


def check(document, path, status, fields, body):
    answers = document["paths"][path]["get"]["responses"]
    assert str(status) in answers, (status, body)
    content = answers[str(status)].get("content", {})
    kind = fields.get("content-type", "").split(";")[0]
    assert (kind in content) or (not content and status == 101), (status, kind)
    if kind.endswith("json"):
        schema = {"components": document["components"], **content[kind]["schema"]}
        jsonschema.validate(json.loads(body), schema)


@pytest.mark.parametrize("name", ["world", "guarded"])
@example(path="/v1/ws", query={}, headers=UPGRADE)
@example(path="/v1/stream", query={"user": "u1"}, headers={"Last-Event-ID": "a:1"})
@example(path="/v1/stream", query={"user": "u1", "placement": "x"}, headers={})
@example(path="/health/ready", query={"role": "worker"}, headers={})
@example(path="/health/ready", query={"role": "nobody"}, headers={})
@given(
    path=st.sampled_from(["/v1/ws", "/v1/stream", "/health/ready"]), query=QUERY, headers=HEADERS
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_request_gets_an_answer_that_is_documented(request, name, path, query, headers):
    world = request.getfixturevalue(name)
    pairs = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())

    found = answer_to(world.address, "GET", f"{path}?{pairs}", headers)

    check(documented(world), path, *found)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "XYZ"])
@pytest.mark.parametrize("path", ["/v1/ws", "/v1/stream", "/health/ready"])
def test_other_methods_are_405_with_those_that_are_allowed(world, method, path):
    status, fields, _ = answer_to(world.address, method, path, {})

    assert status == 405
    assert "GET" in fields["allow"]
