"""The trainer over a real log, turn by turn."""

import threading

import msgspec
import pytest

from recstream.control import new_control_record
from recstream.core.records import (
    DeltaAnnounced,
    Forgotten,
    PipelineRecord,
    TrainerStatus,
    TrainingProgress,
    TrainingRequested,
)
from recstream.errors import LogFenced, LogUnavailable, ModelStoreUnavailable
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL, INTERACTIONS, MODELS, PIPELINE
from recstream.models import fetch
from recstream.trainer import executor, leadership, loop
from recstream.trainer.training.backend import InProcessBackend
from tests.trainer.trainer_world import SETTINGS, likes, work
from tests.waiting import wait_until
from tests.worker.worker_world import NOW_MS, PARTITIONS, event, single


def test_generation_0_is_there_at_once_and_factors_follow_with_events(place):
    trainer = place.trainer()
    work(trainer, place.announced)
    assert place.announced()[0].hyperparameters["n_factors"] == 0

    place.world.feed([single(each) for each in likes()])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    first = place.announced()[1]
    assert (first.generation, first.parent, first.n_users) == (1, 0, 30)
    assert first.offsets == {
        str(p): place.world.log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)
    }
    assert fetch(place.store, first).n_factors == 4
    told = [
        msgspec.json.decode(r.value, type=PipelineRecord) for r in place.world.read(PIPELINE, 0)
    ]
    states = [t.state for t in told if isinstance(t, TrainingProgress) and t.generation == 1]
    assert states[0] == "training"
    assert states[-1] == "done"
    assert len(states) >= 2 + SETTINGS.iterations


def test_a_request_trains_at_once_and_is_answered_once(place):
    place.world.feed([single(each) for each in likes(n_users=2)])
    trainer = place.trainer()
    work(trainer, place.announced)

    asked = TrainingRequested(id="r1", requested_ts=NOW_MS)
    place.world.log.append([NewRecord(CONTROL, b"train", msgspec.json.encode(asked))])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    again = place.trainer("b")
    work(again, lambda: again.generation is not None)
    assert again._inputs.commands.newest is None
    again.close()


def test_deltas_keep_coming_while_nothing_is_trained(place):
    trainer = place.trainer()
    work(trainer, place.announced)
    place.world.feed([single(event(1, "u1", "p0"))])

    work(trainer, lambda: place.announced(DeltaAnnounced))
    place.world.feed([single(event(2, "u2", "p1"))])
    work(trainer, lambda: len(place.announced(DeltaAnnounced)) == 2)
    trainer.close()

    assert [each.delta for each in place.announced(DeltaAnnounced)] == [1, 2]


