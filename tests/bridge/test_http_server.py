"""The HTTP server under slow and malformed clients: others are served, deadlines hold, answers are clear."""

import json
import re
import socket
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from recstream.bridge import http_server
from recstream.bridge.http import rate_limit
from tests.bridge.bridge_world import DEADLINE_S, World, running
from tests.waiting import wait_until

N_SLOW = 300
"""More than the server has threads."""
BODY = b'{"type":"view","user":"slow","item":"i"}'


@pytest.fixture
def strict(tmp_path, monkeypatch):
    """A bridge whose deadlines are short."""
    monkeypatch.setattr(
        rate_limit, "DEADLINES_S", dict.fromkeys(rate_limit.DEADLINES_S, 1.0), raising=True
    )
    monkeypatch.setattr(http_server, "SWEEP_S", 0.1)
    with running(tmp_path) as world:
        yield world


def raw(world: World) -> socket.socket:
    host, port = world.address.split(":")
    return socket.create_connection((host, int(port)), timeout=DEADLINE_S)


def send(world: World, request: bytes) -> tuple[int, bytes]:
    """Return the status and the body that a raw request gets."""
    with raw(world) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(1 << 16):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def is_quick(world: World) -> bool:
    started = time.monotonic()
    assert world.get("/health/live").status == 200
    assert world.post("/v1/events", BODY).status == 202
    return time.monotonic() - started < 5


def test_an_event_that_comes_before_the_answer_to_the_one_before_is_answered_next(world):
    def request(user: str, item: str) -> bytes:
        body = json.dumps({"type": "view", "user": user, "item": item}).encode()
        return (
            b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            + (b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        )

    health = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with raw(world) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for each in (request("a", "i"), request("b", "j"), health, request("c", "k")):
            client.sendall(each)
        answer = b""
        while answer.count(b"HTTP/1.1 ") < 4 and (chunk := client.recv(1 << 16)):
            answer += chunk

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"202", b"202", b"200", b"202"]


def test_a_connection_that_sends_single_events_outlives_the_deadlines(strict):
    request = (
        b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    )
    started = time.monotonic()
    with raw(strict) as client:
        while time.monotonic() - started < 2 * rate_limit.DEADLINES_S["head"]:
            client.sendall(request)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 202")


STARTS = {
    "nothing": b"",
    "a part of the head": b"GET /health/live HTTP/1.1\r\nX-Slow: a",
    "a part of the body": b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{",
    "a part of a chunk": b"POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "a second request": b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /health/",
}


@pytest.mark.parametrize("start", STARTS)
def test_clients_that_send_slowly_delay_nobody(world, start):
    with ExitStack() as stack:
        slow = [stack.enter_context(raw(world)) for _ in range(N_SLOW)]
        for client in slow:
            client.sendall(STARTS[start])
        for client in slow:
            client.sendall(b"b")

        assert is_quick(world)


@pytest.mark.parametrize("start", STARTS)
def test_a_request_that_drips_ends_at_its_deadline(strict, start):
    with raw(strict) as client:
        client.settimeout(0.1)
        started = time.monotonic()

        def is_ended() -> bool:
            try:
                client.sendall(b"b" if STARTS[start] else b"")
                return client.recv(1 << 16) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        client.sendall(STARTS[start])
        wait_until(is_ended, "the end of a slow connection")

    assert time.monotonic() - started < 20


@pytest.mark.slow
def test_clients_that_read_slowly_delay_nobody_and_end_at_their_deadline(strict):
    request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 200
    with ExitStack() as stack:
        slow = [stack.enter_context(raw(strict)) for _ in range(64)]
        for client in slow:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.5)
            with suppress(TimeoutError):
                client.sendall(request)

        assert is_quick(strict)
        connections = strict.bridge._server._server.server_state.connections
        wait_until(lambda: len(connections) < 10, "slow readers that are gone")


def a_request(*lines: bytes, body: bytes = BODY, host: bytes = b"Host: 127.0.0.1") -> bytes:
    head = [b"POST /v1/events HTTP/1.1", host, b"Content-Type: application/json", *lines]
    return b"\r\n".join([line for line in head if line]) + b"\r\n\r\n" + body


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked"
MALFORMED = {
    "no host": a_request(LENGTH, host=b""),
    "two hosts": a_request(LENGTH, b"Host: 127.0.0.1"),
    "a space before a colon": a_request(LENGTH, b"X-A : b"),
    "a header without a colon": a_request(LENGTH, b"X-A"),
    "a signed length": a_request(b"Content-Length: +40"),
    "a negative length": a_request(b"Content-Length: -40"),
    "a length in hexadecimal": a_request(b"Content-Length: 0x28"),
    "a length in other digits": a_request("Content-Length: ٤٠".encode()),
    "two lengths": a_request(LENGTH, b"Content-Length: 7"),
    "a length of thousands of digits": a_request(b"Content-Length: " + b"9" * 5000),
    "a chunk size of 16 digits": a_request(CHUNKED, body=b"FFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n"),
    "a chunk size that is no number": a_request(CHUNKED, body=b"xyz\r\nabc\r\n0\r\n\r\n"),
    "a negative chunk size": a_request(CHUNKED, body=b"-3\r\nabc\r\n0\r\n\r\n"),
    "a length and chunks": a_request(LENGTH, CHUNKED, body=b"28\r\n%b\r\n0\r\n\r\n" % BODY),
    "a chunk longer than its size": a_request(CHUNKED, body=b"1\r\nabc\r\n0\r\n\r\n"),
    "an unknown transfer encoding": a_request(b"Transfer-Encoding: gzip, chunked"),
    "no request": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "another protocol": b"GET / FTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a host that is none": a_request(LENGTH, host=b"Host: ["),
    "a host with a space": a_request(LENGTH, host=b"Host: a b"),
    "an empty host": a_request(LENGTH, host=b"Host:"),
    "an origin that is none": a_request(LENGTH, b"Origin: http://["),
    "a target without a slash": b"GET health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target of all paths": b"GET * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a target of a tunnel": b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a long head": b"GET / HTTP/1.1\r\nX-A: " + b"a" * 66_000,
    "a long line before a chunk": a_request(CHUNKED, body=b"28;" + b"a" * 66_000),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_is_refused(world, name):
    status, body = send(world, MALFORMED[name])

    assert 400 <= status < 500, body
    assert json.loads(body)["status"] == status
    assert is_quick(world)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a header without a colon", (400, "illegal header line")),
        ("a chunk size that is no number", (400, "illegal chunk header")),
        ("a long head", (431, "at most 65536 bytes")),
        ("no host", (400, "Missing mandatory Host: header")),
        ("a target without a slash", (400, "a request's target begins with /")),
    ],
)
def test_the_answer_to_a_malformed_request_says_what_is_wrong_with_it(world, name, expected):
    status, body = send(world, MALFORMED[name])

    assert status == expected[0]
    assert expected[1] in json.loads(body)["detail"]


