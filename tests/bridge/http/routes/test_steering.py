"""A shop's rules over REST: set, in words, refused with a pointer, followed by lists at once."""

from datetime import timedelta

import jwt
import pytest

from recstream.core.records import Item
from tests.bridge.bridge_world import NOW, SECRET, checker_board, event, running
from tests.bridge.http.conftest import items_of

HIDE = {"action": "exclude", "name": "hide", "where": {"items": ["i0", "i2"]}}
PIN = {"action": "pin", "name": "first", "items": ["i7"]}


@pytest.fixture
def shop(tmp_path):
    with running(tmp_path, list_size=4) as world:
        world.serve_generation(checker_board())
        yield world


def test_without_a_document_there_is_an_empty_one(shop):
    answer = shop.get("/v1/steering").json

    assert (answer["offset"], answer["steering"], answer["words"]) == (-1, {}, [])


def test_a_document_is_in_the_log_when_it_is_answered_and_shapes_lists_made_from_then_on(shop):
    assert items_of(shop.get("/v1/popular?n=3")) == ["i0", "i1", "i2"]

    answer = shop.call("PUT", "/v1/steering", {"rules": [HIDE, PIN]})

    assert answer.status == 202
    assert answer.json["words"] == ["hide: leave out items i0, i2", "first: pin i7 from place 1 on"]
    assert answer.json["warnings"] == []
    assert items_of(shop.get("/v1/popular?n=3")) == ["i7", "i1", "i3"]
    assert shop.get("/v1/steering").json == answer.json


def test_a_list_published_under_older_rules_is_made_anew_when_it_is_read(shop):
    shop.publish("reader", "i0", "i5")
    shop.wait_for_views()
    assert items_of(shop.get("/v1/users/reader/recommendations?n=2")) == ["i0", "i5"]

    shop.call("PUT", "/v1/steering", {"rules": [HIDE]})

    assert items_of(shop.get("/v1/users/reader/recommendations?n=2")) == ["i1", "i3"]


def test_taking_rules_back_makes_lists_as_they_were(shop):
    shop.call("PUT", "/v1/steering", {"rules": [HIDE]})
    shop.publish("back", "i4", "i5")
    shop.wait_for_views()

    answer = shop.call("DELETE", "/v1/steering")

    assert (answer.status, answer.json["steering"]) == (202, {})
    assert items_of(shop.get("/v1/popular?n=2")) == ["i0", "i1"]
    assert items_of(shop.get("/v1/users/back/recommendations?n=2")) == ["i4", "i5"]


def test_an_explanation_names_the_rule_that_leaves_an_item_out(shop):
    shop.call("PUT", "/v1/steering", {"rules": [HIDE]})

    told = shop.get("/v1/users/somebody/recommendations/i0/explanation").json

    assert (told["verdict"], told["rule"]) == ("excluded", "hide")


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"rules": [{**HIDE, "where": {}}]}, "/rules/0/where"),
        ({"rules": [{**HIDE, "colour": 1}]}, "/rules/0"),
        ({"rules": [HIDE, HIDE]}, "/rules/1/name"),
        ({"rules": [{**HIDE, "where": {"price": {"min": 3, "max": 2}}}]}, "/rules/0/where/price"),
        ({"arms": [{"name": "a", "share": 0.4}]}, "/arms"),
        ({"blend": {"factors": -1}}, "/blend/factors"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_pointer(shop, document, pointer):
    answer = shop.call("PUT", "/v1/steering", document)

    assert answer.status == 422, answer.body
    assert answer.json["errors"][0]["pointer"] == pointer
    assert shop.get("/v1/steering").json["offset"] == -1


def test_a_document_that_is_too_large_too_deep_or_no_json_is_refused(shop):
    deep = b'{"rules":[{"action":"only","name":"d","where":' + b'{"not":' * 5_000
    deep += b'{"items":["a"]}' + b"}" * 5_000 + b"}]}"

    assert shop.call("PUT", "/v1/steering", b"{" + b" " * 70_000 + b"}").status == 413
    assert shop.call("PUT", "/v1/steering", deep).status == 422
    assert shop.call("PUT", "/v1/steering", b"{").status == 422
    assert shop.call("PUT", "/v1/steering", b"{}", kind="text/plain").status == 415


def test_what_is_hardly_meant_is_warned_of_but_taken(shop):
    nothing = {"action": "boost", "name": "no", "where": {"brand": "Nobody"}, "by": 1}
    empty = {"action": "only", "name": "all gone", "where": {"brand": "Nobody"}}

    told = shop.call("POST", "/v1/steering/check", {"rules": [nothing, empty, PIN]}).json

    assert told["warnings"] == [
        "rule 'all gone' keeps only no item of 12",
        "rule 'no' boosts no item of 12",
        "rule 'first' pins 'i7', which rule 'all gone' excludes",
        "no item is left to list",
    ]
    assert shop.get("/v1/steering").json["offset"] == -1


def test_only_a_service_may_set_rules(guarded):
    user, _ = guarded.bridge.deps.auth.issue("u1")
    service, _ = guarded.bridge.deps.auth.issue(None)

    assert guarded.call("PUT", "/v1/steering", {}).status == 401
    assert guarded.call("PUT", "/v1/steering", {}, token=user).status == 403
    assert guarded.call("PUT", "/v1/steering", {}, token=service).status == 202


def test_a_list_contains_its_arm(shop):
    arms = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]
    shop.call("PUT", "/v1/steering", {"arms": arms, "salt": "1"})

    seen = {
        shop.get(f"/v1/users/user-{number}/recommendations?n=2").json["arm"] for number in range(12)
    }

    assert seen == {"a", "b"}


