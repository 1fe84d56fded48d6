"""Any list of the past is made again, and how one became another is told step by step."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from recstream.core.records import Recommendations, RecommendedItem, decode_recommendations
from recstream.errors import InvalidInput, NotFound
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS, MODELS, RECOMMENDATIONS
from recstream.time_travel.generations import Generations
from recstream.time_travel.list_diff import compare, diff_lists
from recstream.time_travel.moment import Moment, moment
from recstream.time_travel.service import TimeTravel
from recstream.time_travel.snapshots import Snapshots
from tests.replay.world import START_MS, WithMarkers, World

USER = "u3"


@pytest.fixture
def travel(eventful: World, tmp_path: Path) -> Iterator[TimeTravel]:
    snapshots = Snapshots(eventful.log, tmp_path / "snapshots", block_events=11)
    yield TimeTravel(eventful.log, eventful.store, snapshots)
    snapshots.close()


def published(world: World, user: str = USER) -> list[tuple[int, Recommendations]]:
    return [
        (record.timestamp_ms, decode_recommendations(record.value or b""))
        for partition in range(2)
        for record in world.records(RECOMMENDATIONS, partition)
        if record.key == user.encode()
    ]


def items(*names: str) -> list[RecommendedItem]:
    return [RecommendedItem(item=name, rank=at, score=0.0) for at, name in enumerate(names, 1)]


def test_every_list_the_user_ever_had_is_made_again_bit_for_bit(
    eventful: World, travel: TimeTravel
) -> None:
    lists = published(eventful)
    for at, (_, body) in enumerate(lists):
        assert body.as_of is not None
        same_event = [each for _, each in lists[at:] if each.as_of == body.as_of]

        found = travel.list_at(USER, Moment(offset=body.as_of.offset))

        assert found.is_identical
        assert found.list.items == same_event[-1].items


def test_the_list_at_a_time_is_the_one_last_published_by_then(
    eventful: World, travel: TimeTravel
) -> None:
    time_ms, body = published(eventful)[2]

    found = travel.list_at(USER, Moment(timestamp_ms=time_ms))

    assert found.is_identical
    assert found.list.as_of is not None
    assert body.as_of is not None
    assert found.list.as_of.offset >= body.as_of.offset


def test_somebody_without_a_list_had_the_popular_items(travel: TimeTravel) -> None:
    found = travel.list_at("stranger", Moment())

    assert found.is_identical is None
    assert found.list.source == "popular"
    assert len(found.list.items) == 5
    assert found.list.generation == 2


def test_before_the_first_model_nobody_had_a_list(travel: TimeTravel) -> None:
    with pytest.raises(NotFound, match="no model had been announced"):
        travel.list_at(USER, Moment(timestamp_ms=START_MS - 1))


def test_the_steps_of_a_diff_lead_from_one_list_to_the_other(
    eventful: World, travel: TimeTravel
) -> None:
    lists = [body for _, body in published(eventful)]
    first = lists[0].as_of
    assert first is not None

    diff = diff_lists(travel, USER, Moment(offset=first.offset), Moment())

    assert diff.before is not None
    assert diff.after is not None
    names = [item.item for item in diff.before.items]
    for step in diff.steps:
        gone = {each.item for each in step.change.left}
        ranks = {name: at for at, name in enumerate(names, 1) if name not in gone}
        for each in (*step.change.entered, *step.change.moved):
            ranks[each.item] = each.after
        names = sorted(ranks, key=ranks.__getitem__)
    assert names == [item.item for item in diff.after.items]


def test_now_is_the_newest_moment(travel: TimeTravel) -> None:
    assert travel.list_at(USER, moment("now")).list == travel.list_at(USER, Moment()).list


def test_a_diff_of_moments_in_the_wrong_order_is_refused(
    eventful: World, travel: TimeTravel
) -> None:
    first = published(eventful)[0][1].as_of
    assert first is not None

    with pytest.raises(InvalidInput, match="a must not be after b"):
        diff_lists(travel, USER, Moment(), Moment(offset=first.offset))


def test_every_event_between_two_lists_belongs_to_one_step(
    eventful: World, travel: TimeTravel
) -> None:
    partition = published(eventful)[0][1].as_of.partition
    mine = [
        msgspec.json.decode(record.value or b"")["id"]
        for record in eventful.records(INTERACTIONS, partition)
        if record.key == USER.encode()
    ]

    diff = diff_lists(travel, USER, Moment(offset=0), Moment())

    told = [event.id for step in diff.steps for event in step.events]
    assert told == mine[: len(told)]
    assert len(told) > 3


def test_a_refreshed_list_is_a_step_that_the_model_made(
    eventful: World, travel: TimeTravel
) -> None:
    refreshed = {
        record.key: body.rec_id
        for partition in range(2)
        for record in eventful.records(RECOMMENDATIONS, partition)
        for body in [decode_recommendations(record.value or b"")]
        if body.source == "refresh" and record.key is not None
    }
    assert refreshed

    for key, rec_id in refreshed.items():
        diff = diff_lists(travel, key.decode(), Moment(offset=0), Moment())

        (step,) = [each for each in diff.steps if each.rec_id == rec_id]
        assert step.source == "refresh"
        assert step.model_changed


def test_a_list_in_a_partition_that_is_not_its_users_is_none_of_theirs(
    eventful: World, travel: TimeTravel
) -> None:
    (mine, record) = next(
        (partition, record)
        for partition in range(2)
        for record in eventful.records(RECOMMENDATIONS, partition)
        if record.key == USER.encode()
    )
    rec_id = decode_recommendations(record.value or b"").rec_id
    eventful.log.append([NewRecord(RECOMMENDATIONS, record.key, record.value, 1 - mine)])

    found = travel.snapshots.find_list(rec_id)

    assert found is not None
    assert found[0] == mine


def test_a_list_that_can_not_be_read_is_not_found(eventful: World, travel: TimeTravel) -> None:
    bad = (
        b'{"rec_id":"bad","user":"%b","generation":0,"source":"popular","items":5,' % USER.encode()
    )
    partition = travel.partition(USER)
    last = eventful.log.high_watermark(INTERACTIONS, partition) - 1
    value = bad + b'"as_of":{"partition":%d,"offset":%d}}' % (partition, last)
    eventful.log.append([NewRecord(RECOMMENDATIONS, USER.encode(), value, partition)])

    with pytest.raises(NotFound, match="can't be read"):
        travel.list_at(USER, Moment())


def test_two_lists_differ_by_what_entered_left_and_moved() -> None:
    change = compare(items("a", "b", "c"), items("b", "d", "c"))

    assert [(each.item, each.before, each.after) for each in change.entered] == [("d", 0, 2)]
    assert [(each.item, each.before, each.after) for each in change.left] == [("a", 1, 0)]
    assert [(each.item, each.before, each.after) for each in change.moved] == [("b", 2, 1)]


@pytest.mark.parametrize("text", ["", "-1", "yesterday", "2026-11-22", "2026-11-22T10:42:00"])
def test_a_moment_that_is_neither_offset_nor_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected an offset like 1200 or a time with a zone"):
        moment(text)


def test_questions_about_two_moments_in_turn_read_each_generation_once(eventful: World) -> None:
    read: list[str] = []

    class Counting:
        def get(self, name: str) -> bytes:
            read.append(name)
            return eventful.store.get(name)

        def list(self) -> list[str]:
            return eventful.store.list()

    generations = Generations(eventful.log, Counting(), kept=2)
    number = max(generations.announced, key=generations.newest_delta)
    last = generations.newest_delta(number)
    assert last > 0

    factors = [
        generations.at(number, delta).model.item_factors.tobytes()
        for delta in (last, 0, last, 0, last)
    ]

    assert factors[0] == factors[2] == factors[4]
    assert factors[1] == factors[3]
    assert len(read) == 2


def test_a_past_that_ends_with_a_marker_of_a_transaction_has_lists_and_their_time(
    eventful: World, tmp_path: Path
) -> None:
    log = WithMarkers(eventful.log)
    snapshots = Snapshots(log, tmp_path / "snapshots")
    travel = TimeTravel(log, eventful.store, snapshots)
    stranger = "nobody"
    last = eventful.records(INTERACTIONS, travel.partition(stranger))[-1]

    past = travel.list_at(stranger, Moment(offset=last.offset))
    basis = travel.basis(stranger, Moment())

    assert past.list.source == "popular"
    assert basis.now_ms == last.timestamp_ms
    snapshots.close()


def test_a_past_that_was_opened_before_old_generations_were_pruned_still_answers(
    eventful: World, travel: TimeTravel
) -> None:
    newest = max(travel.generations.announced)
    eventful.log.delete_before(MODELS, 0, travel.generations.announced_at[newest])

    basis = travel.basis("nobody", Moment(timestamp_ms=eventful.now_ms))

    assert basis.generation.number == newest
