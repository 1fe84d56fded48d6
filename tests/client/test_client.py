"""The clients: what they send to a bridge, what they repeat, and what they give up on."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from recstream.client import AsyncClient, Client, RequestFailed
from tests.bridge.bridge_world import World, running
from tests.client.scripted import FakeClock, Scripted, busy, ok

Handler = Callable[[httpx.Request], httpx.Response]


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


@pytest.mark.parametrize(
    "error", [httpx.UnsupportedProtocol("no http://"), httpx.LocalProtocolError("Illegal header")]
)
def test_does_not_repeat_what_can_not_be_sent(
    call: Callable[..., Any], error: httpx.RequestError
) -> None:
    bridge, clock = Scripted(error), FakeClock()
    with pytest.raises(RequestFailed, match=r"is the address right\?"):
        call(bridge, clock, "get_item", "p1")
    assert clock.now == 0.0


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