def test_events_during_a_training_are_in_the_first_delta_after_it(place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    work(trainer, lambda: trainer._executor.is_busy)
    place.world.feed([single(event(5000, "u1", "meanwhile"))])

    work(trainer, lambda: len(place.announced()) == 2)
    work(trainer, lambda: any(d.generation == 1 for d in place.announced(DeltaAnnounced)))
    trainer.close()

    (first, *_) = [d for d in place.announced(DeltaAnnounced) if d.generation == 1]
    assert "meanwhile" in first.items


def test_a_delta_the_log_did_not_take_is_sent_again_before_the_next(place, monkeypatch):
    trainer = place.trainer()
    work(trainer, place.announced)
    tell = trainer._publisher.publish_deltas

    def refuse(_):
        raise LogUnavailable("for a moment")

    monkeypatch.setattr(trainer._publisher, "publish_deltas", refuse)
    place.world.feed([single(event(1, "u1", "p0"))])
    with pytest.raises(LogUnavailable):
        work(trainer, lambda: False)
    monkeypatch.setattr(trainer._publisher, "publish_deltas", tell)
    place.world.feed([single(event(2, "u2", "p1"))])
    work(trainer, lambda: len(place.announced(DeltaAnnounced)) == 2)
    trainer.close()

    assert [each.delta for each in place.announced(DeltaAnnounced)] == [1, 2]
    assert place.announced(DeltaAnnounced)[0].items == ("p0",)


def test_a_second_trainer_stands_by_until_the_first_is_gone(place):
    first, second = place.trainer("a"), place.trainer("b")
    work(first, place.announced)
    for _ in range(4):
        for each in (second, first):
            each._leadership.next_lease = 0.0
            each.step()
    assert first.generation is not None
    assert second.generation is None

    first.close()
    second._leadership.next_lease = 0.0
    work(second, lambda: second.generation is not None)
    second.close()

    assert len(place.announced()) == 1


def test_a_trainer_keeps_its_lease_while_it_reads_a_generation_with_many_deltas(place, monkeypatch):
    first = place.trainer("a")
    work(first, place.announced)
    first.close()
    goes_on = threading.Event()
    find = loop.find_newest
    monkeypatch.setattr(loop, "find_newest", lambda feed: goes_on.wait(30) and find(feed))
    monkeypatch.setattr(loop, "LEASE_EVERY_S", 0.01)
    again = place.trainer("b")
    kept = []
    hold = again._leadership._lease.hold
    monkeypatch.setattr(again._leadership._lease, "hold", lambda: kept.append(hold()) or kept[-1])

    def turn(until):
        while not until():
            again._leadership.next_lease = 0.0
            again.step()

    turn(lambda: kept[-3:] == [True] * 3)
    assert again.generation is None
    goes_on.set()
    turn(lambda: again.generation is not None)
    again.close()

    assert len(place.announced()) == 1


def test_inputs_are_not_read_while_a_state_that_nobody_waits_for_is_still_restored(
    place, monkeypatch
):
    first = place.trainer("a")
    work(first, place.announced)
    first.close()
    goes_on = threading.Event()
    find = loop.find_newest
    monkeypatch.setattr(loop, "find_newest", lambda feed: goes_on.wait(30) and find(feed))
    monkeypatch.setattr(loop, "LEASE_EVERY_S", 0.01)
    again = place.trainer("b")
    work(again, lambda: again._restoring is not None)
    polled: list[float] = []
    poll = again._inputs.poll
    monkeypatch.setattr(again._inputs, "poll", lambda s: polled.append(s) or poll(s))

    again._stand_by()
    for _ in range(3):
        again._leadership.next_lease = 0.0
        again.step()
    assert (polled, again.generation) == ([], None)

    goes_on.set()
    work(again, lambda: again.generation is not None)
    again.close()
    assert polled
    assert len(place.announced()) == 1


def test_a_trainer_taken_for_dead_can_not_announce(place):
    first = place.trainer("a")
    work(first, place.announced)
    first._leadership._lease.release()

    with pytest.raises(LogFenced):
        first._leadership._lease.append([NewRecord(MODELS, b"delta", b"{}")])
    first.close()


def test_old_artifacts_are_pruned(place):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer()
    for number in range(1, 5):
        work(trainer, lambda number=number: len(place.announced()) >= number)
        asked = TrainingRequested(id=f"r{number}", requested_ts=NOW_MS)
        place.world.log.append([NewRecord(CONTROL, b"train", msgspec.json.encode(asked))])
    trainer.close()

    assert len(place.store.list()) == 2


def test_a_trainer_stops_on_request(place):
    trainer = place.trainer()
    stopping = threading.Event()
    thread = threading.Thread(target=trainer.serve, args=(stopping,))
    thread.start()
    stopping.set()
    thread.join(10.0)

    assert not thread.is_alive()
    trainer.close()


def test_idle_trainers_send_heartbeats_and_say_who_is_active(place, monkeypatch):
    monkeypatch.setattr(leadership, "HEARTBEAT_S", 0.05)
    stopping = threading.Event()
    trainers = [place.trainer("a"), place.trainer("b")]
    threads = [threading.Thread(target=each.serve, args=(stopping,)) for each in trainers]

    def beats():
        told = [
            msgspec.json.decode(r.value, type=PipelineRecord) for r in place.world.read(PIPELINE, 0)
        ]
        return [each for each in told if isinstance(each, TrainerStatus)]

    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len([each for each in beats() if each.is_active]) > 3, "heartbeats")
        wait_until(lambda: {each.trainer for each in beats()} == {"a", "b"}, "both")
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
        for each in trainers:
            each.close()

    active = {each.trainer for each in beats() if each.is_active}
    assert len(active) == 1
    assert beats()[-1].lag == 0


