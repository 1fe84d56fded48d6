"""Placements: places of a shop with lists of their own, by request and pushed."""

import pytest

from recstream.core.records import Item
from tests.bridge.bridge_world import a_list, checker_board, event, running
from tests.bridge.http.conftest import items_of

DOCUMENT = {
    "rules": [{"action": "exclude", "name": "no i0", "where": {"items": ["i0"]}}],
    "arms": [
        {"name": "a", "share": 0.5},
        {"name": "b", "share": 0.5, "rules": [{"action": "pin", "name": "p", "items": ["i9"]}]},
    ],
    "placements": [
        {
            "name": "cart",
            "size": 2,
            "arm": "b",
            "without": ["no i0"],
            "rules": [{"action": "only", "name": "cheap", "where": {"price": {"max": 9}}}],
        },
        {"name": "home", "diversity": {"strength": 0.1, "by": ["brand"]}},
    ],
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with running(tmp_path_factory.mktemp("placed"), list_size=4) as world:
        details = {f"i{at}": Item(item=f"i{at}", price=float(at)) for at in range(12)}
        world.serve_generation(checker_board(**details))
        assert world.call("PUT", "/v1/steering", DOCUMENT).status == 202
        yield world


def test_a_placement_has_its_own_rules_size_and_arm(shop):
    answers = [shop.get(f"/v1/users/u{at}/recommendations?placement=cart") for at in range(8)]

    assert {tuple(items_of(answer)) for answer in answers} == {("i9", "i0")}
    assert {answer.json["arm"] for answer in answers} == {"b"}
    assert {answer.json["requested"]["request"]["placement"] for answer in answers} == {"cart"}
    home = shop.get("/v1/users/u1/recommendations?placement=home&n=12")
    assert "i0" not in items_of(home)
    assert home.json["arm"] in {"a", "b"}


def test_placements_hold_for_visitors_shelves_similar_items_and_candidates(shop):
    assert items_of(shop.post("/v1/recommendations", {"placement": "cart"})) == ["i9", "i0"]
    cheap = {f"i{at}" for at in range(10)}
    assert set(items_of(shop.get("/v1/items/i2/similar?placement=cart&n=9"))) <= cheap
    assert "i10" in items_of(shop.get("/v1/items/i2/similar?n=9"))
    ranked = shop.post("/v1/rank", {"placement": "cart", "candidates": ["i11", "i1"]}).json
    assert [one["item"] for one in ranked["items"]] == ["i1"]
    assert ranked["unranked"][0]["rule"] == "cheap"


def test_a_placement_that_does_not_exist_is_named(shop):
    answer = shop.get("/v1/users/u/recommendations?placement=attic")

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/placement"
    assert "cart, home" in answer.json["detail"]


def test_a_subscriber_of_a_placement_gets_its_lists(shop):
    shop.fold(event("pushed", "i3"))
    shop.wait_for_views()
    with shop.socket() as client:
        client.hello("pushed", {"ch": "recs", "placement": "cart"})
        first = client.receive("recs")
        shop.fold(event("pushed", "i1"), publish=a_list("pushed", "i2", "i4"))
        second = client.receive("recs")

    assert next(one["item"] for one in first["items"]) == "i9"
    assert first["requested"]["request"]["placement"] == "cart"
    assert second["requested"]["request"]["placement"] == "cart"
    assert not {"i1", "i3"} & {one["item"] for one in second["items"]}


def test_a_stream_or_socket_of_no_placement_is_refused(shop):
    assert shop.get("/v1/stream?user=u&placement=attic").status == 404
    with shop.socket() as client:
        client.hello("u", {"ch": "recs", "placement": "attic"})
        assert client.receive("error")["code"] == "not-found"


@pytest.mark.parametrize(
    ("placements", "pointer"),
    [
        ([{"name": "a"}, {"name": "a"}], "/placements/1/name"),
        ([{"name": "a", "arm": "x"}], "/placements/0/arm"),
        ([{"name": "a", "without": ["x"]}], "/placements/0/without/0"),
        ([{"name": "a", "size": 0}], "/placements/0/size"),
        (
            [{"name": "a", "rules": [{"action": "only", "name": "r", "where": {}}]}],
            "/placements/0/rules/0/where",
        ),
    ],
)
def test_placements_that_make_no_sense_are_refused_where_they_stand(shop, placements, pointer):
    answer = shop.post("/v1/steering/check", {"placements": placements})

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == pointer


def test_placements_are_described_in_words(shop):
    words = shop.post("/v1/steering/check", DOCUMENT).json["words"]

    assert "placement cart, 2 items, as arm b: cheap: list only price at most 9; without no i0" in (
        words
    )
