"""Properties of users over REST, and rules for some users and contexts in lists by request."""

import msgspec
import pytest

from recstream.core.events import Event, decode_event
from recstream.log.partitioner import partition_for
from tests.bridge.bridge_world import NOW, a_list, checker_board, event, running
from tests.bridge.http.conftest import items_of
from tests.waiting import wait_until

DOCUMENT = {
    "rules": [
        {
            "action": "exclude",
            "name": "vips alone",
            "where": {"items": ["i0", "i2"]},
            "when": {"user": {"segment": {"exists": False}}},
        },
        {
            "action": "pin",
            "name": "phones",
            "items": ["i9"],
            "when": {"context": {"device": {"eq": "mobile"}, "hour": {"min": 18}}},
        },
    ]
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with running(tmp_path_factory.mktemp("people")) as world:
        world.serve_generation(checker_board())
        assert world.call("PUT", "/v1/steering", DOCUMENT).status == 202
        yield world


def test_properties_are_an_event_in_the_log(shop):
    answer = shop.call("PUT", "/v1/users/ann", {"properties": {"segment": "vip", "age": 30}})

    assert answer.status == 202
    partition = partition_for(b"ann", 2)
    offset = answer.json["position"]["offsets"][str(partition)]
    (record,) = shop.log.read("recstream.interactions", partition, offset, 1)
    event = decode_event(record.value)
    assert (event.type, event.user, event.properties) == (
        "profile",
        "ann",
        {"segment": "vip", "age": 30},
    )
    assert event.id == answer.json["id"]


def test_rules_hold_for_users_with_properties(shop):
    profile = Event(id="p", type="profile", user="vip", ts=NOW, properties={"segment": "vip"})
    shop.fold(profile)
    shop.wait_for_views()

    assert items_of(shop.get("/v1/users/vip/recommendations?n=2")) == ["i0", "i1"]
    assert items_of(shop.get("/v1/users/nobody/recommendations?n=2")) == ["i1", "i3"]


def test_rules_hold_for_the_context_of_a_request(shop):
    mobile = {"n": 1, "context": {"device": "mobile", "hour": 20}}

    answer = shop.post("/v1/recommendations", mobile)

    assert items_of(answer) == ["i9"]
    assert answer.json["requested"]["request"]["context"] == mobile["context"]
    assert items_of(shop.post("/v1/recommendations", {"n": 1})) == ["i1"]
    early = {"n": 1, "context": {"device": "mobile", "hour": 9}}
    assert items_of(shop.post("/v1/users/u/recommendations", early)) == ["i1"]
    got = shop.get('/v1/popular?n=1&context={"device":"mobile","hour":19}'.replace('"', "%22"))
    assert items_of(got) == ["i9"]


@pytest.mark.parametrize(
    "body",
    [{}, {"properties": {}}, {"properties": {"a": [1]}}, {"properties": {"": 1}}, {"segment": "x"}],
)
def test_properties_that_make_no_sense_are_422(shop, body):
    answer = shop.call("PUT", "/v1/users/ann", body)

    assert (answer.status, answer.kind) == (422, "application/problem+json")


@pytest.mark.parametrize(
    ("when", "pointer"),
    [
        ({}, "/rules/0/when"),
        ({"user": {}}, "/rules/0/when"),
        ({"user": {"a": {}}}, "/rules/0/when/user/a"),
        ({"context": {"at": {"min": {"now": 0}}}}, "/rules/0/when/context/at"),
    ],
)
def test_audiences_that_make_no_sense_are_refused_where_they_stand(shop, when, pointer):
    rule = {"action": "pin", "name": "p", "items": ["i1"], "when": when}

    answer = shop.post("/v1/steering/check", {"rules": [rule]})

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == pointer


def test_audiences_are_described_in_words(shop):
    words = shop.post("/v1/steering/check", DOCUMENT).json["words"]

    assert (
        "phones: pin i9 from place 1 on if context's device = mobile and context's hour at least 18"
        in words
    )
    assert msgspec.json.encode(words)


def test_a_new_user_of_a_segment_gets_what_is_popular_in_it(tmp_path):
    board = checker_board()
    board.hyperparameters["popularity_weight"] = 1.0
    profiles = [
        Event(id=user, type="profile", user=user, ts=NOW, properties={"segment": "cook"})
        for user in ("cook", "newcook")
    ]
    with running(tmp_path) as world:
        world.serve_generation(board)
        world.fold(*profiles)
        for user, item in (("cook", "i7"), ("other", "i0")):
            world.fold(*[event(user, item, id=f"{user}{nth}") for nth in range(30)])

        def list_of_the_segment():
            answer = world.get("/v1/users/newcook/recommendations?n=3")
            return answer if items_of(answer)[0] == "i7" else None

        answer = wait_until(list_of_the_segment, "a list of the segment").json
        anybody = world.post("/v1/users/nobody/recommendations", answer["requested"]["request"])

        assert answer["source"] == "popular"
        assert items_of(anybody) == [each["item"] for each in answer["items"]]
        assert items_of(world.get("/v1/users/nobody/recommendations?n=1")) == ["i0"]
        # What the user does counts more than what others do.
        world.fold(event("newcook", "i2"))
        world.wait_for_views()
        own = world.get("/v1/users/newcook/recommendations?n=3")
        assert own.json["source"] == "fold-in"
        assert "boost" not in own.json["requested"]["request"]


def test_properties_change_the_pushed_list_of_a_user_without_events(tmp_path):
    board = checker_board()
    board.hyperparameters["popularity_weight"] = 1.0

    def profile(user):
        return Event(id=user, type="profile", user=user, ts=NOW, properties={"segment": "cook"})

    with running(tmp_path) as world:
        world.serve_generation(board)
        world.fold(profile("cook"), profile("scout"))
        for user, item in (("cook", "i7"), ("other", "i0")):
            world.fold(*[event(user, item, id=f"{user}{nth}") for nth in range(30)])
        wait_until(
            lambda: items_of(world.get("/v1/users/scout/recommendations?n=1")) == ["i7"],
            "a list of the segment",
        )
        with world.socket() as client:
            client.hello("newcook", "recs")
            assert client.receive("recs")["items"][0]["item"] == "i0"

            popular = msgspec.structs.replace(a_list("newcook", "i0", "i1"), source="popular")
            world.fold(profile("newcook"), publish=popular)
            pushed = client.receive("recs")

    assert pushed["items"][0]["item"] == "i7"
    assert pushed["offset"] >= 0
