"""The trainer searches hyper-parameters while it is idle; the gate decides about what it finds."""

import math
from concurrent.futures import Future
from types import SimpleNamespace

import msgspec
import pytest

from recstream.control import read_control, read_timeline
from recstream.core.evaluation import search
from recstream.core.history import Entry, History
from recstream.core.records import HyperparametersChosen
from recstream.errors import LogUnavailable
from recstream.log import CONTROL, NewRecord
from recstream.replay.retrain import DerivedStore, retrain
from recstream.time_travel.generations import Generations
from recstream.trainer import self_tuning
from recstream.trainer.histories import Histories, UserColumns
from recstream.trainer.self_tuning import SelfTuning, search_matrix
from recstream.trainer.training.dataset import TrainingSnapshot
from recstream.trainer.training.train import hyperparameters
from tests.trainer.test_gate_and_rollback import tastes, train
from tests.trainer.trainer_world import SETTINGS, work
from tests.waiting import wait_until
from tests.worker.worker_world import single


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(self_tuning, "QUICK", self_tuning.QUICK._replace(min_events=100))
    monkeypatch.setattr(search, "MIN_ERRORS", -math.inf)


@pytest.fixture
def settings():
    return msgspec.structs.replace(SETTINGS, n_factors=8, iterations=4, keep_generations=9)


def chosen(place) -> list[HyperparametersChosen]:
    found = [record for _, record in read_control(place.world.log)]
    return [each for each in found if isinstance(each, HyperparametersChosen)]


def uses(hyperparameters, found: HyperparametersChosen) -> bool:
    return hyperparameters | found.hyperparameters == hyperparameters


@pytest.mark.slow
def test_a_choice_is_a_record_and_a_candidate_is_trained_by_it(place, settings):
    place.world.feed([single(each) for each in tastes()])
    trainer = place.trainer(settings=settings)
    try:
        work(trainer, lambda: len(place.announced()) == 3)
        (found,) = chosen(place)
        newest = place.announced()[-1]

        assert {"unobserved_mass", "behaviour_weight", "popularity_weight"} <= set(
            found.hyperparameters
        )
        assert not uses(place.announced()[1].hyperparameters, found)
        assert uses(newest.hyperparameters, found)
        assert newest.gate_result is not None
        assert 0.0 < found.score <= 1.0
        # The next search waits until the events have doubled; the next training uses the choice.
        again = train(place, trainer)
        assert uses(again.hyperparameters, found)
        assert len(chosen(place)) == 1
    finally:
        trainer.close()

    again = place.trainer("b", settings)
    try:
        work(again, lambda: again.generation is not None)
        assert uses(again._executor._chosen, found)
    finally:
        again.close()


@pytest.mark.slow
def test_training_again_from_the_log_agrees_with_what_self_tuning_trained(place, settings):
    place.world.feed([single(each) for each in tastes()])
    trainer = place.trainer(settings=settings)
    try:
        work(trainer, lambda: len(place.announced()) == 3)
        train(place, trainer)
    finally:
        trainer.close()
    (found,) = chosen(place)
    announced = Generations(place.world.log, place.store).announced

    derived = list(
        retrain(
            place.world.log, announced, read_timeline(place.world.log), DerivedStore(), place.store
        )
    )

    assert [each.number for each in derived if each.is_identical] == [0, 1, 2, 3]
    assert [uses(announced[n].hyperparameters, found) for n in range(4)] == [
        False,
        False,
        True,
        True,
    ]


def test_a_choice_that_the_gate_rejects_is_not_used(place, settings, monkeypatch):
    useless = HyperparametersChosen(
        hyperparameters={"regularization": 1e9, "content_weight": 0.0, "behaviour_weight": 0.0},
        n_events=1,
        metric="ndcg@20",
        score=1.0,
        n_trials=1,
        seconds=0.0,
    )
    monkeypatch.setattr(SelfTuning, "_search", lambda *_: useless)
    place.world.feed([single(each) for each in tastes()])
    trainer = place.trainer(settings=settings)
    try:
        work(trainer, lambda: chosen(place))
        work(trainer, lambda: trainer._tuning._tried is None)

        assert "regularization" not in trainer._executor._chosen
        assert len(place.announced()) == 2
    finally:
        trainer.close()


@pytest.mark.parametrize("off", [{"self_tuning": False}, {"hyperparameters": {"alpha": 1.0}}])
def test_nothing_is_searched_where_somebody_chose(settings, off):
    tuning = SelfTuning(msgspec.structs.replace(settings, **off))
    try:
        assert tuning.step(10**6, 1e6, is_busy=False, snapshot=list) is None
        assert tuning._running is None
    finally:
        tuning.close()


def test_a_search_pauses_while_events_arrive_and_ends_with_the_trainer(settings):
    def wait(self, *_):
        self._is_stopped.wait(20)
        raise self_tuning.SearchStopped

    tuning = SelfTuning(settings)
    tuning._search = wait.__get__(tuning)
    n = self_tuning.LONG.min_events
    assert tuning.step(n, 10.0, is_busy=False, snapshot=lambda: None) is None
    assert tuning.step(n, 0.1, is_busy=False, snapshot=lambda: None) is None
    assert not tuning._may_run.is_set()
    assert tuning.step(n, 10.0, is_busy=True, snapshot=lambda: None) is None
    assert not tuning._may_run.is_set()
    tuning.close()
    assert tuning.step(n, 10.0, is_busy=False, snapshot=lambda: None) is None


