"""Lists of the engine: when they are made, published and refreshed, and by which rules."""

import numpy as np
import pytest

from recstream.core.events import Event, EventWeights, from_timestamp_ms
from recstream.core.history.settings_timeline import SettingsTimeline
from recstream.core.history.table_rows import decode_list_row, split_key
from recstream.core.records import DeltaAnnounced, ForgetRequested, SettingsActivated
from recstream.errors import LogFenced
from recstream.log.partitioner import partition_for
from recstream.log.port import TopicPartition
from recstream.log.topics import CONTROL, INTERACTIONS, RECOMMENDATIONS
from recstream.worker.engine import LIVE_USERS
from tests.worker.memory import one_by_one
from tests.worker.worker_world import (
    NOW_MS,
    PARTITIONS,
    World,
    envelope,
    event,
    generation,
    single,
    some_events,
)


def test_a_list_follows_its_event_in_the_same_append(world):
    world.engine.activate(generation())

    world.feed([single(event(1, "u1", "p0"))])

    (listed,) = world.lists()
    assert [each.item for each in listed.items] == [f"p{n}" for n in range(1, 12)]
    assert (listed.generation, listed.delta, listed.source) == (1, 0, "popular")
    assert listed.as_of.offset == 0
    assert listed.lineage.event_id == "e1"
    assert listed.lineage.appended_ts == NOW_MS


def test_the_freshness_of_lists_is_that_of_events_as_they_happen(world):
    world.engine.activate(generation())
    of_now = Event(
        id="e2", type="view", user="u2", item="p0", ts=from_timestamp_ms(NOW_MS - 60_000)
    )

    world.feed([single(event(1, "u1", "p0"))])
    assert list(world.engine.status.freshness_ms) == []
    world.feed([single(of_now)])

    assert list(world.engine.status.freshness_ms) == [0]


def test_a_list_is_published_only_when_it_changed(world):
    world.engine.activate(generation())

    world.feed([single(event(1, "u1", "p0")), single(event(2, "u1", "p0"))], step=1)
    world.feed([single(event(3, "u1", "p1"))])

    assert [each.lineage.event_id for each in world.lists()] == ["e1", "e3"]
    assert [each.was for each in world.lists()[1].items][:2] == [2, 3]


def test_the_same_list_derived_again_has_the_same_id(world, tmp_path_factory):
    other = World(tmp_path_factory.mktemp("other"))
    for each in (world, other):
        each.engine.activate(generation())
        each.feed([single(event(1, "u1", "p0"))])

    assert world.lists()[0] == other.lists()[0]
    other.close()


def test_lists_wait_for_a_generation_and_are_made_when_it_comes(world):
    world.feed([single(event(1, "u1", "p0")), single(event(2, "u2", "p1"))])
    assert world.lists() == []

    world.engine.activate(generation())
    assert world.engine.list_pending(10) == 2

    assert set(world.newest_lists()) == {"u1", "u2"}
    assert world.engine.n_pending == 0


def test_under_a_backlog_each_user_gets_one_list_of_the_newest_state(world):
    world.engine.activate(generation())
    n_users = 2 * PARTITIONS * LIVE_USERS
    events = [event(n, f"u{n % n_users}", f"p{n // n_users}") for n in range(3 * n_users)]

    world.feed(envelope(events))
    assert world.lists() == []
    while world.engine.list_pending(50):
        pass

    assert len(world.lists()) == n_users
    assert set(world.newest_lists().values()) == {tuple(f"p{n}" for n in range(3, 12))}


def test_lists_that_waited_when_the_worker_died_are_made_by_the_next(world):
    world.feed([single(each) for each in some_events(40)])

    world.recover()
    world.engine.activate(generation())
    for partition in range(PARTITIONS):
        world.engine.state(partition)
    world.engine.list_pending(1000)

    assert set(world.newest_lists()) == {k.decode() for k in world.table() if b"\0" not in k}
    world.recover()
    for partition in range(PARTITIONS):
        assert world.engine.state(partition).pending_lists == {}


def test_users_seen_lately_are_refreshed_after_a_new_generation(world):
    world.engine.activate(generation(1))
    world.feed([single(event(1, "u1", "p0")), single(event(2, "u2", "p1"))])

    world.engine.activate(generation(2, bias=np.arange(12)))
    while world.engine.refresh(1):
        pass

    assert {user: items[0] for user, items in world.newest_lists().items()} == {
        "u1": "p11",
        "u2": "p11",
    }
    assert {each.generation for each in world.lists()[-1:]} == {2}


def test_partitions_take_turns_so_that_the_newest_users_of_each_come_first(world):
    older, newer = ("u1", "u5"), ("u2", "u11")
    for pair in (older, newer):
        assert [partition_for(user.encode(), PARTITIONS) for user in pair] == [0, 1]
    users = [*older, *newer]
    world.engine.activate(generation(1))
    world.feed([single(event(number, user, "p0")) for number, user in enumerate(users)])

    world.engine.activate(generation(2, bias=np.arange(12)))
    assert world.engine.refresh(2) == 2

    assert {each.user for each in world.lists() if each.generation == 2} == set(newer)


def test_partitions_take_turns_with_lists_that_wait(world):
    assert [partition_for(user.encode(), PARTITIONS) for user in ("u1", "u2", "u5")] == [0, 0, 1]
    world.feed([single(event(number, f"u{number}", "p0")) for number in (1, 2, 5)])

    world.engine.activate(generation())
    assert world.engine.list_pending(2) == 2

    assert set(world.newest_lists()) == {"u1", "u5"}


