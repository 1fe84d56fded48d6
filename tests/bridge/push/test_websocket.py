"""The WebSocket protocol: snapshot then live, recovery, slow clients, the end."""

import asyncio
import json
import threading

import pytest
from websockets.frames import Frame, Opcode

from recstream.bridge.push import websocket
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS, PIPELINE, RECOMMENDATIONS
from tests.bridge.bridge_world import (
    DEADLINE_S,
    a_list,
    checker_board,
    closed,
    event,
    items_of,
    running,
)
from tests.waiting import wait_until


def test_the_snapshot_comes_first_and_then_every_newer_list(world):
    first = world.publish("snap", "a", "b")
    world.wait_for_views()

    with world.socket() as client:
        welcome = client.hello("snap", "recs")
        snapshot = client.receive("recs")
        second = world.publish("snap", "b", "a", generation=2)
        live = client.receive("recs")

    assert (welcome["epoch"], welcome["ping_s"]) == (world.log.epoch, 25)
    assert welcome["subs"] == [{"ch": "recs", "offset": first, "recovered": False}]
    assert (snapshot["offset"], items_of(snapshot)) == (first, ["a", "b"])
    assert (live["offset"], items_of(live)) == (second, ["b", "a"])
    assert (live["epoch"], live["generation"], live["user"]) == (world.log.epoch, 2, "snap")


def test_a_user_nobody_knows_gets_a_list_at_once(world):
    with world.socket() as client:
        client.hello("nobody", "recs")

        assert client.receive("recs")["source"] == "popular"


def test_a_list_that_was_made_is_made_again_by_a_newer_generation(tmp_path):
    with running(tmp_path) as world:
        world.publish("published", "a")
        world.wait_for_views()
        with world.socket() as made, world.socket() as published:
            for client, user in ((made, "nobody"), (published, "published")):
                client.hello(user, "recs")
                client.receive("recs")
            world.announce(checker_board(1, factors=False))
            again = made.receive("recs")
            world.publish("published", "b")

            assert (again["source"], again["generation"]) == ("popular", 1)
            assert items_of(published.receive("recs")) == ["b"]


def test_other_users_lists_are_not_sent(world):
    with world.socket() as client:
        client.hello("mine", "recs")
        client.receive("recs")
        world.publish("theirs", "x")
        world.publish("mine", "y")

        assert client.receive("recs")["user"] == "mine"


def test_who_is_up_to_date_gets_no_snapshot(world):
    offset = world.publish("same", "a")
    world.wait_for_views()
    since = {"epoch": world.log.epoch, "offset": offset}

    with world.socket() as client:
        welcome = client.hello("same", {"ch": "recs", "since": since})
        newer = world.publish("same", "b")

        assert welcome["subs"] == [{"ch": "recs", "offset": offset, "recovered": True}]
        assert client.receive("recs")["offset"] == newer


def test_a_client_that_missed_lists_gets_the_newest_and_a_notice_of_recovery(world):
    old = world.publish("missed", "a")
    newest = [world.publish("missed", "b"), world.publish("missed", "c")][-1]
    world.wait_for_views()

    with world.socket() as client:
        since = {"epoch": world.log.epoch, "offset": old}
        welcome = client.hello("missed", {"ch": "recs", "since": since})

        assert welcome["subs"][0]["recovered"] is True
        assert client.receive("recs")["offset"] == newest


def test_a_position_in_another_log_is_not_recovered_but_gets_the_snapshot(world):
    offset = world.publish("other", "a")
    world.wait_for_views()

    with world.socket() as client:
        since = {"epoch": "another", "offset": offset + 100}
        welcome = client.hello("other", {"ch": "recs", "since": since})

        assert welcome["subs"][0]["recovered"] is False
        assert client.receive("recs")["offset"] == offset


def test_what_the_user_has_seen_is_filtered_from_snapshot_and_push(world):
    world.fold(event("seen", "a"), publish=a_list("seen", "a", "b", "c"))
    world.wait_for_views()

    with world.socket() as client:
        client.hello("seen", "recs")
        snapshot = client.receive("recs")
        world.fold(event("seen", "b"), publish=a_list("seen", "b", "c", "a", generation=2))
        live = client.receive("recs")

    assert items_of(snapshot) == ["b", "c"]
    assert [one["rank"] for one in snapshot["items"]] == [1, 2]
    assert items_of(live) == ["c"]


