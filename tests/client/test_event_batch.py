"""Batches of events: what is sent together, kept, repeated and given up on."""

import json
import math
from decimal import Decimal
from typing import Any

import httpx
import pytest

from recstream.client import Client, EventBatch, RequestFailed
from tests.client.scripted import Scripted
from tests.waiting import wait_until


def test_a_batch_keeps_what_something_else_than_a_bridge_took() -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(httpx.Response(200, json={"status": "ok"}), answer)
    with Client(transport=httpx.MockTransport(bridge)) as client:
        batch = EventBatch(client)
        batch.add(type="view", user="u1", item="p1")
        with pytest.raises(RequestFailed, match="is the address right"):
            batch.flush()
        batch.flush()
    assert sent_items(bridge) == [["p1"], ["p1"]]


@pytest.mark.parametrize("given", [{}, {"id": "", "ts": ""}, {"id": None, "ts": None}])
def test_a_batch_gives_an_event_its_id_and_time(given: dict[str, Any]) -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(answer)
    with Client(transport=httpx.MockTransport(bridge)) as client, EventBatch(client) as batch:
        batch.add(type="view", user="u1", item="p1", **given)
    (sent,) = json.loads(bridge.requests[0].content)
    assert sent["id"]
    assert sent["ts"]


def test_a_batch_sends_full_requests_and_the_rest_at_its_end() -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(answer)
    with (
        Client(transport=httpx.MockTransport(bridge)) as client,
        EventBatch(client, size=3) as batch,
    ):
        for number in range(7):
            batch.add(type="view", user="u1", item=f"p{number}")
    sent = [json.loads(each.content) for each in bridge.requests]
    assert [len(each) for each in sent] == [3, 3, 1]
    assert [event["item"] for each in sent for event in each] == [f"p{n}" for n in range(7)]


def test_a_batch_keeps_what_it_could_not_send() -> None:
    answer = httpx.Response(202, json={"accepted": 2, "duplicates": 0, "rejected": []})
    bridge = Scripted(httpx.Response(403, json={"detail": "no"}), answer)
    with Client(transport=httpx.MockTransport(bridge)) as client:
        batch = EventBatch(client, size=10)
        batch.add(type="view", user="u1", item="p1")
        with pytest.raises(RequestFailed):
            batch.flush()
        batch.add(type="view", user="u1", item="p2")
        batch.flush()
    first, second = [json.loads(each.content) for each in bridge.requests]
    assert second[0] == first[0]
    assert [event["item"] for event in second] == ["p1", "p2"]


def sent_items(bridge: Scripted) -> list[list[str]]:
    return [[event["item"] for event in json.loads(each.content)] for each in bridge.requests]


def test_a_batch_sends_what_waited_during_an_outage_in_requests_of_1000_events() -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(answer)
    with Client(transport=httpx.MockTransport(bridge)) as client:
        batch = EventBatch(client, size=1000, wait_s=600)
        batch._events = [{"type": "view", "user": "u", "item": f"p{n}"} for n in range(2_500)]
        batch.flush()
    assert [len(each) for each in sent_items(bridge)] == [1000, 1000, 500]


def test_a_batch_halves_requests_that_are_too_large_and_rejects_an_event_that_is() -> None:
    def bridge(request: httpx.Request) -> httpx.Response:
        if len(json.loads(request.content)) > 2 or b'"big"' in request.content:
            return httpx.Response(413, json={"detail": "expected at most 1048576 bytes"})
        items.extend(event["item"] for event in json.loads(request.content))
        return httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})

    items: list[str] = []
    with (
        Client(transport=httpx.MockTransport(bridge)) as client,
        EventBatch(client, size=10) as batch,
    ):
        for item in ("a", "b", "big", "c", "d"):
            batch.add(type="view", user="u1", item=item, id=f"id-{item}")
    assert items == ["a", "b", "c", "d"]
    assert [(each["id"], each["code"]) for each in batch.rejected] == [("id-big", "too-large")]


@pytest.mark.parametrize("status", [403, 422])
def test_a_batch_of_which_no_event_is_accepted_does_not_stop_the_next(status: int) -> None:
    wrong = {"index": 0, "id": "e1", "pointer": "/0/user", "code": "forbidden", "detail": "no"}
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(httpx.Response(status, json={"detail": "no", "rejected": [wrong]}), answer)
    with (
        Client(transport=httpx.MockTransport(bridge)) as client,
        EventBatch(client, size=1) as batch,
    ):
        batch.add(type="view", user="u1", item="p1")
        batch.add(type="view", user="u2", item="p2")
    assert sent_items(bridge) == [["p1"], ["p2"]]
    assert batch.rejected == [wrong]


def test_a_batch_keeps_the_first_refused_events_and_counts_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recstream.client.batch.MOST_REJECTED", 3, raising=False)

    def bridge(request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        wrong = [{"index": at, "id": each["id"]} for at, each in enumerate(sent)]
        return httpx.Response(422, json={"detail": "no", "rejected": wrong})

    with (
        Client(transport=httpx.MockTransport(bridge)) as client,
        EventBatch(client, size=2) as batch,
    ):
        for number in range(10):
            batch.add(type="view", user="u1", item="p1", id=f"e{number}")
    assert [each["id"] for each in batch.rejected] == ["e0", "e1", "e2"]
    assert batch.n_rejected == 10


@pytest.mark.parametrize(
    "value", [Decimal("1.5"), math.nan, "\ud800"], ids=["decimal", "nan", "surrogate"]
)
def test_an_event_that_json_cant_hold_is_refused_and_the_others_are_sent(value: Any) -> None:
    answer = httpx.Response(202, json={"accepted": 2, "duplicates": 0, "rejected": []})
    bridge = Scripted(answer)
    with (
        Client(transport=httpx.MockTransport(bridge)) as client,
        EventBatch(client, size=10) as batch,
    ):
        batch.add(type="view", user="u1", item="p1")
        with pytest.raises((TypeError, ValueError)):
            batch.add(type="rate", user="u1", item="p2", value=value)
        batch.add(type="view", user="u1", item="p3")
    assert sent_items(bridge) == [["p1", "p3"]]


def test_an_event_whose_adding_raises_is_not_sent() -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    refusal = httpx.Response(401, json={"detail": "the token has expired"})
    bridge = Scripted(refusal, refusal, answer)
    with (
        Client(transport=httpx.MockTransport(bridge)) as client,
        EventBatch(client, size=1) as batch,
    ):
        batch.add(type="view", user="u1", item="p1")
        with pytest.raises(RequestFailed):
            batch.add(type="view", user="u1", item="p2")
        batch.add(type="view", user="u1", item="p2")
    assert sent_items(bridge) == [["p1"], ["p1"], ["p1"], ["p2"]]


def test_the_end_of_a_batch_sends_again_what_failed_late() -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(httpx.Response(401, json={"detail": "expired"}), answer)
    with (
        Client(transport=httpx.MockTransport(bridge)) as client,
        EventBatch(client, wait_s=0.0) as batch,
    ):
        batch.add(type="view", user="u1", item="p1")
        wait_until(lambda: len(bridge.requests) == 1, "the late request")
    assert sent_items(bridge) == [["p1"], ["p1"]]
