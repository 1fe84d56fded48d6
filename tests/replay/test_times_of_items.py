"""Lists that depend on the time: they name it, and a replay derives them from it."""

import msgspec

from recstream.core.events import from_timestamp_ms
from recstream.core.records import Item, Recommendations, decode_recommendations
from recstream.log.topics import INTERACTIONS, RECOMMENDATIONS
from recstream.replay.run import ReplayPlan, replay
from tests.replay.world import ITEMS, START_MS, World


def lists(world: World) -> list[Recommendations]:
    """Return the published lists, those of the user ``even`` last."""
    found = [
        decode_recommendations(record.value)
        for partition in range(2)
        for record in world.records(RECOMMENDATIONS, partition)
        if record.value
    ]
    return sorted(found, key=lambda each: (each.user == "even", each.now))


def n_identical(world: World) -> int:
    """Return how many lists a replay derives, all of them byte for byte."""
    ranges = {at: (0, world.log.high_watermark(INTERACTIONS, at)) for at in range(2)}
    plan = ReplayPlan(ranges=ranges, verify=True, retrain=True, changelog=world.changelog)
    report = replay(world.log, world.store, plan)
    assert report.is_identical, report
    assert not any(each.underivable for each in report.partitions)
    return sum(each.lists for each in report.partitions)


def test_items_enter_and_leave_lists_by_their_times_and_the_lists_verify(world: World) -> None:
    world.browse(60)
    late = from_timestamp_ms(START_MS + 3_600_000)
    for item in ITEMS:
        world.describe(item, Item(item=item))
    world.describe(ITEMS[0], Item(item=ITEMS[0], from_=late))
    world.describe(ITEMS[2], Item(item=ITEMS[2], until=late))
    world.describe(ITEMS[4], Item(item=ITEMS[4], available=False))
    world.train()
    world.do("even", ITEMS[6])
    world.do("even", ITEMS[8])
    world.work()
    before = {one.item for one in lists(world)[-1].items}
    n_before = len(lists(world))
    world.now_ms = START_MS + 3_600_000
    world.do("even", ITEMS[10])
    world.work()

    made = lists(world)
    after = {one.item for one in made[-1].items}
    assert n_before < len(made)
    assert all(each.now for each in made)
    assert made[-1].now == START_MS + 3_601_000
    assert ITEMS[0] not in before
    assert ITEMS[2] not in after
    assert not any(one.item == ITEMS[4] for each in made for one in each.items)
    assert n_identical(world) == len(made)


def test_lists_are_made_anew_when_a_time_passes_without_an_event(world: World) -> None:
    world.browse(60)
    opens, closes = START_MS + 3_600_000, START_MS + 7_200_000
    for item in ITEMS:
        world.describe(item, Item(item=item))
    times = {"from_": from_timestamp_ms(opens), "until": from_timestamp_ms(closes)}
    world.describe(ITEMS[0], Item(item=ITEMS[0], **times))
    world.steer({"rules": [{"action": "pin", "name": "launch", "items": [ITEMS[0]]}]})
    world.train()
    world.do("even", ITEMS[6])
    world.work()
    assert world.engine.follow_times() == 0

    for now_ms, is_listed in (
        (opens - 1, False),
        (opens, True),
        (closes - 1, True),
        (closes, False),
    ):
        world.now_ms = now_ms
        n_passed = world.engine.follow_times()
        world.work()
        newest = lists(world)[-1]
        assert n_passed == (now_ms in {opens, closes})
        assert (newest.user, newest.items[0].item == ITEMS[0]) == ("even", is_listed)
    assert world.engine.follow_times() == 0
    assert lists(world)[-1].now == closes
    assert n_identical(world) == len(lists(world))


def test_lists_name_no_time_where_nothing_depends_on_it(world: World) -> None:
    world.browse(40)
    world.describe(ITEMS[0], Item(item=ITEMS[0]))
    world.train()
    world.do("even", ITEMS[6])
    world.work()

    assert all(b'"now"' not in (r.value or b"") for r in world.records(RECOMMENDATIONS, 0))
    assert {each.now for each in lists(world)} == {0}


def test_a_rule_refers_to_the_current_time_and_a_replay_agrees(world: World) -> None:
    world.browse(40)
    for at, item in enumerate(ITEMS):
        day = from_timestamp_ms(START_MS - at * 86_400_000).isoformat()
        world.describe(item, Item(item=item, attributes={"published": day}))
    world.train()
    new = {"attributes": {"published": {"min": {"now": -5.5 * 86_400}}}}
    world.steer({"rules": [{"action": "only", "name": "this week", "where": new}]})
    world.do("even", ITEMS[6])
    world.work()

    made = lists(world)[-1]
    assert {one.item for one in made.items} <= set(ITEMS[:6])
    assert made.now
    assert n_identical(world) == len(lists(world))
    assert msgspec.json.decode(msgspec.json.encode(made), type=Recommendations) == made