def test_nothing_is_lost_between_snapshot_and_live(world):
    stop = threading.Event()
    published = [world.publish("race", "i0")]

    def publish():
        while not stop.is_set():
            published.append(world.publish("race", f"i{len(published)}"))

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        last = []
        for _ in range(20):
            with world.socket() as client:
                client.hello("race", "recs")
                offsets = [client.receive("recs")["offset"] for _ in range(3)]
                last.append(offsets)
    finally:
        stop.set()
        publisher.join()

    assert all(offsets == sorted(set(offsets)) for offsets in last)
    with world.socket() as client:
        client.hello("race", "recs")
        wait_until(lambda: client.receive("recs")["offset"] == published[-1], "the newest list")


def test_sub_adds_a_channel_and_unsub_ends_it(world):
    with world.socket() as client:
        client.hello("later")
        client.send(type="sub", ch="recs")
        welcome = client.receive("welcome")
        client.receive("recs")
        client.send(type="unsub", ch="recs")
        client.send(type="sub", ch="pipeline")
        client.receive("welcome")
        client.receive("pipeline")
        world.publish("later", "a")
        world.wait_for_views()
        client.send(type="sub", ch="pipeline")

        # The pipeline may change at any time; a list would come before the second welcome.
        answers = iter(lambda: client.receive()["type"], None)
        assert welcome["subs"][0]["ch"] == "recs"
        assert next(each for each in answers if each != "pipeline") == "welcome"


def test_the_pipeline_is_sent_at_once_and_when_it_changes(world):
    with world.socket() as client:
        client.hello(None, "pipeline")
        client.receive("pipeline")
        progress = {"type": "training", "state": "training", "iteration": 3, "iterations": 12}
        world.log.append([NewRecord(PIPELINE, None, json.dumps(progress).encode(), 0)])

        answers = iter(lambda: client.receive("pipeline").get("training"), 0)
        assert next(each for each in answers if each)["iteration"] == 3


# The log channel


def test_the_log_channel_sends_a_users_records_in_order(world):
    with world.socket() as client:
        client.hello("logged", "log")
        for number in range(5):
            world.post("/v1/events", {"type": "view", "user": "logged", "item": f"p{number}"})
            world.post("/v1/events", {"type": "view", "user": "somebody", "item": "x"})
        got = [client.receive("log") for _ in range(5)]

    assert [one["value"]["item"] for one in got] == ["p0", "p1", "p2", "p3", "p4"]
    assert {one["key"] for one in got} == {"logged"}
    assert [one["offset"] for one in got] == sorted(one["offset"] for one in got)


def test_the_log_channel_resumes_behind_an_offset_without_a_gap(world):
    places = [
        world.log.append([NewRecord(INTERACTIONS, None, b'{"n":%d}' % number, 0)])[0].offset
        for number in range(700)
    ]
    since = {"epoch": world.log.epoch, "offset": places[1]}

    with world.socket() as client:
        welcome = client.hello(None, {"ch": "log", "partition": 0, "since": since})
        got = [client.receive("log")["value"]["n"] for _ in range(698)]
        world.log.append([NewRecord(INTERACTIONS, None, b'{"n":700}', 0)])
        live = client.receive("log")

    assert welcome["subs"][0]["recovered"] is True
    assert got == list(range(2, 700))
    assert live["value"] == {"n": 700}


def test_who_is_too_far_behind_gets_a_gap_that_names_what_is_missing(world):
    first = world.log.high_watermark(INTERACTIONS, 0)
    world.log.append([NewRecord(INTERACTIONS, None, b'{"n":%d}' % n, 0) for n in range(12_000)])
    since = {"epoch": world.log.epoch, "offset": first - 1}

    with world.socket() as client:
        client.hello(None, {"ch": "log", "partition": 0, "since": since})
        gap = client.receive("gap")
        following = client.receive("log")

    assert (gap["topic"], gap["partition"], gap["from"]) == (INTERACTIONS, 0, first)
    assert following["offset"] == gap["to"] + 1
    assert following["value"]["n"] == gap["to"] + 1 - first


def test_a_log_position_of_another_epoch_cannot_be_recovered(world):
    with world.socket() as client:
        client.send(
            type="hello", user="u", subs=[{"ch": "log", "since": {"epoch": "gone", "offset": 3}}]
        )

        assert closed(client) == 4010


