"""Every published list can be made again from the log, byte for byte; and a forged one is found."""

import msgspec
import pytest

from recstream.control.reader import read_timeline
from recstream.core.records import decode_recommendations, list_json
from recstream.log.port import NewRecord, Record
from recstream.log.topics import RECOMMENDATIONS
from recstream.replay.verify import Verified, verify_partition
from recstream.time_travel.generations import Generations
from tests.replay.world import World


def verify(world: World, **options: object) -> list[Verified]:
    generations = Generations(world.log, world.store)
    timeline = read_timeline(world.log)
    return [
        verify_partition(world.log, generations, timeline, partition, **options)
        for partition in range(world.settings.partitions)
    ]


def published(world: World) -> list[Record]:
    return [
        record
        for partition in range(world.settings.partitions)
        for record in world.records(RECOMMENDATIONS, partition)
    ]


def test_every_published_list_is_derived_again_byte_for_byte(eventful: World) -> None:
    found = verify(eventful)

    assert [each.differences for each in found] == [(), ()]
    assert sum(each.lists for each in found) == len(published(eventful)) > 60


def test_lists_of_a_generation_that_is_announced_during_a_replay_are_derived_too(
    eventful: World,
) -> None:
    log, generations = eventful.log, Generations(eventful.log, eventful.store)
    eventful.train()
    eventful.browse(20, seed=4)
    eventful.work()
    eventful.move("i03", [0.5, 0.25, 0.125, 1.0], 0.5)
    eventful.browse(20, seed=5)
    eventful.work()
    assert 3 not in generations.announced

    timeline = read_timeline(log)
    found = [verify_partition(log, generations, timeline, partition) for partition in (0, 1)]

    assert [(each.differences, each.underivable) for each in found] == [((), 0), ((), 0)]
    assert {
        decode_recommendations(each.value or b"").generation for each in published(eventful)
    } > {2, 3}


def test_the_lists_come_from_several_generations_deltas_and_sources(eventful: World) -> None:
    bodies = [decode_recommendations(each.value or b"") for each in published(eventful)]

    assert {body.generation for body in bodies} == {0, 1, 2}
    assert {body.delta for body in bodies} == {0, 1}
    assert {body.source for body in bodies} == {"content", "fold-in", "refresh"}


def test_lists_made_before_and_after_a_change_of_rules_are_each_derived_by_theirs(
    world: World,
) -> None:
    world.browse(30)
    world.train(factors=False)
    world.work()
    world.settings = msgspec.structs.replace(world.settings, list_size=3, half_life_days=0.001)
    world.engine = world.worker()
    world.train()
    world.browse(30, seed=5)
    world.work()

    found = verify(world)

    assert [each.differences for each in found] == [(), ()]
    sizes = {len(decode_recommendations(each.value or b"").items) for each in published(world)}
    assert sizes == {3, 5}


@pytest.mark.parametrize("field", ["score", "item", "rank", "was"])
def test_a_forged_list_is_found_and_its_difference_shown(eventful: World, field: str) -> None:
    record = published(eventful)[-1]
    body = msgspec.json.decode(list_json(record.value or b""))
    forged = {"item": "i99", "score": 0.123, "rank": 9, "was": 17}[field]
    body["items"][1][field] = forged
    eventful.log.append(
        [NewRecord(RECOMMENDATIONS, record.key, msgspec.json.encode(body), record.partition)]
    )

    differences = [each for found in verify(eventful) for each in found.differences]

    assert len(differences) == 1
    assert differences[0].what == "items"
    assert msgspec.json.decode(differences[0].published)[1][field] == forged
    assert msgspec.json.decode(differences[0].derived)[1].get(field) != forged


def test_a_list_of_a_generation_that_is_gone_is_reported_and_not_passed_over(
    eventful: World,
) -> None:
    for name in eventful.store.list()[:1]:
        eventful.store.delete(name)

    found = verify(eventful)

    assert sum(each.underivable for each in found) > 0
    assert any("pruned" in each.what for one in found for each in one.differences)


def test_a_sample_compares_every_third_list(eventful: World) -> None:
    counts = [len(eventful.records(RECOMMENDATIONS, partition)) for partition in range(2)]

    found = verify(eventful, every=3)

    assert [each.lists for each in found] == [-(-count // 3) for count in counts]


def test_one_users_lists_can_be_verified_alone(eventful: World) -> None:
    mine = [each for each in published(eventful) if each.key == b"u3"]

    found = verify(eventful, user="u3")

    assert sum(each.lists for each in found) == len(mine) > 0
    assert [each.differences for each in found] == [(), ()]
