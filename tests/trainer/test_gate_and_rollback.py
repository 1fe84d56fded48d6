"""The trainer does not adopt what is clearly worse, and goes back to a generation when asked to."""

import threading

import msgspec
import numpy as np
import pytest

from recstream.control.reader import read_timeline
from recstream.core.records import (
    DeltaAnnounced,
    GenerationAnnounced,
    PipelineRecord,
    RollbackRequested,
    TrainingProgress,
    TrainingRequested,
)
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL, INTERACTIONS, MODELS, PIPELINE
from recstream.models import fetch
from recstream.replay.retrain import DerivedStore, retrain
from recstream.time_travel.generations import Generations
from recstream.trainer import leadership, loop
from tests.trainer.trainer_world import SETTINGS, Place, work
from tests.waiting import wait_until
from tests.worker.worker_world import NOW_MS, PARTITIONS, event, single

N_USERS, N_ITEMS, N_EACH = 150, 40, 14
USELESS = {"regularization": 1e9, "content_weight": 0.0, "behaviour_weight": 0.0}


def tastes(*, from_event: int = 0, n_each: int = N_EACH, seed: int = 0) -> list[dict]:
    """Even users view even items, odd users odd ones, in rounds: a newest event is everybody's."""
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(N_ITEMS // 2) for _ in range(N_USERS)]
    return [
        event(from_event + at * N_USERS + user, f"u{user}", f"p{orders[user][at] * 2 + user % 2}")
        for at in range(n_each)
        for user in range(N_USERS)
    ]


@pytest.fixture
def settings():
    return msgspec.structs.replace(SETTINGS, n_factors=8, iterations=6, keep_generations=9)


def ask(place: Place, request: TrainingRequested | RollbackRequested) -> None:
    place.world.log.append([NewRecord(CONTROL, None, msgspec.json.encode(request), 0)])


def told(place: Place) -> list[TrainingProgress]:
    found = [
        msgspec.json.decode(r.value, type=PipelineRecord) for r in place.world.read(PIPELINE, 0)
    ]
    return [each for each in found if isinstance(each, TrainingProgress)]


def train(place: Place, trainer, **more: object) -> GenerationAnnounced:
    n_before = len(place.announced())
    ask(place, TrainingRequested(id=f"r{n_before}", requested_ts=NOW_MS, **more))
    work(trainer, lambda: len(place.announced()) > n_before)
    return place.announced()[-1]


@pytest.fixture
def trainer(place, settings):
    place.world.feed([single(each) for each in tastes()])
    made = place.trainer(settings=settings)
    work(made, lambda: len(place.announced()) == 2)
    yield made
    made.close()


def test_a_good_candidate_is_adopted_and_says_how_it_was_judged(place, trainer) -> None:
    announced = train(place, trainer)

    gate_result = announced.gate_result
    assert gate_result is not None
    assert gate_result.users >= 30
    assert gate_result.is_accepted
    assert gate_result.candidate > gate_result.popular
    assert gate_result.serving is not None


def test_what_was_held_out_reaches_the_items_as_the_first_delta(place, trainer) -> None:
    announced = place.announced()[-1]
    work(trainer, lambda: place.announced(DeltaAnnounced))

    moved = place.announced(DeltaAnnounced)[-1]
    generation = fetch(place.store, announced)
    before = {item: int(generation.model.item_counts[at]) for item, at in generation.rows.items()}
    counts = dict(zip(moved.items, np.frombuffer(moved.counts, np.int32).tolist(), strict=True))
    gained = sum(counts[item] - before[item] for item in counts)
    assert gained == announced.gate_result.items == int(N_USERS * N_EACH * 0.02)


def test_a_candidate_that_learned_nothing_is_not_adopted_and_the_reason_is_given(
    place, trainer
) -> None:
    trainer._executor._chosen |= USELESS

    ask(place, TrainingRequested(id="bad", requested_ts=NOW_MS))
    work(trainer, lambda: told(place)[-1].state == "rejected")

    assert len(place.announced()) == 2
    assert "clearly below" in told(place)[-1].detail
    assert trainer.generation.number == 1


def test_a_candidate_is_adopted_by_force(place, trainer) -> None:
    trainer._executor._chosen |= USELESS

    announced = train(place, trainer, force=True)

    assert announced.generation == 2
    assert announced.gate_result is not None
    assert not announced.gate_result.is_accepted


def test_a_rollback_serves_the_old_factors_under_a_new_number(place, trainer) -> None:
    train(place, trainer)

    ask(place, RollbackRequested(id="back", generation=1, requested_ts=NOW_MS))
    work(trainer, lambda: len(place.announced()) == 4)

    newest = place.announced()[-1]
    assert (newest.generation, newest.copies, newest.parent) == (3, 1, 1)
    old, copied = (fetch(place.store, place.announced()[at]) for at in (1, 3))
    assert np.array_equal(old.model.item_factors, copied.model.item_factors)
    assert old.items == copied.items


def test_after_a_rollback_the_schedule_rests_until_a_training_is_asked_for(place, trainer) -> None:
    ask(place, RollbackRequested(id="back", generation=1, requested_ts=NOW_MS))
    work(trainer, lambda: len(place.announced()) == 3)
    place.world.feed([single(each) for each in tastes(from_event=9_000, seed=1)])
    caught_up = {p: place.world.log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)}
    work(trainer, lambda: trainer._inputs.histories.offsets == caught_up)

    assert not trainer._is_due()
    assert train(place, trainer).generation == 3


