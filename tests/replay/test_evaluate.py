"""A worker that lives through everything, and a replay of the log, judge the lists alike."""

import pytest

from recstream.core.evaluation.online import rank_of
from recstream.core.records import decode_recommendations
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from recstream.replay.evaluate import ListsByOffset
from tests.replay.world import World, judged


def test_a_replay_gives_the_numbers_that_the_worker_counted(eventful: World) -> None:
    replayed, counted = judged(eventful).totals(), eventful.engine.status.scores.totals()

    assert replayed.keys() == counted.keys()
    for name, score in replayed.items():
        assert (score.events, score.hits) == (counted[name].events, counted[name].hits)
        # Reciprocal ranks are summed in another order of partitions.
        assert score.mrr == pytest.approx(counted[name].mrr, rel=1e-12)
    assert replayed["all"].events > 20


def test_events_are_counted_by_generation_by_source_and_for_cold_users(eventful: World) -> None:
    names = set(judged(eventful).totals())

    assert {"all", "cold users", "generation 0", "generation 1", "source fold-in"} <= names


def test_the_list_before_an_event_is_the_last_one_of_an_earlier_event(eventful: World) -> None:
    for partition in range(2):
        lists = ListsByOffset(eventful.log, partition)
        bodies = [
            decode_recommendations(each.value or b"")
            for each in eventful.records(RECOMMENDATIONS, partition)
        ]
        for record in eventful.records(INTERACTIONS, partition):
            user = (record.key or b"").decode()
            earlier = [
                body
                for body in bodies
                if body.user == user and body.as_of and body.as_of.offset < record.offset
            ]

            found = lists.before(user, record.offset)

            assert (found and found.items) == (
                tuple(item.item for item in earlier[-1].items) if earlier else None
            )


def test_an_event_is_judged_by_the_list_its_user_had_worked_out_by_hand(world: World) -> None:
    world.browse(30, n_users=4)
    world.train()
    world.work()
    listed = world.engine.state(0).user("u1").listed or world.engine.state(1).user("u1").listed
    assert listed is not None
    before = judged(world).totals()["all"]

    world.do("u1", listed.items[2])
    world.work()

    after = judged(world).totals()["all"]
    assert after.events == before.events + 1
    assert rank_of(listed.items, listed.items[2]) == 3
    assert after.mrr * after.events == pytest.approx(before.mrr * before.events + 1 / 3)