@pytest.mark.parametrize(
    ("sub", "code"),
    [
        ({"ch": "log", "topic": "nothing", "partition": 0}, "not-found"),
        ({"ch": "log", "partition": 99}, "not-found"),
        ({"ch": "log"}, "invalid-message"),
        ({"ch": "recs"}, "forbidden"),
    ],
)
def test_a_refused_subscription_is_an_error_and_the_others_continue(world, sub, code):
    with world.socket() as client:
        welcome = client.hello(None, sub, "pipeline")
        error = client.receive("error")

        assert [one["ch"] for one in welcome["subs"]] == ["pipeline"]
        assert (error["code"], error["temporary"], error["ch"]) == (code, False, sub["ch"])
        assert "/" not in error["detail"]  # no path of the bridge's machine
        client.receive("pipeline")


# Positions and order


@pytest.mark.parametrize("beyond", [1, 1000, (1 << 63) - 1])
@pytest.mark.parametrize("channel", ["recs", "log"])
def test_a_position_beyond_the_end_is_not_recovered(world, channel, beyond):
    newest = world.publish("beyond", "a")
    world.wait_for_views()
    topic = {"topic": RECOMMENDATIONS} if channel == "log" else {}
    since = {"epoch": world.log.epoch, "offset": min(newest + beyond, (1 << 63) - 1)}

    with world.socket() as client:
        welcome = client.hello("beyond", {"ch": channel, "since": since, **topic})
        (state,) = welcome["subs"]
        if channel == "log":
            world.publish("beyond", "b")
        message = client.receive(channel)

    assert not state["recovered"]
    assert message["offset"] == (newest if channel == "recs" else newest + 1)


def test_messages_that_come_while_a_subscription_is_read_keep_their_order(world, monkeypatch):
    hub = world.bridge.deps.hub
    prepare, receive = hub.prepare, websocket.WebSocketConnection._message
    second_came = threading.Event()
    started: list[str] = []

    def late(subscription, **options):
        started.append(subscription.ch)
        if subscription.ch == "recs":
            assert second_came.wait(DEADLINE_S)
            assert started == ["recs"]
        return prepare(subscription, **options)

    def noted(connection, raw):
        receive(connection, raw)
        if b"pipeline" in raw:
            # Behind what the message itself may have started in another thread.
            asyncio.get_running_loop().run_in_executor(None, second_came.set)

    monkeypatch.setattr(hub, "prepare", late)
    monkeypatch.setattr(websocket.WebSocketConnection, "_message", noted)
    with world.socket() as client:
        client.send(type="hello", user="order", subs=[{"ch": "recs"}])
        client.send(type="sub", ch="pipeline")
        first = client.receive("welcome")
        client.receive("recs")
        second = client.receive("welcome")

    assert [[one["ch"] for one in welcome["subs"]] for welcome in (first, second)] == [
        ["recs"],
        ["pipeline"],
    ]


def test_a_list_published_while_its_subscription_is_read_is_not_missed(world, monkeypatch):
    hub = world.bridge.deps.hub
    prepare = hub.prepare
    world.publish("gap", "a")
    world.wait_for_views()

    def slowly(*arguments, **options):
        prepared = prepare(*arguments, **options)
        world.publish("gap", "b")
        world.wait_for_views()
        return prepared

    monkeypatch.setattr(hub, "prepare", slowly)
    with world.socket() as client:
        client.hello("gap", "recs")

        assert items_of(client.receive("recs")) == ["b"]


def test_a_log_that_answers_late_delays_no_other_connection(world, monkeypatch):
    released = threading.Event()
    watermark = world.log.high_watermark

    def late(topic, partition):
        if topic == INTERACTIONS and threading.current_thread().name != "follow":
            released.wait(DEADLINE_S)
        return watermark(topic, partition)

    with world.socket() as client:
        client.hello("quick", "recs")
        client.receive("recs")
        monkeypatch.setattr(world.log, "high_watermark", late)
        with world.socket() as waiting:
            waiting.send(type="hello", user="late", subs=[{"ch": "pipeline"}, {"ch": "log"}])
            world.publish("quick", "a")

            assert items_of(client.receive("recs")) == ["a"]
            released.set()
            waiting.receive("welcome")


def test_an_internal_error_is_said_with_a_close_code(world, monkeypatch):
    def broken(raw):  # noqa: ARG001
        raise ZeroDivisionError

    with world.socket() as client:
        monkeypatch.setattr(websocket, "decode_client", broken)
        client.send(type="hello")

        assert closed(client) == 1011


@pytest.mark.parametrize("n", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_a_message_is_the_frame_that_another_library_makes(n):
    payload = b"x" * n

    assert websocket.text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