def test_a_rest_survives_a_restart(place, trainer, settings) -> None:
    ask(place, RollbackRequested(id="back", generation=1, requested_ts=NOW_MS))
    work(trainer, lambda: len(place.announced()) == 3)
    trainer.close()
    place.world.feed([single(each) for each in tastes(from_event=9_000, seed=1)])

    again = place.trainer("b", settings)
    work(again, lambda: again.generation is not None)

    assert again.generation.number == 2
    assert not again._is_due()
    assert len(place.announced()) == 3
    again.close()


def test_a_rollback_to_a_generation_that_never_existed_is_reported_and_changes_nothing(
    place, trainer
) -> None:
    ask(place, RollbackRequested(id="back", generation=77, requested_ts=NOW_MS))
    work(trainer, lambda: told(place)[-1].state == "rejected")

    assert "generation 77 was never announced" in told(place)[-1].detail
    assert len(place.announced()) == 2


@pytest.mark.parametrize("restarts", [False, True])
def test_the_schedule_continues_after_a_rollback_that_was_not_possible(
    place, trainer, settings, restarts
) -> None:
    ask(place, RollbackRequested(id="back", generation=77, requested_ts=NOW_MS))
    work(trainer, lambda: told(place)[-1].state == "rejected")
    if restarts:
        trainer.close()
        trainer = place.trainer("b", settings)
    place.world.feed([single(each) for each in tastes(from_event=9_000, seed=1)])

    work(trainer, lambda: len(place.announced()) == 3)
    trainer.close()

    assert place.announced()[-1].copies is None


@pytest.mark.parametrize("restarts", [False, True])
def test_the_schedule_still_rests_when_a_second_rollback_was_not_possible(
    place, trainer, settings, restarts
) -> None:
    ask(place, RollbackRequested(id="back", generation=1, requested_ts=NOW_MS))
    work(trainer, lambda: len(place.announced()) == 3)
    ask(place, RollbackRequested(id="again", generation=77, requested_ts=NOW_MS))
    work(trainer, lambda: told(place)[-1].state == "rejected")
    if restarts:
        trainer.close()
        trainer = place.trainer("b", settings)
    place.world.feed([single(each) for each in tastes(from_event=9_000, seed=1)])
    ends = {p: place.world.log.high_watermark(INTERACTIONS, p) for p in range(PARTITIONS)}
    work(trainer, lambda: trainer.generation and trainer._inputs.histories.offsets == ends)
    work(trainer, lambda: trainer._inputs.commands.newest is None)

    assert not trainer._is_due()
    trainer.close()


def test_judged_generations_and_rollbacks_are_trained_again_bit_for_bit(place, trainer) -> None:
    train(place, trainer)
    ask(place, RollbackRequested(id="back", generation=1, requested_ts=NOW_MS))
    work(trainer, lambda: len(place.announced()) == 4)
    log = place.world.log

    announced = Generations(log, place.store).announced
    found = list(retrain(log, announced, read_timeline(log), DerivedStore(), place.store))

    assert [(each.number, each.is_identical) for each in found] == [
        (0, True),
        (1, True),
        (2, True),
        (3, True),
    ]


