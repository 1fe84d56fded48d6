"""Every thread of a bridge goes on after an error that nobody listed, or ends the bridge."""

import threading

import msgspec
import pytest

from recstream.bridge import active_generation
from recstream.bridge.active_generation import ActiveGeneration
from recstream.bridge.follower import Follower
from recstream.bridge.http_server import HttpServer
from recstream.bridge.readiness import Readiness
from recstream.bridge.views import PipelineHistory
from recstream.catalogue import CatalogueView
from recstream.core.events import encode_event
from recstream.core.generation import Generation
from recstream.core.records import DeltaAnnounced
from recstream.errors import ModelStoreUnavailable, NotFound
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS, MODELS
from recstream.models import ArtifactPrefetch
from recstream.process import threads
from tests.bridge.bridge_world import a_list, checker_board, event, items_of, running
from tests.waiting import wait_until


class Unlisted(Exception):
    """No module names this error."""


@pytest.fixture
def fail_once(monkeypatch):
    """Make a method raise an error once, and return the names of the threads it was raised in."""

    def arrange(owner, name):
        method, raised = getattr(owner, name), []

        def failing(*arguments, **options):
            if not raised:
                raised.append(threading.current_thread().name)
                raise Unlisted
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, failing)
        return raised

    monkeypatch.setattr(threads, "_PAUSES_S", (0.01,))
    return arrange


def test_lists_are_pushed_after_an_error_of_the_follower(tmp_path, fail_once):
    with running(tmp_path) as world, world.socket() as client:
        client.hello("ann", "recs")
        client.receive("recs")
        raised = fail_once(Follower, "take")
        world.publish("bob", "i1")
        wait_until(lambda: raised, "the error")
        world.publish("ann", "i2")

        assert items_of(client.receive("recs")) == ["i2"]
        assert raised == ["follow"]
        assert "bridge: the log is not followed" in world.get("/health/ready").json["waits_for"]


def test_generations_are_activated_after_an_error(tmp_path, fail_once):
    with running(tmp_path) as world:
        raised = fail_once(ActiveGeneration, "_activate")
        world.announce(checker_board(1))
        wait_until(lambda: world.bridge.deps.recommender.current == (1, 0), "activation")

    assert raised == ["activate"]


@pytest.mark.parametrize("error", [ModelStoreUnavailable("away"), PermissionError(13, "away")])
def test_the_newest_generation_is_activated_when_a_store_that_was_away_is_back(
    tmp_path, monkeypatch, error
):
    monkeypatch.setattr(active_generation, "RETRY_S", 0.05)
    fetch = ArtifactPrefetch.fetch
    calls = []

    def away(*arguments):
        calls.append(arguments)
        raise error

    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        monkeypatch.setattr(ArtifactPrefetch, "fetch", away)
        world.announce(checker_board(2))
        wait_until(lambda: len(calls) > 2, "attempts")
        away_now = world.get("/health/ready?role=bridge")
        monkeypatch.setattr(ArtifactPrefetch, "fetch", fetch)
        wait_until(lambda: world.bridge.deps.recommender.current == (2, 0), "activation")
        again = world.get("/health/ready?role=bridge")

    note = "generation 2 can't be read from the model store, generation 1 is served"
    assert (away_now.status, away_now.json["roles"]["bridge"]["note"]) == (200, note)
    assert (again.status, "note" in again.json["roles"]["bridge"]) == (200, False)