def test_a_preview_compares_real_lists_and_sets_nothing(tmp_path):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        world.fold(event("even", "i2", "like"), event("even", "i4"))
        world.wait_for_views()
        document = {"rules": [{"action": "exclude", "name": "no i0", "where": {"items": ["i0"]}}]}

        answer = world.post("/v1/steering/preview?n=3", document).json
        unset = world.get("/v1/steering").json

    (effect,) = answer["users"]
    before = [one["item"] for one in effect["before"]]
    after = [one["item"] for one in effect["after"]]
    assert effect["user"] == "even"
    assert "i0" in before
    assert after == [*(item for item in before if item != "i0"), after[-1]]
    assert answer["mean_overlap"] == pytest.approx(2 / 3)
    assert unset["offset"] == -1


def test_rules_about_the_time_are_checked_previewed_and_compared_as_of_now(tmp_path):
    days = {f"i{at}": 300 if at % 4 else 1 for at in range(12)}
    details = {
        item: Item(item=item, from_=NOW - timedelta(days=each)) for item, each in days.items()
    }
    recent = {"from": {"min": {"now": -7 * 86_400}}}
    document = {"rules": [{"action": "only", "name": "recent", "where": recent}]}
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1, **details))
        world.fold(event("even", "i2", "like"))
        world.wait_for_views()

        preview = world.post("/v1/steering/preview?n=12", document).json
        world.call("PUT", "/v1/steering", document)
        listed = world.get("/v1/users/even/recommendations?n=12&known=true").json["items"]
        state = world.get("/v1/steering").json
        compared = world.get("/v1/models/1/overlap?with=1&n=12").json

    (effect,) = preview["users"]
    assert len(effect["before"]) > len(effect["after"]) > 0
    assert {one["item"] for one in effect["after"]} <= {one["item"] for one in listed}
    assert set(compared["lists"][0]["a"]) == {one["item"] for one in effect["after"]}
    assert preview["warnings"] == state["warnings"] == []


@pytest.mark.parametrize(
    ("query", "document", "status"),
    [("", {"rules": [{"action": "x"}]}, 422), ("?users=" + ",".join("ab" * 26), {}, 400), ("?n=0", {}, 400)],
)  # fmt: skip
def test_a_preview_that_can_not_be_is_a_problem(world, query, document, status):
    assert world.post(f"/v1/steering/preview{query}", document).status == status


def test_the_history_of_steering_has_author_and_time(guarded):
    now_s = round(guarded.clock.now.timestamp())
    claims = {"sub": "shop-owner", "scope": "service", "exp": now_s + 60}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    for minimum in (0.1, 0.2):
        guarded.call("PUT", "/v1/steering", {"min_relevance": minimum}, token=token)

    newest, before = guarded.get("/v1/steering/history", token=token).json["documents"][:2]

    assert (newest["steering"]["min_relevance"], before["steering"]["min_relevance"]) == (0.2, 0.1)
    assert (newest["author"], newest["requested_ts"]) == ("shop-owner", now_s * 1000)
