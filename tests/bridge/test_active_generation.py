"""Which generation a bridge serves, and what it says until it serves one."""

import threading
from contextlib import ExitStack

import msgspec

from recstream.core.generation import Generation
from recstream.log.port import NewRecord
from recstream.log.topics import MODELS
from recstream.process.kernels import Kernels
from tests.bridge.bridge_world import checker_board, running, withdrawal
from tests.bridge.http.conftest import items_of
from tests.waiting import wait_until


def test_a_new_generation_is_adopted_and_a_corrupt_one_is_not(tmp_path):
    with running(tmp_path) as world:
        serving = world.bridge.deps.recommender
        world.serve_generation(checker_board(1))
        world.announce(checker_board(2), digest="wrong")
        world.announce(checker_board(3))
        wait_until(lambda: serving.current == (3, 0), "adoption of generation 3")
        world.announce(checker_board(4), digest="wrong")
        world.log.append([NewRecord(MODELS, None, b"not a model", 0)])
        world.wait_for_views()

        assert serving.current == (3, 0)
        assert world.get("/v1/models").json["serving"] == 3
        assert [m["generation"] for m in world.get("/v1/models").json["models"]] == [4, 3, 2, 1]
        assert world.get("/v1/models/2").json["generation"] == 2
        assert world.get("/v1/models/9").status == 404
        assert world.get("/v1/models/x").status == 400


def test_a_bridge_that_starts_serves_the_newest_generation_it_can_read(tmp_path):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        world.announce(checker_board(2), digest="wrong")
        world.wait_for_views()

    with running(tmp_path) as again:
        wait_until(lambda: again.bridge.deps.recommender.current == (1, 0), "adoption")


def test_a_bridge_that_starts_is_not_ready_before_its_generation_is_active(tmp_path, monkeypatch):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        world.log.append([NewRecord(MODELS, None, msgspec.json.encode(withdrawal("i0")), 0)])
        world.wait_for_views()

    goes_on = threading.Event()
    apply_delta = Generation.apply_delta
    monkeypatch.setattr(
        Generation, "apply_delta", lambda *each: goes_on.wait(30) and apply_delta(*each)
    )
    with running(tmp_path) as again, ExitStack() as waiting:
        said = "bridge: preparing 1 products, 0 %"
        wait_until(
            lambda: said in again.get("/health/ready?role=bridge").json["waits_for"], "the progress"
        )
        assert again.get("/").status == 200
        client = waiting.enter_context(again.socket())
        client.hello("ann", "recs")
        assert client.receive("recs")["items"] == []
        goes_on.set()
        assert len(client.receive("recs")["items"]) > 0
        wait_until(lambda: again.get("/health/ready?role=bridge").status == 200, "readiness")
        assert again.bridge.deps.recommender.current == (1, 1)


def test_a_bridge_that_waits_for_kernels_says_so_and_counts_no_products(tmp_path, monkeypatch):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        unchanged = msgspec.structs.replace(withdrawal("i0"), catalogue={})
        world.log.append([NewRecord(MODELS, None, msgspec.json.encode(unchanged), 0)])
        world.wait_for_views()

    goes_on, compiled = threading.Event(), threading.Event()
    apply_delta = Generation.apply_delta
    monkeypatch.setattr(
        Generation, "apply_delta", lambda *each: goes_on.wait(30) and apply_delta(*each)
    )
    monkeypatch.setattr(Kernels, "wait", lambda _: compiled.wait(30))
    monkeypatch.setattr(Kernels, "is_compiling", property(lambda _: not compiled.is_set()))
    with running(tmp_path) as again:
        for said, event in (("preparing the model, 0 %", goes_on), ("compiling kernels", compiled)):
            wait_until(
                lambda said=said: (
                    f"bridge: {said}" in again.get("/health/ready?role=bridge").json["waits_for"]
                ),
                said,
            )
            event.set()
        wait_until(lambda: again.get("/health/ready?role=bridge").status == 200, "readiness")


def test_a_bridge_that_falls_back_applies_the_older_generations_deltas(tmp_path):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        world.log.append([NewRecord(MODELS, None, msgspec.json.encode(withdrawal("i0")), 0)])
        world.announce(checker_board(2), digest="wrong")
        world.wait_for_views()

    with running(tmp_path) as again:
        wait_until(lambda: again.bridge.deps.recommender.current == (1, 1), "activation")
        assert "i0" not in items_of(again.get("/v1/popular?n=12"))


def test_a_product_withdrawn_in_a_generation_that_cannot_be_read_is_not_listed(tmp_path):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        world.announce(checker_board(2), digest="wrong")
        newer = msgspec.structs.replace(withdrawal("i0"), generation=2)
        world.log.append([NewRecord(MODELS, None, msgspec.json.encode(newer), 0)])
        wait_until(lambda: "i0" not in items_of(world.get("/v1/popular?n=12")), "the withdrawal")
        world.wait_for_views()

    with running(tmp_path) as again:
        wait_until(lambda: again.bridge.deps.recommender.current == (1, 0), "activation")
        assert "i0" not in items_of(again.get("/v1/popular?n=12"))
