"""Bodies that nest too deep are refused with 413 or 422: one body for each way of reading JSON."""

import json

import pytest

DEPTHS = [65, 980, 5_000, 9_000]
"""Beyond the limit, near Python's and near C's limit of recursion."""


def deep(depth: int) -> bytes:
    return b'{"a":' * (depth // 2) + b"[" * (depth // 2) + b"]" * (depth // 2) + b"}" * (depth // 2)


def event(depth: int) -> bytes:
    return b'{"type":"view","user":"deep","item":"i","context":{"a":%b}}' % deep(depth)


def cloud_event(depth: int) -> bytes:
    return (
        b'{"specversion":"1.0","id":"c","source":"s","type":"view","subject":"deep",'
        b'"data":{"item":"i","context":{"a":%b}}}' % deep(depth)
    )


BODIES = {
    "event": ("POST", "/v1/events", event, "application/json"),
    "array of events": ("POST", "/v1/events", lambda n: b"[%b]" % event(n), "application/json"),
    "nested array": ("POST", "/v1/events", lambda n: b"[" * n + b"]" * n, "application/json"),
    "line": ("POST", "/v1/events", event, "application/x-ndjson"),
    "cloud event": ("POST", "/v1/events", cloud_event, "application/cloudevents+json"),
    "item": (
        "POST", "/v1/items",
        lambda n: b'{"item":"i","attributes":{"a":%b}}' % deep(n), "application/json",
    ),
    "steering": (
        "PUT", "/v1/steering",
        lambda n: b'{"rules":[{"action":"exclude","name":"x","where":%b{"brand":"a"}%b}]}'
        % (b'{"not":' * n, b"}" * n), "application/json",
    ),
    "training": ("POST", "/v1/training-runs", lambda n: b'{"reason":%b}' % deep(n), "application/json"),
}  # fmt: skip


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_nests_too_deep_is_refused(world, body, depth):
    method, path, made, kind = BODIES[body]

    answer = world.call(method, path, made(depth), kind=kind)

    assert answer.status in {413, 422}, answer.body
    assert answer.status == 413 or answer.json["errors"]


def test_good_events_of_a_batch_with_a_deep_one_are_taken(world):
    good = json.dumps({"type": "view", "user": "deep", "item": "i"}).encode()

    answer = world.post("/v1/events", b"[%b,%b]" % (good, event(100)))

    assert (answer.status, answer.json["accepted"]) == (202, 1)
    assert answer.json["rejected"][0]["code"] == "too-deep"