def test_a_command_stays_answered_after_a_restart_however_much_was_published_since(
    place, trainer, settings, monkeypatch
) -> None:
    train(place, trainer)
    trainer.close()
    place.world.log.append([NewRecord(MODELS, None, b"unreadable", 0)] * 5_001)

    again = place.trainer("b", settings)
    monkeypatch.setattr(again, "_start_training", lambda: None)
    work(again, lambda: again.generation is not None)

    assert again._inputs.commands.newest is None
    again.close()


@pytest.mark.parametrize("kind", [TrainingRequested, RollbackRequested])
def test_a_command_by_a_clock_that_is_slow_is_carried_out_by_the_next_trainer(
    place, trainer, settings, kind
) -> None:
    trainer.close()
    more = {"force": True} if kind is TrainingRequested else {"generation": 1}
    ask(place, kind(id="slow", requested_ts=NOW_MS - 86_400_000, **more))

    other = place.trainer("b", settings)
    work(other, lambda: len(place.announced()) == 3)
    other.close()

    assert place.announced()[-1].control_offset == place.world.log.high_watermark(CONTROL, 0)


def test_a_command_by_a_clock_that_is_fast_is_carried_out_once(place, trainer, settings) -> None:
    ask(place, TrainingRequested(id="fast", requested_ts=NOW_MS + 86_400_000, force=True))
    work(trainer, lambda: len(place.announced()) == 3)
    trainer.close()

    other = place.trainer("b", settings)
    work(other, lambda: other.generation is not None)
    assert other._inputs.commands.newest is None
    other.close()


@pytest.mark.parametrize(("late_ms", "is_left"), [(-1, False), (0, False), (1, True)])
def test_for_generations_of_older_versions_the_clocks_decide(
    place, trainer, late_ms, is_left
) -> None:
    ask(place, TrainingRequested(id="old", requested_ts=NOW_MS + late_ms))
    old = msgspec.structs.replace(place.announced()[-1], control_offset=None)
    trainer._inputs.poll(1.0)
    commands = trainer._inputs.commands
    assert commands.newest is not None

    commands.drop_answered(old, trainer._inputs.histories)

    assert (commands.newest is not None) == is_left


def test_a_rollback_asked_for_during_a_training_is_carried_out_by_the_next_trainer(
    place, trainer, settings, monkeypatch
) -> None:
    ask(place, TrainingRequested(id="more", requested_ts=NOW_MS, force=True))
    work(trainer, lambda: trainer._executor.is_busy)
    ask(place, RollbackRequested(id="back", generation=1, requested_ts=NOW_MS))
    monkeypatch.setattr(trainer, "_roll_back", lambda _: None)
    work(trainer, lambda: len(place.announced()) == 3)
    trainer.close()

    other = place.trainer("b", settings)
    work(other, lambda: len(place.announced()) == 4)
    other.close()

    assert place.announced()[-1].copies == 1


class SlowStore:
    """A store whose reads take as long as a test says."""

    def __init__(self, store) -> None:
        self._store = store
        self.goes_on = threading.Event()
        self.is_reading = threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def get(self, name: str) -> bytes:
        self.is_reading.set()
        assert self.goes_on.wait(30)
        return self._store.get(name)


def test_a_trainer_keeps_its_lease_while_it_reads_an_old_artifact(
    place, trainer, monkeypatch
) -> None:
    slow = SlowStore(place.store)
    monkeypatch.setattr(trainer, "_store", slow)
    monkeypatch.setattr(loop, "LEASE_EVERY_S", 0.01)
    monkeypatch.setattr(leadership, "LEASE_EVERY_S", 0.01)
    ask(place, RollbackRequested(id="back", generation=1, requested_ts=NOW_MS))
    turning = threading.Thread(target=work, args=(trainer, lambda: len(place.announced()) == 3))
    kept: list[bool] = []
    hold = trainer._leadership._lease.hold
    monkeypatch.setattr(trainer._leadership._lease, "hold", lambda: kept.append(hold()) or kept[-1])
    turning.start()
    try:
        assert slow.is_reading.wait(30)
        n_before = len(kept)
        wait_until(
            lambda: len(kept) > n_before + 2, "the lease, held while the artifact is read", 10
        )
    finally:
        slow.goes_on.set()
        turning.join(60)

    assert all(kept)
    assert place.announced()[-1].copies == 1