def test_the_newest_generation_is_activated_when_its_lost_artifact_was_stored_again(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(active_generation, "REFUSED_RETRY_S", 0.05)
    fetch = ArtifactPrefetch.fetch
    calls = []

    def gone(*arguments):
        calls.append(arguments)
        raise NotFound("the artifact is gone")

    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        monkeypatch.setattr(ArtifactPrefetch, "fetch", gone)
        world.announce(checker_board(2))
        wait_until(lambda: len(calls) > 1, "attempts")
        ready = world.get("/health/ready?role=bridge").json
        monkeypatch.setattr(ArtifactPrefetch, "fetch", fetch)
        wait_until(lambda: world.bridge.deps.recommender.current == (2, 0), "activation")

    assert ready["roles"]["bridge"]["note"].startswith("generation 2 can't be read")


def test_a_bridge_without_a_generation_is_not_ready_while_the_store_is_away(tmp_path, monkeypatch):
    def away(*_):
        raise ModelStoreUnavailable("away")

    monkeypatch.setattr(ArtifactPrefetch, "fetch", away)
    with running(tmp_path) as world:
        world.announce(checker_board(1))
        ready = wait_until(
            lambda: (found := world.get("/health/ready?role=bridge")).status == 503 and found,
            "a bridge that is not ready",
        )

    assert ready.json["waits_for"] == ["bridge: new generations are not activated"]


def test_a_generation_is_read_again_when_a_delta_was_applied_in_part(tmp_path, fail_once):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        before = world.bridge.deps.recommender._sources.active.generation
        raised = fail_once(Generation, "own")
        delta = DeltaAnnounced(
            generation=1, delta=1, offsets={}, items=(), factors=b"", bias=b"", counts=b"",
            created_ts=0, catalogue={"i1": None},
        )  # fmt: skip
        world.log.append([NewRecord(MODELS, b"delta", msgspec.json.encode(delta), 0)])
        wait_until(lambda: world.bridge.deps.recommender.current == (1, 1), "the delta")

    assert raised == ["activate"]
    assert world.bridge.deps.recommender._sources.active.generation is not before


def test_items_are_read_after_an_error_of_the_catalogues_thread(tmp_path, fail_once):
    with running(tmp_path) as world:
        raised = fail_once(CatalogueView, "_changes")
        world.put_items(i1="Home")
        wait_until(lambda: world.get("/v1/items/i1").status == 200, "the item")

    assert raised == ["catalogue"]


def test_the_log_channel_misses_nothing_after_an_error(tmp_path, fail_once):
    with running(tmp_path) as world, world.socket() as client:
        client.hello(None, {"ch": "log", "topic": INTERACTIONS, "partition": 0})
        feed = world.bridge.deps.hub._feed
        wait_until(lambda: feed._tail is not None, "the tail")
        raised = fail_once(type(feed._tail), "poll")
        users = []
        for user in map(str, range(40)):
            (place,) = world.log.append([record(user)])
            if place.partition == 0:
                users.append(user)
        received = [client.receive("log")["key"] for _ in users]

    assert raised
    assert received == users


@pytest.mark.parametrize(
    ("owner", "name", "thread"),
    [(PipelineHistory, "sample", "pipeline-history"), (Readiness, "_update", "readiness")],
)
def test_samples_are_taken_after_an_error(tmp_path, fail_once, monkeypatch, owner, name, thread):
    monkeypatch.setattr("recstream.bridge.readiness.SAMPLE_S", 0.01)
    monkeypatch.setattr("recstream.bridge.views.pipeline_history.SAMPLE_S", 0.01)
    with running(tmp_path) as world:
        raised = fail_once(owner, name)
        world.fold(event("ann", "i1"), publish=a_list("ann", "i2"))
        wait_until(lambda: raised, "the error")
        wait_until(
            lambda: world.get("/v1/pipeline/history").json["points"][-1].get("events"), "a point"
        )

    assert raised == [thread]


def test_an_error_that_ends_the_loop_of_connections_ends_the_bridge(tmp_path):
    with running(tmp_path) as world:
        world.bridge.deps.connections.post(_exit)
        assert world.bridge.ended.wait(10)

    assert isinstance(world.bridge.failure, SystemExit)


def test_an_error_of_the_http_server_ends_the_bridge(tmp_path, fail_once):
    fail_once(HttpServer, "_run")
    with running(tmp_path) as world:
        assert world.bridge.ended.wait(10)

    assert isinstance(world.bridge.failure, Unlisted)


def _exit():
    raise SystemExit


def record(user):
    return NewRecord(INTERACTIONS, user.encode(), encode_event(event(user, "i1")))
