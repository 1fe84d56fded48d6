"""A list that was just read from the log is sent as the views would answer it."""

import msgspec
import pytest

from recstream.core.records import decode_recommendations
from recstream.log.port import NewRecord, Record
from recstream.log.topics import RECOMMENDATIONS
from tests.bridge.bridge_world import World, event
from tests.bridge.conftest import USER
from tests.waiting import wait_until


@pytest.fixture
def world(past):
    world, _ = past
    wait_until(lambda: world.bridge.deps.recommender.current is not None, "a generation")
    return world


def newest_record(world: World, user: str) -> Record:
    return world.records(RECOMMENDATIONS, user)[-1]


def pushed_and_answered(world: World, user: str):
    """Return a user's list made from its record, and from the views."""
    recommender = world.bridge.deps.recommender
    return recommender.newest(user, newest_record(world, user)), recommender.published(user)


def put_list(world: World, user: str, value: bytes) -> None:
    world.log.append([NewRecord(RECOMMENDATIONS, user.encode(), value)])
    world.wait_for_views()


def test_lists_of_all_users_are_the_same_bytes(world):
    users = {record.key.decode() for record in world.records(RECOMMENDATIONS)}
    assert len(users) > 3
    for user in users:
        record = newest_record(world, user)
        assert record.value[:1] != b"{"

        pushed, answered = pushed_and_answered(world, user)

        assert msgspec.json.encode(pushed) == msgspec.json.encode(answered)
        assert (pushed.epoch, pushed.offset) == (world.log.epoch, record.offset)


def test_a_content_reason_says_what_the_items_have_in_common(world, monkeypatch):
    values = msgspec.msgpack.decode(newest_record(world, USER).value)
    codes, content = values[13], 1
    values[1], values[13] = "alike", bytes([codes[0] & ~7 | content]) + codes[1:]
    columns = world.bridge.deps.sources.active.generation.columns
    monkeypatch.setattr(columns, "common_features", lambda *_: ("brand: Acme",))
    world.fold(event("alike", "i1"))
    values[7] = world.bridge.deps.views.newest_offset("alike")
    put_list(world, "alike", msgspec.msgpack.encode(values))

    pushed, answered = pushed_and_answered(world, "alike")

    assert pushed == answered
    assert pushed.items[0].why[0].shared == ("brand: Acme",)


def test_an_item_of_a_newer_event_is_left_out(world):
    first, *_ = world.bridge.deps.recommender.published(USER).items
    world.fold(event(USER, first.item))
    world.wait_for_views()

    pushed, answered = pushed_and_answered(world, USER)

    assert pushed == answered
    assert first.item not in {each.item for each in pushed.items}


def test_an_item_that_is_not_available_is_left_out(world):
    user = next(u for r in world.records(RECOMMENDATIONS) if (u := r.key.decode()) != USER)
    first, *_ = world.bridge.deps.recommender.published(user).items
    assert world.call("PUT", f"/v1/items/{first.item}", {"available": False}).status == 200

    pushed, answered = pushed_and_answered(world, user)

    assert pushed == answered
    assert first.item not in {each.item for each in pushed.items}


def test_a_list_in_json_is_sent_too(world):
    body = decode_recommendations(newest_record(world, USER).value)
    put_list(world, "old", msgspec.json.encode(msgspec.structs.replace(body, user="old")))

    pushed, answered = pushed_and_answered(world, "old")

    assert pushed == answered
    assert pushed.user == "old"


@pytest.mark.parametrize("place", [0, 10, 11, 12, 13, 14, 15, 16, 17])
def test_a_list_whose_columns_do_not_fit_together_is_not_sent(world, place):
    values = msgspec.msgpack.decode(newest_record(world, USER).value)
    values[place] = 9 if place == 0 else values[place][:-1]
    put_list(world, "damaged", msgspec.msgpack.encode(values))

    pushed, answered = pushed_and_answered(world, "damaged")

    assert pushed == answered


@pytest.mark.parametrize("value", [b"", b"\xc1", b"{", b"[]", None])
def test_what_is_no_list_is_not_sent(world, value):
    put_list(world, "nothing", value)

    assert pushed_and_answered(world, "nothing") == (None, None)