def test_a_heartbeat_says_that_the_store_is_away(place, monkeypatch):
    trainer = place.trainer()
    stopping = threading.Event()

    def away():
        stopping.set()
        raise ModelStoreUnavailable("mongodb://user:secret@host is away")

    monkeypatch.setattr(trainer, "step", away)
    monkeypatch.setattr(stopping, "wait", lambda _: None)
    trainer.serve(stopping)
    trainer.close()

    (record,) = place.world.read(PIPELINE, 0)
    assert msgspec.json.decode(record.value, type=PipelineRecord) == TrainerStatus(
        trainer="a", is_active=False, waits_for="the model store is away or full", ts=NOW_MS
    )


def test_a_heartbeat_says_that_a_trained_artifact_waits_for_the_store(place, monkeypatch):
    monkeypatch.setattr(executor, "STORE_RETRY_S", 0.01)
    trainer = place.trainer()
    work(trainer, place.announced)
    put = type(place.store).put
    stopping = threading.Event()

    def away(*_):
        raise ModelStoreUnavailable("away")

    monkeypatch.setattr(type(place.store), "put", away)
    place.world.feed([single(each) for each in likes()])
    thread = threading.Thread(target=trainer.serve, args=(stopping,))
    thread.start()

    def waits_for():
        beats = [r.value for r in place.world.read(PIPELINE, 0) if b'"trainer"' in r.value]
        return msgspec.json.decode(beats[-1], type=PipelineRecord).waits_for if beats else ""

    wait_until(lambda: waits_for() == "the model store is away or full", "the reason")
    monkeypatch.setattr(type(place.store), "put", put)
    wait_until(lambda: not waits_for() and len(place.announced()) == 2, "the announcement")
    stopping.set()
    thread.join()
    trainer.close()


def test_a_pause_between_reads_never_costs_the_lease_however_rare_deltas_are(place, monkeypatch):
    paused_s = []
    monkeypatch.setattr(loop, "sleep", paused_s.append)
    trainer = place.trainer(settings=msgspec.structs.replace(SETTINGS, delta_every_s=600.0))
    work(trainer, place.announced)

    place.world.feed([single(each) for each in likes()])
    work(trainer, lambda: len(place.announced()) == 2)
    trainer.close()

    assert 0.0 < max(paused_s) < leadership.LEASE_EVERY_S


@pytest.mark.parametrize("end", ["the lease is lost", "the training fails"])
def test_a_forgotten_user_is_trained_out_although_the_first_training_came_to_nothing(
    place, monkeypatch, end
):
    place.world.feed([single(each) for each in likes()])
    trainer = place.trainer("a")
    work(trainer, lambda: len(place.announced()) == 2)
    may_go_on, has_begun, run = threading.Event(), threading.Event(), InProcessBackend.run

    def interrupted(self, job, progress):
        if has_begun.is_set():
            return run(self, job, progress)
        has_begun.set()
        assert may_go_on.wait(60.0)
        raise MemoryError("no memory is left")

    monkeypatch.setattr(InProcessBackend, "run", interrupted)
    monkeypatch.setattr(loop, "RETRY_S", 0.1)
    forgotten = Forgotten(id="f", partition=0, at_offset=1_000_000, forgotten_ts=NOW_MS + 1)
    place.world.log.append([new_control_record(forgotten)])
    work(trainer, has_begun.is_set)
    if end == "the lease is lost":
        trainer._leadership._lease.release()
        trainer._leadership.next_lease = 0.0
        work(trainer, lambda: not trainer._leadership.is_active)
        trainer._leadership.next_lease = 0.0
    may_go_on.set()

    work(trainer, lambda: len(place.announced()) == 3)
    trainer.close()
