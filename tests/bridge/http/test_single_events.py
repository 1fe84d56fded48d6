"""Requests with one event each: which of them share an append, and their answers."""

import json
import queue
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from recstream.bridge.http import single_events
from recstream.bridge.http.single_events import SingleEvents
from recstream.log import INTERACTIONS
from tests.bridge.bridge_world import World

WAIT_S = 10.0


def test_events_that_come_soon_after_an_append_share_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deps: Any = SimpleNamespace(settings=SimpleNamespace(allowed_origins=()))
    events, request = SingleEvents(deps), cast(Any, "a request")

    def sleep(seconds: float) -> None:
        if seconds > 0.0:
            events.submit("third", request)

    monkeypatch.setattr(single_events, "time", SimpleNamespace(monotonic=lambda: 7.0, sleep=sleep))
    monkeypatch.setattr(events, "read", lambda request: request)
    monkeypatch.setattr(events, "append", lambda requests: [b""] * len(requests))
    answered: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
    events.answered = lambda answers: answered.put([connection for connection, _ in answers])
    events.start()
    try:
        events.submit("first", request)
        assert answered.get(timeout=WAIT_S) == ["first"]
        events.submit("second", request)
        assert answered.get(timeout=WAIT_S) == ["second", "third"]
    finally:
        events.stop()


def test_the_pause_after_an_append_grows_with_its_events_up_to_sixteen_milliseconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deps: Any = SimpleNamespace(settings=SimpleNamespace(allowed_origins=()))
    events, request = SingleEvents(deps), cast(Any, "a request")
    pauses_ms: list[float] = []

    def sleep(seconds: float) -> None:
        pauses_ms.append(round(1000 * seconds, 3))
        for _ in pauses_ms[1:]:  # one more event in each pause than in the one before
            events.submit("during the pause", request)

    monkeypatch.setattr(single_events, "time", SimpleNamespace(monotonic=lambda: 7.0, sleep=sleep))
    monkeypatch.setattr(events, "read", lambda request: request)
    monkeypatch.setattr(events, "append", lambda requests: [b""] * len(requests))
    n_answered: queue.SimpleQueue[int] = queue.SimpleQueue()
    events.answered = lambda answers: n_answered.put(len(answers))
    events.start()
    try:
        for n in range(1, 8):
            events.submit("before the pause", request)
            assert n_answered.get(timeout=WAIT_S) == n
    finally:
        events.stop()
    assert pauses_ms[:7] == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 16.0]


def test_a_request_that_goes_another_way_does_not_wait_for_the_append(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deps: Any = SimpleNamespace(settings=SimpleNamespace(allowed_origins=()))
    events = SingleEvents(deps)
    answered: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def read(request: str) -> str | None:
        if request == "bad":
            raise ValueError(request)
        return None if request == "unusual" else request

    def append(requests: list[str]) -> list[bytes]:
        answered.put(f"append {requests}")
        return [b"answer"] * len(requests)

    monkeypatch.setattr(events, "read", read)
    monkeypatch.setattr(events, "append", append)
    events.answered = answered.put
    for connection, request in enumerate(("plain", "unusual", "bad", "plain")):
        events.submit(connection, cast(Any, request))
    events.start()
    events.stop()

    assert [answered.get(timeout=WAIT_S) for _ in range(3)] == [
        [(1, "unusual"), (2, None)],
        "append ['plain', 'plain']",
        [(0, b"answer"), (3, b"answer")],
    ]


def test_a_single_event_and_a_batch_of_one_get_the_same_answer(guarded: World) -> None:
    token, _ = guarded.bridge.deps.auth.issue("same")
    body = {"type": "view", "user": "same", "item": "i"}

    alone = guarded.post("/v1/events", body, token=token)
    batch = guarded.post("/v1/events", [body], token=token)

    assert {name.lower() for name in alone.headers} == {name.lower() for name in batch.headers}
    for name, value in batch.headers.items():
        assert alone.headers[name] == value or name.lower() in {"x-request-id", "date"}
    assert alone.json | {"position": ""} == batch.json | {"position": ""}


def test_requests_with_equal_heads_are_told_apart_by_their_bodies(guarded: World) -> None:
    token, _ = guarded.bridge.deps.auth.issue("twice")
    events = [{"type": "view", "user": "twice", "item": each} for each in ("a", "b")]

    answers = [guarded.post("/v1/events", each, token=token) for each in events]

    assert [each.status for each in answers] == [202, 202]
    ids = [each.headers["X-Request-Id"] for each in answers]
    assert len({*ids}) == 2
    assert all(re.fullmatch("[0-9a-f]{24}", each) for each in ids)
    items = [json.loads(r.value)["item"] for r in guarded.records(INTERACTIONS, "twice")]
    assert items == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "is_plain"),
    [
        ("Accept: */*", True),
        ("Connection: Keep-Alive", True),
        ("Connection: close", False),
        ("Origin: https://shop.test", False),
        ("Expect: 100-continue", False),
        ("Host: twice", False),
        ("Transfer-Encoding: chunked", False),
        ("Content-Type : text/plain", False),
    ],
)
def test_a_header_that_asks_for_another_way_gets_it(line: str, is_plain: bool) -> None:
    head = "Host: shop.test\r\nContent-Type: application/json\r\nContent-Length: 2"

    found = single_events._read_head(
        f"POST /v1/events HTTP/1.1\r\n{head}\r\n{line}\r\n\r\n".encode()
    )

    assert (found is not None) is is_plain
