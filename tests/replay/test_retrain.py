"""Every generation is trained again from the log, bit for bit."""

import msgspec

from recstream.control.reader import read_timeline
from recstream.log.port import NewRecord
from recstream.log.topics import MODELS
from recstream.replay.retrain import DerivedStore, retrain
from recstream.replay.verify import verify_partition
from recstream.time_travel.generations import Generations
from tests.replay.world import World


def test_every_generation_has_its_digest_when_trained_again(eventful: World) -> None:
    announced = Generations(eventful.log, eventful.store).announced

    found = list(
        retrain(
            eventful.log, announced, read_timeline(eventful.log), DerivedStore(), eventful.store
        )
    )

    assert [each.number for each in found] == [0, 1, 2]
    assert all(each.is_identical for each in found)
    assert len({each.derived for each in found}) == 3


def test_a_generation_announced_with_another_seed_is_found(eventful: World) -> None:
    announced = Generations(eventful.log, eventful.store).announced
    forged = {**announced, 1: msgspec.structs.replace(announced[1], seed=9)}

    found = list(
        retrain(eventful.log, forged, read_timeline(eventful.log), DerivedStore(), eventful.store)
    )

    assert [each.is_identical for each in found] == [True, False, False]


def test_lists_of_pruned_generations_verify_against_those_trained_again(eventful: World) -> None:
    for name in eventful.store.list():
        eventful.store.delete(name)
    timeline = read_timeline(eventful.log)
    derived = DerivedStore()
    generations = Generations(eventful.log, derived)
    list(retrain(eventful.log, generations.announced, timeline, derived, eventful.store))

    found = [verify_partition(eventful.log, generations, timeline, at) for at in range(2)]

    assert [(each.underivable, each.differences) for each in found] == [(0, ()), (0, ())]
    assert sum(each.lists for each in found) > 60


def test_a_generation_announced_again_counts_as_it_was_announced_last(eventful: World) -> None:
    last = eventful.records(MODELS, 0)[-1]
    eventful.log.append([NewRecord(MODELS, last.key, last.value, 0)])

    announced = Generations(eventful.log, eventful.store).announced
    found = list(
        retrain(
            eventful.log, announced, read_timeline(eventful.log), DerivedStore(), eventful.store
        )
    )

    assert [each.is_identical for each in found] == [True, True, True]
