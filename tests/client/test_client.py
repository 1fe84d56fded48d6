"""The clients: what they send to a bridge, what they repeat, and what they give up on."""

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from recstream.client import AsyncClient, Client, EventBatch, RequestFailed
from tests.bridge.bridge_world import World, running
from tests.waiting import wait_until

Handler = Callable[[httpx.Request], httpx.Response]


class FakeClock:
    """A clock that only `sleep` moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


class Scripted:
    """A bridge that gives one answer after another, and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(params=["waiting", "asyncio"])
def call(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Call a method of either client against a handler."""

    def waiting(handler: Handler, clock: FakeClock, method: str, *args: Any, **more: Any) -> Any:
        with Client(
            transport=httpx.MockTransport(handler),
            clock=clock.read,
            sleep=clock.sleep,
            draw=lambda: 1.0,
        ) as client:
            return getattr(client, method)(*args, **more)

    async def coroutine(
        handler: Handler, clock: FakeClock, method: str, *args: Any, **more: Any
    ) -> Any:
        async def sleep(seconds: float) -> None:
            clock.sleep(seconds)

        async with AsyncClient(
            transport=httpx.MockTransport(handler), clock=clock.read, sleep=sleep, draw=lambda: 1.0
        ) as client:
            return await getattr(client, method)(*args, **more)

    if request.param == "waiting":
        return waiting
    return lambda *args, **more: asyncio.run(coroutine(*args, **more))


def ok() -> httpx.Response:
    return httpx.Response(200, json={"item": "p1", "title": "Lute"})


def busy(status: int = 503, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, json={"detail": "overloaded"})


def test_repeats_what_a_busy_bridge_refused(call: Callable[..., Any]) -> None:
    bridge, clock = Scripted(busy(), busy(429), ok()), FakeClock()
    assert call(bridge, clock, "get_item", "p1")["title"] == "Lute"
    assert clock.waits == [0.2, 0.4]


def test_waits_as_long_as_the_bridge_asks(call: Callable[..., Any]) -> None:
    bridge, clock = Scripted(busy(**{"Retry-After": "7"}), ok()), FakeClock()
    call(bridge, clock, "get_item", "p1")
    assert clock.waits == [7.0]


def test_repeats_what_found_no_bridge(call: Callable[..., Any]) -> None:
    bridge, clock = (
        Scripted(httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), ok()),
        FakeClock(),
    )
    assert call(bridge, clock, "get_item", "p1")["item"] == "p1"


def test_gives_up_after_its_patience(call: Callable[..., Any]) -> None:
    bridge, clock = Scripted(httpx.ConnectError("refused")), FakeClock()
    with pytest.raises(RequestFailed, match=r"GET /v1/items/p1: no answer.*refused.*is it running"):
        call(bridge, clock, "get_item", "p1")
    assert clock.now < 30


def test_does_not_repeat_what_was_wrong(call: Callable[..., Any]) -> None:
    wrong = httpx.Response(422, json={"detail": "n must be above 0", "errors": [{"pointer": "/n"}]})
    bridge = Scripted(wrong)
    with pytest.raises(RequestFailed, match=r"422 n must be above 0") as caught:
        call(bridge, FakeClock(), "recommend", "u1", n=0)
    assert caught.value.status == 422
    assert caught.value.problem["errors"] == [{"pointer": "/n"}]
    assert len(bridge.requests) == 1


def test_an_event_keeps_its_id_however_often_it_is_sent(call: Callable[..., Any]) -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(busy(), busy(), answer)
    call(bridge, FakeClock(), "send_events", {"type": "view", "user": "u1", "item": "p1"})
    first, *others = [json.loads(each.content)["id"] for each in bridge.requests]
    assert first
    assert others == [first, first]


@pytest.mark.parametrize(
    ("item", "path"),
    [
        ("a/b", b"a%2Fb"),
        ("ü ?#%", b"%C3%BC%20%3F%23%25"),
        ("..", b"%2E%2E"),
        (".", b"%2E"),
        ("a.b", b"a.b"),
    ],
)
def test_ids_of_any_text_stand_in_the_path(
    item: str, path: bytes, call: Callable[..., Any]
) -> None:
    bridge = Scripted(ok())
    call(bridge, FakeClock(), "get_item", item)
    assert bridge.requests[0].url.raw_path == b"/v1/items/" + path


def test_ids_in_parameters_may_contain_commas(call: Callable[..., Any]) -> None:
    bridge = Scripted(httpx.Response(200, json={"items": [], "next": ""}))

    call(bridge, FakeClock(), "find_items", ids=["a,b", "ü"])

    assert json.loads(bridge.requests[0].url.params["ids"]) == ["a,b", "ü"]


@pytest.mark.parametrize("user", ["", 42, None])
def test_an_id_that_is_no_text_is_refused_before_it_is_sent(
    user: Any, call: Callable[..., Any]
) -> None:
    bridge = Scripted(httpx.Response(200, json={}))

    with pytest.raises(ValueError, match="an id is a text that is not empty, got"):
        call(bridge, FakeClock(), "recommend", user)

    assert bridge.requests == []


def test_an_answer_that_is_no_json_is_a_failure_with_its_status(call: Callable[..., Any]) -> None:
    with pytest.raises(RequestFailed, match="404 Not Found"):
        call(Scripted(httpx.Response(404, text="<html>")), FakeClock(), "get_item", "p1")


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "<html>log in to this network</html>"},
        {"json": ["p1"]},
        {"content": b"no gzip", "headers": {"Content-Encoding": "gzip"}},
    ],
)
def test_a_success_that_is_no_answer_of_a_bridge_is_a_failure(
    answer: dict[str, Any], call: Callable[..., Any]
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        given = dict(answer)
        if content := given.pop("content", b""):
            given["stream"] = httpx.ByteStream(content)
        return httpx.Response(200, **given)

    with pytest.raises(RequestFailed, match=r"GET /v1/items/p1: .*is the address right"):
        call(handler, FakeClock(), "get_item", "p1")


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


@pytest.mark.parametrize("given", [{}, {"id": ""}, {"id": None}])
def test_an_event_without_an_id_gets_one(given: dict[str, Any], call: Callable[..., Any]) -> None:
    answer = httpx.Response(202, json={"accepted": 1, "duplicates": 0, "rejected": []})
    bridge = Scripted(busy(), answer)
    call(
        bridge, FakeClock(), "send_events", [{"type": "view", "user": "u1", "item": "p1", **given}]
    )
    first, again = [json.loads(each.content)[0]["id"] for each in bridge.requests]
    assert first == again != ""
    assert first is not None


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


@pytest.mark.parametrize(
    ("token", "sent"), [(None, None), ("", None), (" \n", None), ("abc\n", "Bearer abc")]
)
def test_a_token_of_an_empty_variable_is_none_and_one_of_a_file_has_no_line_end(
    token: str | None, sent: str | None
) -> None:
    bridge = Scripted(httpx.Response(200, json={"items": []}))
    with Client(token=token, transport=httpx.MockTransport(bridge)) as client:
        client.popular()

    assert bridge.requests[0].headers.get("authorization") == sent


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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("client")) as world:
        yield world


def test_the_client_works_with_a_real_bridge(world: World) -> None:
    with Client(world.bridge.url) as shop:
        shop.put_item("a/b", title="Lute", category="Music")
        assert shop.get_item("a/b")["title"] == "Lute"
        answer = shop.send_events([{"type": "view", "user": "u1", "item": "a/b"}])
        assert (answer["accepted"], answer["rejected"]) == (1, [])
        assert "items" in shop.recommend("nobody", n=3)
        shop.delete_item("a/b")
        with pytest.raises(RequestFailed) as caught:
            shop.get_item("a/b")
    assert caught.value.status == 404
