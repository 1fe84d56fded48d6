"""Server-sent events: the snapshot, newer lists, and where a stream goes on."""

import http.client
import socket

import pytest

from tests.bridge.bridge_world import DEADLINE_S
from tests.waiting import wait_until


def test_the_event_stream_sends_the_snapshot_and_then_every_newer_list(world):
    first = world.publish("sse", "a")
    world.wait_for_views()
    with stream(world, "/v1/stream?user=sse") as read_event:
        snapshot = read_event()
        second = world.publish("sse", "b")
        live = read_event()

    assert snapshot["id"] == f"{world.log.epoch}:{first}"
    assert snapshot["event"] == "recs"
    assert live["id"] == f"{world.log.epoch}:{second}"
    assert '"item":"b"' in live["data"]


def test_the_event_stream_resumes_behind_the_last_id(world):
    first = world.publish("resume", "a")
    world.wait_for_views()
    last_id = {"Last-Event-ID": f"{world.log.epoch}:{first}"}
    with stream(world, "/v1/stream?user=resume", last_id) as read_event:
        second = world.publish("resume", "b")

        assert read_event()["id"] == f"{world.log.epoch}:{second}"


def test_the_event_stream_ends_when_the_client_goes(world):
    live = world.bridge.deps.connections
    with stream(world, "/v1/stream?user=goes&ch=recs,pipeline") as read_event:
        assert {read_event()["event"], read_event()["event"]} == {"recs", "pipeline"}
    with stream(world, "/v1/stream?user=goes&ch=recs&ch=pipeline") as read_event:
        assert {read_event()["event"], read_event()["event"]} == {"recs", "pipeline"}

    wait_until(lambda: not live.hub.wants("goes"), "a hub that has forgotten")


@pytest.mark.parametrize("query", ["", "?user=u&ch=log", "?user=u&ch=", "?user=u&x=1"])
def test_a_stream_that_can_not_be_is_400(world, query):
    answer = world.get(f"/v1/stream{query}")

    assert (answer.status, answer.kind) == (400, "application/problem+json")


def test_a_users_token_streams_only_that_users_lists(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")

    assert guarded.get("/v1/stream?user=bob", token=token).status == 403
    with stream(guarded, "/v1/stream", {"Authorization": f"Bearer {token}"}) as read_event:
        assert '"user":"ann"' in read_event()["data"]


class stream:  # noqa: N801 - a context manager, used as a function
    """An open event stream; calling the target reads one event."""

    def __init__(self, world, path, headers=None):
        lines = [f"GET {path} HTTP/1.1", f"Host: {world.address}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._socket = socket.create_connection(world.address.split(":"), timeout=20)
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self._socket.makefile("r", encoding="utf-8")

    def __enter__(self):
        assert " 200 " in self._file.readline()
        while self._file.readline().strip():
            pass
        return self._read

    def __exit__(self, *_):
        self._file.close()
        self._socket.close()

    def _read(self):
        fields = {}
        while "data" not in fields:
            line = self._file.readline()
            assert line, "the stream ended"
            name, _, value = line.rstrip("\n").partition(": ")
            fields = {} if not name else fields | {name: value}
        return fields


def test_a_stream_of_an_allowed_origin_has_its_cors_headers(guarded):
    token = guarded.bridge.deps.auth.issue("sse-cors")[0]
    connection = http.client.HTTPConnection(guarded.address, timeout=DEADLINE_S)
    try:
        headers = {"Origin": "https://shop.test", "Authorization": f"Bearer {token}"}
        connection.request("GET", "/v1/stream", headers=headers)
        answer = connection.getresponse()
    finally:
        connection.close()

    assert answer.status == 200
    assert answer.getheader("Access-Control-Allow-Origin") == "https://shop.test"
    assert answer.getheader("Vary") == "Origin"


@pytest.mark.parametrize("last", ["x", ":", "e:", ":3", f"e:{'9' * 5000}", "e:-3", "e:٣", "e:1e9"])
def test_a_last_event_id_that_is_none_starts_with_the_snapshot(world, last):
    world.publish("sse-last", "a")
    world.wait_for_views()
    connection = http.client.HTTPConnection(world.address, timeout=DEADLINE_S)
    try:
        connection.request(
            "GET", "/v1/stream?user=sse-last", headers={"Last-Event-ID": last.encode()}
        )
        answer = connection.getresponse()
        assert answer.status == 200
        while b"event: recs" not in answer.readline():
            pass
    finally:
        connection.close()