def test_a_health_check_in_http_1_0_needs_no_host(world):
    status, body = send(world, b"GET /health/live HTTP/1.0\r\n\r\n")

    assert (status, json.loads(body)) == (200, {"status": "live"})


def test_a_body_that_ends_early_appends_nothing(world):
    ends = [world.log.high_watermark("recstream.interactions", n) for n in range(2)]

    with raw(world) as client:
        client.sendall(a_request(b"Content-Length: 1000", body=b"[%b" % BODY))

    assert world.get("/health/live").status == 200
    assert ends == [world.log.high_watermark("recstream.interactions", n) for n in range(2)]


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(world):
    with raw(world) as client:
        client.sendall(a_request(b"Content-Length: 300000000", b"Expect: 100-continue", body=b""))

        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413")


def test_pipelined_requests_are_answered_in_order(world):
    requests = b"".join(
        b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path
        for path in (b"/health/live", b"/nothing", b"/v1/categories")
    )

    with raw(world) as client:
        client.sendall(requests)
        answer = b""
        while answer.count(b"HTTP/1.1 ") < 3 or b"n_items" not in answer:
            answer += client.recv(1 << 16)

    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


HEALTH = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
EVENT = a_request(LENGTH)
WRONG = a_request(LENGTH, body=BODY.replace(b"view", b"vieh"))
PIPELINES = {
    "events in one packet": ([EVENT + EVENT + EVENT], [202, 202, 202]),
    "events in packets": ([EVENT, EVENT, EVENT], [202, 202, 202]),
    "other requests": ([HEALTH + HEALTH], [200, 200]),
    "both": ([EVENT, HEALTH + EVENT, HEALTH], [202, 200, 202, 200]),
    "a wrong event in packets": ([EVENT, WRONG, EVENT, HEALTH], [202, 422, 202, 200]),
    "a wrong event last": ([HEALTH, WRONG], [200, 422]),
    "a half request behind a wrong event": ([WRONG, HEALTH[:20]], [422]),
    "cut": ([EVENT[:40], EVENT[40:] + EVENT[:70], EVENT[70:] + HEALTH], [202, 202, 200]),
    "a half request last": ([EVENT + HEALTH + EVENT[:50]], [202, 200]),
    "a half body last": ([HEALTH + EVENT[:-5]], [200, 400]),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_client_that_ends_its_stream_gets_the_answers_to_all_whole_requests(world, name):
    packets, statuses = PIPELINES[name]
    with raw(world) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            client.sendall(packet)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := client.recv(1 << 16):
            answer += chunk

    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)] == statuses


def test_what_comes_while_a_wrong_event_is_checked_is_answered_after_it(world, monkeypatch):
    server = world.bridge._server
    events, connections = server._single_events, server._server.server_state.connections
    check, may_check = events.read, threading.Event()

    def read(request):
        may_check.wait(DEADLINE_S)
        return check(request)

    monkeypatch.setattr(events, "read", read)
    with raw(world) as client:
        client.sendall(WRONG)
        wait_until(lambda: any(each._is_appending for each in tuple(connections)), "a check")
        client.sendall(HEALTH + EVENT)
        wait_until(lambda: any(each._unread for each in tuple(connections)), "more requests")
        client.shutdown(socket.SHUT_WR)
        may_check.set()
        answer = b""
        while chunk := client.recv(1 << 16):
            answer += chunk

    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) == [b"422", b"200", b"202"]


def test_a_connection_that_cannot_be_answered_holds_up_no_other(caplog):
    class Connection:
        def __init__(self, is_broken=False):
            self.transport, self.is_broken, self.done = self, is_broken, []

        def answer_event(self, answer):
            if self.is_broken:
                raise ZeroDivisionError
            self.done.append(answer)

        def abort(self):
            self.done.append("aborted")

    first, broken, last = Connection(), Connection(is_broken=True), Connection()

    http_server._answer_events([(first, b"1"), (broken, b"2"), (last, None)])

    assert [each.done for each in (first, broken, last)] == [[b"1"], ["aborted"], [None]]
    assert "ZeroDivisionError" in caplog.text
