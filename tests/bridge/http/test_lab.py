"""The lab over REST: replay a range with other rules or another model; synthetic traffic."""

import threading
from datetime import UTC, datetime

import pytest

from recstream.log.topics import INTERACTIONS
from recstream.runtime.demo_shop import seed_shop
from tests.bridge.bridge_world import DEADLINE_S, NOW, SECRET, running
from tests.waiting import wait_until

LONG_AGO = "2020-01-01T00:00:00Z"


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


def test_traffic_of_the_demo_shop_is_switched_on_and_off(tmp_path):
    with running(tmp_path) as world:
        refused = world.call("PUT", "/v1/traffic", {"rate": 50})
        seed_shop(world.log, seed=0, now=datetime(2026, 11, 22, tzinfo=UTC))
        before = n_events(world)

        on = world.call("PUT", "/v1/traffic", {"rate": 100}).json
        wait_until(lambda: n_events(world) > before + 3, "events")
        assert world.get("/v1/traffic").json["n_sent"] > 3
        off = world.call("PUT", "/v1/traffic", {"rate": 0}).json
        sent = n_events(world)

        assert (refused.status, refused.json["type"]) == (409, "urn:recstream:problem:no-demo-shop")
        assert (on["rate"], on["since_ts"]) == (100.0, round(NOW.timestamp() * 1000))
        assert (off["rate"], off["n_sent"], off["why_not"]) == (0.0, 0, "")
        assert n_events(world) == sent


def n_events(world):
    return sum(world.log.high_watermark(INTERACTIONS, p) for p in range(2))


@pytest.mark.parametrize(("allowed", "status"), [(False, 403), (True, 200)])
def test_a_bridge_with_a_secret_sends_traffic_only_if_a_setting_allows_it(
    tmp_path, allowed, status
):
    with running(tmp_path, secret=SECRET, allow_traffic=allowed) as world:
        seed_shop(world.log, seed=0, now=datetime(2026, 11, 22, tzinfo=UTC))
        token, _ = world.bridge.deps.auth.issue(None)

        assert world.call("PUT", "/v1/traffic", {"rate": 1}, token=token).status == status


def test_a_generation_that_was_never_announced_is_not_found(world):
    answer = world.post("/v1/what-if/log", {"generation": 99})

    assert answer.status == 404
