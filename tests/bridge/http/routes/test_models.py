"""Models over REST: roll back, compare generations; the pipeline's last hour."""

import threading

import msgspec
import pytest

from recstream.bridge.views import PipelineHistory
from recstream.core.records import Lineage, RollbackRequested, decode_control
from recstream.log.topics import CONTROL
from recstream.models import open_store
from tests.bridge.bridge_world import a_list, checker_board, event, running
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A bridge with generations 1 and 2, the second by popularity alone, and two users."""
    with running(tmp_path_factory.mktemp("trained")) as world:
        world.serve_generation(checker_board(1))
        world.serve_generation(checker_board(2, factors=False))
        for user, item in (("even", "i2"), ("odd", "i3")):
            world.fold(event(user, item, "like"), event(user, item[0] + str(int(item[1]) + 2)))
        world.wait_for_views()
        yield world


def test_a_rollback_is_a_record_that_a_trainer_answers(trained):
    answer = trained.post("/v1/models/1/rollback", {"reason": "socks everywhere"})

    assert answer.status == 202, answer.body
    record = decode_control(trained.log.read(CONTROL, 0, answer.json["offset"])[0].value)
    assert isinstance(record, RollbackRequested)
    assert (record.generation, record.reason) == (1, "socks everywhere")


def test_a_generation_that_was_never_announced_can_not_serve_again(trained):
    assert trained.post("/v1/models/9/rollback", {}).status == 404
    assert trained.post("/v1/models/x/rollback", {}).status == 400


def test_a_generation_whose_artifact_was_pruned_can_not_serve_again(tmp_path):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        store = open_store(world.bridge.settings.models_url)
        for name in store.list():
            store.delete(name)

        answer = world.post("/v1/models/1/rollback", {})

    assert (answer.status, answer.json["type"]) == (410, "urn:recstream:problem:artifact-pruned")


def test_two_generations_are_compared_by_their_lists_for_the_same_users(trained):
    answer = trained.get("/v1/models/1/overlap?with=2&n=3").json

    assert (answer["users"], answer["n_identical"]) == (2, 0)
    lists = {one["user"]: one for one in answer["lists"]}
    assert {int(item[1:]) % 2 for item in lists["even"]["a"]} == {0}
    assert {int(item[1:]) % 2 for item in lists["odd"]["a"]} == {1}
    assert lists["odd"]["b"] == ["i0", "i1", "i2"]
    assert answer["mean_overlap"] == pytest.approx(
        sum(len({*one["a"]} & {*one["b"]}) / 3 for one in lists.values()) / 2
    )


def test_a_generation_compared_with_itself_is_the_same(trained):
    answer = trained.get("/v1/models/1/overlap?with=1").json

    assert (answer["mean_overlap"], answer["n_identical"]) == (1.0, 2)


def test_a_second_comparison_at_the_same_time_is_refused_for_now(trained, monkeypatch):
    released, entered = threading.Event(), threading.Event()
    views = trained.bridge.deps.views
    history = views.history

    def slowly(user):
        entered.set()
        released.wait(20)
        return history(user)

    monkeypatch.setattr(views, "history", slowly)
    answers = []
    first = threading.Thread(
        target=lambda: answers.append(trained.get("/v1/models/1/overlap?with=2"))
    )
    first.start()
    entered.wait(20)
    second = trained.get("/v1/models/1/overlap?with=2")
    released.set()
    first.join()

    assert (second.status, second.headers["Retry-After"]) == (503, "1")
    assert answers[0].status == 200


def test_the_history_counts_lists_by_their_freshness(trained):
    clock = trained.clock
    now_ms = round(clock.now.timestamp() * 1000)
    deps = trained.bridge.deps
    kept = PipelineHistory(deps.log, deps.readiness.pipeline, now_ms=lambda: now_ms)
    imported = Lineage(event_ts=now_ms - 86_400_000, appended_ts=now_ms - 90_000)
    lineages = [
        Lineage(event_ts=now_ms - age_ms - 1, appended_ts=now_ms - age_ms)
        for age_ms in (5, 6, 70_000)
    ]
    lists = [
        msgspec.structs.replace(a_list("u", "a"), lineage=each) for each in [*lineages, imported]
    ]
    offsets = trained.log.append([trained.list_record(body) for body in lists])
    kept.observe(
        record
        for at in offsets
        for record in trained.log.read(at.topic, at.partition, at.offset, 1)
    )

    deps.readiness.sample()
    kept.sample()
    kept.sample()

    first, second = kept.points()
    assert first.freshness == (1, 1, *[0] * 11, 1)
    assert second.freshness == ()
    assert (first.events, first.lists) == (4, 4)


def test_the_pipelines_history_is_served(trained):
    answer = wait_until(
        lambda: (got := trained.get("/v1/pipeline/history").json)["points"] and got, "a point"
    )

    assert answer["interval_s"] == 5.0
    assert len(answer["freshness_bounds_ms"]) == 13
    newest = answer["points"][-1]["ts"]
    assert trained.get(f"/v1/pipeline/history?since={newest}").json["points"] == []
