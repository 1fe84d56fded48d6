"""What-if over REST: a list, or a range of the log, with other events, rules or another model."""

import threading

import pytest

from tests.bridge.bridge_world import DEADLINE_S
from tests.bridge.conftest import USER

LONG_AGO = "2020-01-01T00:00:00Z"


def test_a_what_if_gives_list_beside_list(past):
    world, _ = past
    plain = world.post("/v1/what-if", {"user": USER}).json
    first = plain["before"]["items"][0]["item"]
    rule = {"action": "exclude", "name": "hide", "where": {"items": [first]}}

    answer = world.post("/v1/what-if", {"user": USER, "steering": {"rules": [rule]}}).json

    assert (plain["change"], plain["is_identical"]) == (
        {"entered": [], "left": [], "moved": []},
        True,
    )
    assert [one["item"] for one in answer["change"]["left"]] == [first]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"user": "u", "rules": []}, 422),
        ({"user": USER, "without": ["x"]}, 400),
        ({"user": USER, "as_of": "soon"}, 400),
        ({"user": USER, "generation": 99}, 404),
        ({"user": USER, "steering": {"arms": [{"name": "a", "share": 0.5}]}}, 422),
    ],
)
def test_a_what_if_that_can_not_be_is_a_problem(past, body, status):
    world, _ = past

    answer = world.post("/v1/what-if", body)

    assert (answer.status, answer.kind) == (status, "application/problem+json"), answer.body


def test_a_range_is_replayed_and_compared_with_published_lists(past):
    world, _ = past

    same = world.post("/v1/what-if/log", {"from": LONG_AGO})
    older = world.post("/v1/what-if/log", {"from": LONG_AGO, "generation": 0}).json

    assert same.status == 200, same.body
    assert same.json["n_events"] > 10
    assert same.json["was"] == same.json["would"]
    assert same.json["hit_10"]["verdict"] == "too early to say"
    assert older["n_events"] == same.json["n_events"]
    assert sum(point["events"] for point in older["curve"]) == older["n_events"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"from": "soon"}, 400),
        ({"from": LONG_AGO, "generation": 99}, 404),
        ({"limit": 0}, 422),
        ({"steering": {"arms": [{"name": "a", "share": 0.5}]}}, 422),
    ],
)
def test_a_replay_that_can_not_be_is_a_problem(past, body, status):
    world, _ = past

    answer = world.post("/v1/what-if/log", body)

    assert (answer.status, answer.kind) == (status, "application/problem+json"), answer.body


def test_one_replay_runs_at_a_time(past, monkeypatch):
    world, _ = past
    entered, released = threading.Event(), threading.Event()
    service = world.bridge.deps.time_travel
    ask = service.ask

    def slowly(question):
        entered.set()
        released.wait(DEADLINE_S)
        return ask(question)

    monkeypatch.setattr(service, "ask", slowly)
    first = threading.Thread(target=lambda: world.post("/v1/what-if/log", {"from": LONG_AGO}))
    first.start()
    entered.wait(DEADLINE_S)
    second = world.post("/v1/what-if/log", {"from": LONG_AGO})
    released.set()
    first.join()

    assert (second.status, second.headers["Retry-After"]) == (503, "1")


def test_a_generation_that_was_never_announced_is_not_found(world):
    answer = world.post("/v1/what-if/log", {"generation": 99})

    assert answer.status == 404