def test_a_quick_search_does_not_wait_for_a_quiet_time_and_a_long_one_follows(settings):
    efforts = []

    def search(_, n_events, effort):
        efforts.append((n_events, effort.n_rungs > 1))

    def searched(n_events, quiet_s):
        tuning.step(n_events, quiet_s, is_busy=False, snapshot=lambda: None)
        wait_until(lambda: tuning._running is None or tuning._running.done())
        tuning.step(n_events, quiet_s, is_busy=False, snapshot=lambda: None)

    tuning = SelfTuning(settings)
    tuning._search = search
    for n_events, quiet_s in ((50, 60), (100, 0), (150, 60), (200, 0), (30_000, 60), (50_000, 60)):
        searched(n_events, quiet_s)
    tuning.close()

    assert efforts == [(100, False), (200, False), (30_000, True)]


@pytest.mark.slow
def test_a_choice_that_is_not_better_is_no_record(place, settings, monkeypatch):
    monkeypatch.setattr(search, "MIN_ERRORS", math.inf)
    place.world.feed([single(each) for each in tastes()])
    trainer = place.trainer(settings=settings)
    try:
        work(trainer, lambda: trainer._tuning._searched[self_tuning.QUICK] > 0)
        work(trainer, lambda: trainer._tuning._running is None)

        assert chosen(place) == []
        assert len(place.announced()) == 2
    finally:
        trainer.close()


def test_a_search_pauses_while_a_training_runs(place, settings):
    trainer = place.trainer(settings=settings)
    try:
        work(trainer, lambda: len(place.announced()) == 1)
        trainer._tuning._may_run.set()
        place.world.feed([single(each) for each in tastes()])
        work(trainer, lambda: trainer._executor.is_busy)

        assert not trainer._tuning._may_run.is_set()
    finally:
        trainer.close()


def test_events_that_faded_to_nothing_are_left_out_of_a_search(settings):
    faded_ms = int(200 * settings.half_life_ms)  # float32 has no 2 ** -200
    entries = [
        Entry("a", 1.0, 5 * faded_ms, 0, 3, 1),
        Entry("b", 1.0, 4 * faded_ms, 0, 1, 1),
        Entry("c", 1.0, 5 * faded_ms - 1, 0, 2, 1),
        Entry("d", 0.0, 5 * faded_ms - 2, 0, 0, 1),
    ]
    page = {each.item: each for each in entries}
    live = Histories()
    made = [History("u", clock_ms=5 * faded_ms, n_items=len(page), n_ids=1, pages=(page,))]
    live.put(UserColumns.of(made, 0, live.items))

    matrix, at_ms = search_matrix(TrainingSnapshot(live, {}, 0), settings, 1_000)

    assert matrix.indices.tolist() == [0, 2]
    assert at_ms.tolist() == [5 * faded_ms, 5 * faded_ms - 1]


def test_a_choice_that_could_not_be_recorded_is_recorded_before_it_is_used(
    place, settings, monkeypatch
):
    place.world.feed([single(each) for each in tastes()])
    trainer = place.trainer(settings=settings)
    found = HyperparametersChosen(
        hyperparameters={"regularization": 0.5},
        n_events=1,
        metric="m",
        score=0.1,
        n_trials=1,
        seconds=0.0,
    )

    def refuse(*_: object) -> None:
        raise LogUnavailable("away")

    try:
        work(trainer, lambda: len(place.announced()) == 2 and not trainer._executor.is_busy)
        monkeypatch.setattr("recstream.trainer.loop.submit", refuse)
        trainer._tuning._running = Future()
        trainer._tuning._running.set_result(found)
        with pytest.raises(LogUnavailable):
            work(trainer, lambda: False)

        assert not uses(trainer._executor._chosen, found)

        monkeypatch.undo()
        work(trainer, lambda: found in chosen(place))
        assert uses(trainer._executor._chosen, found)
    finally:
        trainer.close()


@pytest.mark.parametrize(("trained_with", "follows"), [(0.2, True), (0.8, True), (0.3, False)])
def test_a_choice_whose_popularity_the_gate_raised_is_followed_after_a_restart(
    place, settings, trained_with, follows
):
    choice = {"ridge": 0.7, "popularity_weight": 0.2}
    record = HyperparametersChosen(
        hyperparameters=choice, n_events=9, metric="ndcg@20", score=0.1, n_trials=1, seconds=1.0
    )
    place.world.log.append([NewRecord(CONTROL, None, msgspec.json.encode(record), 0)])
    serving = SimpleNamespace(hyperparameters=choice | {"popularity_weight": trained_with})
    tuning = SelfTuning(settings)

    assert tuning.restore(place.world.log, serving) == (choice if follows else {})
    tuning.close()


def test_a_weight_of_popularity_in_the_settings_wins_over_an_earlier_choice(place, settings):
    choice = {"ridge": 0.7, "popularity_weight": 0.2}
    record = HyperparametersChosen(
        hyperparameters=choice, n_events=9, metric="ndcg@20", score=0.1, n_trials=1, seconds=1.0
    )
    place.world.log.append([NewRecord(CONTROL, None, msgspec.json.encode(record), 0)])
    settings = msgspec.structs.replace(settings, popularity_weight=0.05)
    serving = SimpleNamespace(hyperparameters=choice | {"popularity_weight": 0.05})
    tuning = SelfTuning(settings)

    restored = tuning.restore(place.world.log, serving)
    tuning.close()
    used = hyperparameters(settings, restored)

    assert (used["ridge"], used["popularity_weight"]) == (0.7, 0.05)