def test_a_refresh_that_one_partition_is_refused_reaches_the_users_of_the_others(world):
    gone, kept = "u1", "u5"
    assert [partition_for(user.encode(), PARTITIONS) for user in (gone, kept)] == [0, 1]
    world.engine.activate(generation(1))
    world.feed([single(event(1, gone, "p0")), single(event(2, kept, "p1"))])

    def append(records, offsets):
        if TopicPartition(INTERACTIONS, 0) in offsets:
            raise LogFenced("another has it")
        return world.append(records, offsets)

    world.engine._append = one_by_one(append)
    world.engine.activate(generation(2, bias=np.arange(12)))
    while world.engine.n_to_refresh:
        world.engine.refresh(10)

    assert {each.user: each.generation for each in world.lists()} == {gone: 1, kept: 2}


def test_a_new_worker_remembers_who_was_seen_lately(world):
    world.engine.activate(generation(1))
    world.feed([single(event(1, "u1", "p0"))])

    world.recover()
    partition = partition_for(b"u1", PARTITIONS)
    world.engine.assign(partition)
    world.engine.activate(generation(2))

    assert world.engine.n_to_refresh == 1


def test_users_seen_lately_are_refreshed_when_a_worker_takes_a_partition_after_a_new_generation(
    world,
):
    world.engine.activate(generation(1))
    world.feed([single(event(1, "u1", "p0"))])

    world.recover()
    world.engine.activate(generation(2, bias=np.arange(12)))
    world.engine.assign(partition_for(b"u1", PARTITIONS))
    while world.engine.n_to_refresh:
        world.engine.refresh(10)

    assert world.newest_lists()["u1"][0] == "p11"


@pytest.mark.parametrize("kind", ["view", "impression"])
def test_a_restart_makes_no_list_for_a_user_of_whom_nothing_was_folded(world, kind):
    """The view is in another partition than its user's; an impression changes no history."""
    own = partition_for(b"u1", PARTITIONS)
    partition = 1 - own if kind == "view" else own
    world.feed([single(event(1, "u1", "p0", kind))._replace(partition=partition)])

    world.recover()
    world.engine.assign(partition)
    for number in (1, 2):
        world.engine.activate(generation(number))
        while world.engine.n_to_refresh:
            world.engine.refresh(10)

    assert world.lists() == []


def test_a_delta_moves_the_lists_that_follow(world):
    world.engine.activate(generation())
    moved = DeltaAnnounced(
        generation=1, delta=1, offsets={}, items=("p11", "new"), factors=b"",
        bias=np.array([9.0, 8.0], np.float32).tobytes(),
        counts=np.zeros(2, np.int32).tobytes(), created_ts=0,
    )  # fmt: skip

    world.engine.apply_delta(moved)
    world.feed([single(event(1, "u1", "p0"))])

    (listed,) = world.lists()
    assert [each.item for each in listed.items][:3] == ["p11", "new", "p1"]
    assert (listed.generation, listed.delta) == (1, 1)


def test_events_are_folded_by_the_rules_that_held_at_their_offset(world):
    user = "u1"
    partition = partition_for(user.encode(), PARTITIONS)
    world.timeline.add(
        5,
        SettingsActivated(
            partition=partition, from_offset=1, weights=EventWeights(view=7.0), half_life_ms=1e12,
            list_size=2, adopted_ts=0,
        ),
    )  # fmt: skip
    world.engine.activate(generation())

    world.feed([single(event(1, user, "p0")), single(event(2, user, "p1"))])

    known = world.engine.state(partition).user(user).history
    assert [known.find(item).weight for item in ("p0", "p1")] == [1.0, 7.0]
    assert len(world.lists()[-1].items) == 2
    assert world.lists()[-1].control == 5
    assert isinstance(world.timeline, SettingsTimeline)


def test_settings_are_activated_by_the_partitions_owner_alone(world):
    """A worker that was taken for dead must not change the settings behind its successor."""
    world.feed([single(event(1, "u1", "p0"))])
    world.timeline.extend([(0, SettingsActivated(
        partition=0, from_offset=0, weights=EventWeights(view=9.0), half_life_ms=1e12, list_size=2,
        adopted_ts=0,
    ))])  # fmt: skip

    def fenced(_records, _offsets):
        raise LogFenced("another owns it")

    late = world.new_engine(append=fenced)
    with pytest.raises(LogFenced):
        late.assign(0)

    assert world.log.high_watermark(CONTROL, 0) == 0
    assert world.timeline.newest(0).list_size == 2


def test_the_row_of_a_list_says_where_the_list_is(world):
    world.engine.activate(generation())
    events = some_events(120)
    world.feed([single(each) for each in events[:40]], step=7)
    world.recover()
    world.engine.activate(generation(2, bias=np.arange(12)))
    world.feed(envelope(events[40:80]))
    world.engine.forget(ForgetRequested(id="f1", user="u1", requested_ts=0))
    world.feed([single(each) for each in events[80:]], step=5)
    world.engine.activate(generation(3))
    world.engine.refresh(100)

    newest = {
        record.key: (partition, record.offset)
        for partition in range(PARTITIONS)
        for record in world.read(RECOMMENDATIONS, partition)
        if record.value is not None
    }
    rows = {
        split_key(key)[0]: (partition, decode_list_row(value).offset)
        for partition, table in world.rows.rows.items()
        for key, value in table.items()
        if split_key(key)[1] == "l"
    }
    assert len(rows) == 7
    assert rows == newest
