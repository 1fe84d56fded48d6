"""Artifacts that are lost, damaged or can't be stored: the trainer numbers on and waits."""

import errno
import threading

import msgspec
import pytest

from recstream.checkpoints import Checkpoints, retain
from recstream.control import submit
from recstream.control.reader import read_timeline
from recstream.core.records import DeltaAnnounced, RollbackRequested
from recstream.errors import ModelStoreUnavailable
from recstream.log import MODELS
from recstream.models import ModelFeed, announcements, start_of_generations
from recstream.replay.retrain import DerivedStore, retrain
from recstream.time_travel.generations import Generations
from tests.trainer.trainer_world import Place, likes, work
from tests.worker.worker_world import SETTINGS, event, single


@pytest.fixture
def trained(place: Place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()
    return place


def lose(place: Place, name: str) -> None:
    place.store.delete(name)


def numbers(log) -> list[int]:
    """Return the numbers of the announced generations, the newest first."""
    return [each.generation for _, each in announcements(log)]


def damage(place: Place, name: str) -> None:
    place.store.put(name, b"no artifact")


@pytest.mark.parametrize("harm", [lose, damage])
@pytest.mark.parametrize("n_lost", [1, 2])
def test_a_generation_whose_artifact_is_lost_gets_a_successor_of_another_number(
    trained, harm, n_lost
):
    for each in trained.announced()[-n_lost:]:
        harm(trained, each.artifact)

    again = trained.trainer("b")
    work(again, lambda: len(trained.announced()) >= 3)
    again.close()

    assert [each.generation for each in trained.announced()] == [0, 1, 2]
    log = trained.world.log
    announced = Generations(log, trained.store).announced
    found = list(retrain(log, announced, read_timeline(log), DerivedStore(), trained.store))
    assert [(each.number, bool(each.derived), each.is_identical) for each in found] == [
        (0, True, True),
        (1, True, True),
        (2, True, True),
    ]


def test_a_generation_that_serves_for_a_lost_one_may_lose_its_announcement(trained):
    lose(trained, trained.announced()[-1].artifact)
    again = trained.trainer("b")
    work(again, lambda: again.generation is not None)
    assert again.generation.number == 0
    log = trained.world.log
    log.delete_before(MODELS, 0, start_of_generations(log, 1))
    again._publisher.next_artifact_check = 0.0

    again._publisher.restore_artifact(again.generation)
    submit(log, RollbackRequested(id="r", generation=0, requested_ts=0))
    work(again, lambda: numbers(log)[0] == 2)
    again.close()


def test_a_rollback_is_refused_though_the_serving_generation_lost_its_announcement(
    trained, monkeypatch, caplog
):
    lose(trained, trained.announced()[-1].artifact)
    again = trained.trainer("b")
    monkeypatch.setattr(again, "_is_due", lambda: False)
    work(again, lambda: again.generation is not None)
    log = trained.world.log
    log.delete_before(MODELS, 0, start_of_generations(log, 1))
    submit(log, RollbackRequested(id="r", generation=77, requested_ts=0))

    work(again, lambda: "rollback not done generation=77" in caplog.text)
    again.close()

    assert not again._inputs.commands.is_held
    assert again.generation.number == 0


def test_retention_keeps_the_generation_that_serves_for_a_lost_one(trained):
    log = trained.world.log
    settings = msgspec.structs.replace(
        SETTINGS, keep_models=1, models=f"file://{trained.store.folder}"
    )
    checkpoints = Checkpoints(log, trained.store)
    lost = trained.announced()[-1]
    lose(trained, lost.artifact)

    assert retain(checkpoints, settings, now_ms=0).models == 0
    assert ModelFeed(log, trained.store).newest().number == 0

    again = trained.trainer("b")
    work(again, lambda: len(trained.announced()) >= 3)
    again.close()
    assert retain(checkpoints, settings, now_ms=0).models > 0
    assert numbers(log) == [2]


@pytest.mark.parametrize(
    "error", [ModelStoreUnavailable("away"), OSError(errno.ENOSPC, "No space left on device")]
)
def test_a_store_that_is_away_is_waited_for(place, monkeypatch, error):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    calls: list[str] = []
    put, get, stamp = type(place.store).put, type(place.store).get, type(place.store).stamp
    stopping = threading.Event()
    monkeypatch.setattr("recstream.trainer.executor.STORE_RETRY_S", 0.01)
    monkeypatch.setattr(stopping, "wait", lambda _: None)

    def refuse(*_: object) -> None:
        calls.append("x")
        raise error

    def away(refused: int) -> None:
        calls.clear()
        for name in ("put", "get", "list", "delete", "stamp"):
            monkeypatch.setattr(type(place.store), name, refuse)
        thread = threading.Thread(target=trainer.serve, args=(stopping,))
        thread.start()
        while len(calls) < refused:
            assert thread.is_alive(), "the trainer ended"
        stopping.set()
        thread.join()
        stopping.clear()
        monkeypatch.setattr(type(place.store), "put", put)
        monkeypatch.setattr(type(place.store), "get", get)
        monkeypatch.setattr(type(place.store), "stamp", stamp)

    away(3)
    work(trainer, lambda: len(place.announced()) == 1)
    place.world.feed([single(event(900, "u1", "p1"))])
    away(3)
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    assert [each.generation for each in place.announced()] == [0, 1]


def test_an_artifact_is_kept_though_its_announcement_is_not_visible_yet(place, monkeypatch):
    """On Kafka readers see a committed record only when the transaction's markers are written."""
    monkeypatch.setattr("recstream.trainer.deltas.publisher.announcements", lambda _: iter(()))
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    assert sorted(place.store.list()) == sorted(each.artifact for each in place.announced())


@pytest.mark.parametrize("harm", [lose, damage])
def test_an_artifact_that_is_lost_or_damaged_while_it_is_served_is_stored_again(
    place, caplog, harm
):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: len(place.announced()) == 2)
    place.world.feed([single(event(5000, "u1", "later"))])
    work(trainer, lambda: place.announced(DeltaAnnounced))
    lost = place.announced()[-1].artifact
    content = place.store.get(lost)
    trainer.step()
    harm(place, lost)

    trainer._publisher.next_artifact_check = 0.0
    work(trainer, lambda: lost in place.store.list() and place.store.get(lost) == content)
    trainer.close()

    assert place.store.get(lost) == content
    assert "stored again" in caplog.text


def test_a_takeover_needs_no_announcement_that_retention_deletes_meanwhile(trained, monkeypatch):
    log = trained.world.log
    again = trained.trainer("b")
    finish = again._finish_take_over

    def prune_and_finish(*found):
        log.delete_before(MODELS, 0, log.high_watermark(MODELS, 0))
        finish(*found)

    monkeypatch.setattr(again, "_finish_take_over", prune_and_finish)

    work(again, lambda: again.generation is not None)
    again.close()

    assert again.generation.number == 1
