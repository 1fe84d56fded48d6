"""A slow read of the generation delays no push, no list and no socket."""

import threading

import msgspec
import pytest

from recstream.bridge import recommender
from recstream.control import steering_feed
from recstream.core.records import DeltaAnnounced
from recstream.log import MODELS, NewRecord
from tests.bridge.bridge_world import DEADLINE_S, a_list, checker_board, event, running
from tests.waiting import wait_until

PLACEMENTS = {"placements": [{"name": "cart", "size": 2}]}

DELTA = DeltaAnnounced(
    generation=1, delta=1, offsets={}, items=(), factors=b"", bias=b"", counts=b"",
    created_ts=0, catalogue={"i2": None},
)  # fmt: skip
"""Withdraws an item."""


@pytest.fixture
def slow_explain(monkeypatch):
    """Explanations that are being made until the second event is set."""
    entered, release = threading.Event(), threading.Event()
    explain = recommender.explain

    def wait_and_explain(*args, **options):
        entered.set()
        assert release.wait(DEADLINE_S)
        return explain(*args, **options)

    monkeypatch.setattr(recommender, "explain", wait_and_explain)
    yield entered, release
    release.set()


def test_a_slow_explanation_delays_no_push_and_no_list(tmp_path, slow_explain):
    entered, release = slow_explain
    with running(tmp_path) as world:
        world.serve_generation(checker_board())
        assert world.call("PUT", "/v1/steering", PLACEMENTS).status == 202
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(
                world.get("/v1/users/u/recommendations/i1/explanation", headers={}).status
            )
        )
        asking.start()
        assert entered.wait(DEADLINE_S)
        world.log.append([NewRecord(MODELS, b"delta", msgspec.json.encode(DELTA), 0)])

        with world.socket() as client:
            client.hello("u", {"ch": "recs", "placement": "cart"})
            client.receive("recs")
            world.fold(event("u", "i3"), publish=a_list("u", "i5"))
            pushed = client.receive("recs")
        made = world.get("/v1/users/u/recommendations?n=7")
        shelf = world.get("/v1/items/i3/similar")
        was_waiting = not answers
        release.set()
        asking.join(DEADLINE_S)

        assert was_waiting
        assert pushed["requested"]["request"]["placement"] == "cart"
        assert (made.status, shelf.status, answers) == (200, 200, [200])
        wait_until(lambda: world.bridge.deps.recommender.current == (1, 1), "the delta")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/u/recommendations?n=7",
        "/v1/users/u/recommendations/i1/explanation",
        "/v1/users/u/shelves",
    ],
)
def test_a_hanging_read_of_the_rules_delays_no_delta_and_no_other_request(
    tmp_path, monkeypatch, path
):
    hangs, entered, release = threading.Event(), threading.Event(), threading.Event()
    read_control = steering_feed.read_control

    def wait_and_read(*args):
        if hangs.is_set():
            entered.set()
            assert release.wait(DEADLINE_S)
        return read_control(*args)

    monkeypatch.setattr(steering_feed, "read_control", wait_and_read)
    monkeypatch.setattr(steering_feed, "LOOK_EVERY_S", 0.0)
    with running(tmp_path) as world:
        world.serve_generation(checker_board())
        assert world.get(path, headers={}).status == 200
        hangs.set()
        answers = []
        asking = threading.Thread(target=lambda: answers.append(world.get(path, headers={}).status))
        asking.start()
        try:
            assert entered.wait(DEADLINE_S)
            world.log.append([NewRecord(MODELS, b"delta", msgspec.json.encode(DELTA), 0)])
            wait_until(lambda: world.bridge.deps.recommender.current == (1, 1), "the delta")
            other = world.get("/v1/items/i3/similar")
            was_waiting = not answers
        finally:
            release.set()
            asking.join(DEADLINE_S)

        assert was_waiting
        assert (other.status, answers) == (200, [200])
