"""What the WebSocket refuses: messages, pages and connections it does not know, bad tokens."""

import contextlib
import json
from contextlib import ExitStack

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from recstream.log import TopicSpec
from tests.bridge.bridge_world import closed, items_of, running
from tests.waiting import wait_until

# Refusals


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b'{"type":"shout"}',
        b'{"no":"type"}',
        b"[1]",
        b'{"type":"hello","subs":[{"ch":"gossip"}]}',
        b'{"type":"hello","surprise":1}',
        b'{"type":"sub","ch":"recs"}',
        b'{"x":' + b"[" * 5000,
        b'{"x":' + b"[" * 8000 + b"]" * 8000 + b"}",
        b"[" * 15_000,
        b'{"type":"hello","subs":[{"ch":"log","since":{"epoch":"e","offset":-2}}]}',
        b'{"type":"hello","subs":[{"ch":"log","since":{"epoch":"e","offset":1e400}}]}',
        b'{"type":"hello","subs":[{"ch":"log","since":{"epoch":"e","offset":9223372036854775808}}]}',
        b'{"type":"hello","subs":[{"ch":"log","partition":99999999999999999999}]}',
        b'{"type":"hello","token":"' + b"\xff" + b'"}',
    ],
)
def test_a_message_that_is_not_of_the_protocol_is_refused(world, message):
    with world.socket() as client:
        client.socket.send(message, text=True)

        if message.isascii():
            assert client.receive("error")["code"] == "invalid-message"
        assert closed(client) in ({1008} if message.isascii() else {1007, 1008})


def test_a_second_hello_is_refused(world):
    with world.socket() as client:
        client.hello("twice")
        client.send(type="hello", user="twice")

        assert closed(client) == 1008


def test_binary_frames_are_refused(world):
    with world.socket() as client:
        client.socket.send(b"{}")

        assert closed(client) == 1003


def test_a_message_above_16_kib_is_too_big(world):
    with world.socket() as client:
        client.socket.send(json.dumps({"type": "hello", "token": "x" * 20_000}))

        assert closed(client) == 1009


def test_a_message_in_fragments_is_one_message(world):
    with world.socket() as client:
        client.socket.send(iter(['{"type":"hel', 'lo","subs":[', '{"ch":"pipeline"}]}']))

        client.receive("welcome")
        client.receive("pipeline")


def test_too_many_messages_close_the_connection(world):
    with world.socket() as client:
        client.hello("chatty")
        with contextlib.suppress(ConnectionClosed):
            for _ in range(200):
                client.send(type="unsub", ch="log")

        assert closed(client) == 4013


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(Opcode.PING, b"x")] * 200,
        [Frame(Opcode.PONG, b"x")] * 200,
        [Frame(Opcode.TEXT, b"{", fin=False), *[Frame(Opcode.CONT, b"", fin=False)] * 200],
    ],
    ids=["pings", "pongs", "fragments"],
)
def test_too_many_frames_of_any_kind_close_the_connection(world, frames):
    with world.socket() as client:
        client.hello("chatty")
        sent = b"".join(frame.serialize(mask=True) for frame in frames)
        with contextlib.suppress(OSError):
            client.socket.socket.sendall(sent)

        assert closed(client) == 4013


def test_pages_of_another_origin_can_not_connect(world):
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{world.address}/v1/ws", origin="https://evil.test")

    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body)["type"].endswith("origin-not-allowed")


def test_the_bridges_own_page_can_connect(world):
    with world.socket(origin=f"http://{world.address}") as client:
        client.hello("page", "recs")


def test_a_plain_request_is_told_to_upgrade(world):
    answer = world.get("/v1/ws")

    assert (answer.status, answer.kind) == (426, "application/problem+json")


def test_a_connection_above_the_limit_is_asked_to_retry(tmp_path):
    with running(tmp_path, max_connections=2) as small, ExitStack() as stack:
        clients = [stack.enter_context(small.socket()) for _ in range(2)]
        for client in clients:
            client.hello("in")
        third = stack.enter_context(small.socket())

        assert closed(third) == 4504


# Tokens


def test_a_token_names_its_subject(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")

    with guarded.socket() as client:
        welcome = client.hello(None, "recs", token=token)

        assert welcome["user"] == "ann"
        assert client.receive("recs")["user"] == "ann"


@pytest.mark.parametrize("hello", [{"user": "ann"}, {"token": "nonsense"}, {}])
def test_without_a_good_token_a_guarded_bridge_closes(guarded, hello):
    with guarded.socket() as client:
        client.send(type="hello", **hello)

        assert client.receive("error")["code"] == "forbidden"
        assert closed(client) == 4503


def test_a_token_may_not_be_used_for_another_user(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")

    with guarded.socket() as client:
        client.send(type="hello", token=token, user="bob")

        assert closed(client) == 4503


def test_an_expired_token_has_a_code_of_its_own(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann", ttl_s=1)
    guarded.clock.advance(2)

    with guarded.socket() as client:
        client.send(type="hello", token=token)

        assert closed(client) == 4001


def test_a_users_token_may_follow_only_that_users_records(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")

    with guarded.socket() as client:
        client.hello(None, {"ch": "log", "partition": 0}, token=token)
        assert client.receive("error")["code"] == "forbidden"
        client.send(type="sub", ch="log", user="bob")
        client.receive("welcome")
        assert client.receive("error")["code"] == "forbidden"
        client.send(type="sub", ch="log")
        assert client.receive("welcome")["subs"][0]["ch"] == "log"


def test_the_log_channel_has_no_topics_of_other_systems(guarded):
    guarded.log.create_topics([TopicSpec("orders", 1)])
    token, _ = guarded.bridge.deps.auth.issue("ann")

    with guarded.socket() as client:
        client.hello(None, {"ch": "log", "topic": "orders"}, token=token)
        assert client.receive("error")["code"] == "not-found"


def test_a_token_that_runs_out_ends_the_connection_unless_refreshed(tmp_path):
    secret = "s" * 40
    with running(tmp_path, secret=secret) as world:
        world.bridge.deps.connections.ping_s = 0.05
        issue = world.bridge.deps.auth.issue
        with world.socket() as kept, world.socket() as lost:
            for client in (kept, lost):
                client.hello(None, "recs", token=issue("ann", ttl_s=10)[0])
                client.receive("recs")
            world.clock.advance(5)
            kept.send(type="refresh", token=issue("ann", ttl_s=60)[0])
            kept.send(type="sub", ch="recs")
            kept.receive("welcome")
            world.clock.advance(6)

            assert closed(lost) == 4001
            world.publish("ann", "still", "here")
            wait_until(lambda: items_of(kept.receive("recs")) == ["still", "here"])
