"""Rules and arms for some users and contexts: in lists, and in a replay of them."""

from recstream.log.topics import INTERACTIONS
from recstream.replay.run import ReplayPlan, replay
from tests.replay.test_times_of_items import lists
from tests.replay.world import ITEMS, World

DOCUMENT = {
    "dislikes": {"strength": 1.5},
    "rules": [
        {
            "action": "pin",
            "name": "for vips",
            "items": [ITEMS[11]],
            "when": {"user": {"segment": {"eq": "vip"}}},
        },
        {
            "action": "exclude",
            "name": "not on a phone",
            "where": {"items": ITEMS[:8]},
            "when": {"context": {"device": {"in": ["mobile"]}}},
        },
    ],
    "arms": [
        {"name": "all", "share": 0.5},
        {"name": "germans", "share": 0.5, "when": {"user": {"country": {"eq": "DE"}}}},
    ],
}


def newest(world: World, user: str):
    return [each for each in lists(world) if each.user == user][-1]


def test_rules_and_arms_hold_for_their_audience_and_a_replay_agrees(world: World) -> None:
    world.browse(60)
    world.train()
    world.steer(DOCUMENT)
    for at in range(16):
        country = "DE" if at % 2 else "FR"
        world.do(f"p{at}", None, "profile", properties={"country": country})
        world.do(f"p{at}", ITEMS[14])
    world.work()
    arms = {f"p{at}": newest(world, f"p{at}").arm for at in range(16)}

    world.do("p1", None, "profile", properties={"segment": "vip"})
    world.do("p1", ITEMS[16], context={"device": "mobile"})
    world.do("p3", ITEMS[16], context={"device": "desktop"})
    world.do("p5", ITEMS[18], "dislike")
    world.work()

    assert {arms[f"p{at}"] for at in range(0, 16, 2)} == {"all"}
    assert {arms[f"p{at}"] for at in range(1, 16, 2)} == {"all", "germans"}
    vip, other = newest(world, "p1"), newest(world, "p3")
    assert vip.items[0].item == ITEMS[11]
    assert not {one.item for one in vip.items} & set(ITEMS[:8])
    assert other.items[0].item != ITEMS[11]
    ranges = {at: (0, world.log.high_watermark(INTERACTIONS, at)) for at in range(2)}
    plan = ReplayPlan(ranges=ranges, verify=True, retrain=True, changelog=world.changelog)
    assert replay(world.log, world.store, plan).is_identical


def test_a_profile_alone_makes_a_list_and_trains(world: World) -> None:
    world.browse(40)
    world.do("quiet", None, "profile", properties={"segment": "vip"})
    world.train()
    world.work()
    world.train()
    world.work()

    assert newest(world, "quiet").source == "popular"
    ranges = {at: (0, world.log.high_watermark(INTERACTIONS, at)) for at in range(2)}
    plan = ReplayPlan(ranges=ranges, verify=True, retrain=True, changelog=world.changelog)
    assert replay(world.log, world.store, plan).is_identical
