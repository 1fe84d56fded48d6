"""Shelves over REST: trending, newest, popular, bought together, again."""

from datetime import timedelta

import pytest

from recstream.bridge import shelves
from recstream.core.records import Item
from recstream.core.steering import ListRequest
from tests.bridge.bridge_world import NOW, checker_board, event, running
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with running(tmp_path_factory.mktemp("shelves"), list_size=4) as world:
        details = {
            f"i{at}": Item(
                item=f"i{at}",
                category="even" if at % 2 == 0 else "odd",
                price=float(at),
                from_=NOW - timedelta(days=at) if at in {3, 5} else None,
            )
            for at in range(12)
        }
        details["i11"] = Item(item="i11", category="odd", from_=NOW + timedelta(days=1))
        world.serve_generation(checker_board(**details))
        for day in (8, 4, 0):
            ts = NOW - timedelta(days=day)
            for item in ("i2", "i3"):
                world.fold(event("weekly", item, "purchase", ts=ts, id=f"{item}-{day}"))
        for at in range(6):
            world.fold(event(f"b{at}", "i7", id=f"burst-{at}"))
            world.fold(event(f"b{at}", "i9", "purchase", ts=NOW - timedelta(days=20)))
        counts = world.bridge.deps.sources.counts
        total = sum(world.log.high_watermark("recstream.interactions", p) for p in range(2))
        wait_until(lambda: sum(counts.counted().next.values()) == total, "events that are counted")
        world.wait_for_views()
        yield world


def shelf_of(answer):
    assert answer.status == 200, answer.body
    (shelf,) = answer.json["shelves"]
    return [one["item"] for one in shelf["items"]]


def test_trending_items_are_those_faster_than_their_own_past(shop):
    answer = shop.get("/v1/shelves/trending?n=3")

    assert shelf_of(answer)[0] == "i7"
    assert answer.json["counted"]["next"].keys() == {"0", "1"}
    assert answer.json["shelves"][0]["items"][0]["score"] > 1.0
    assert set(shelf_of(shop.get("/v1/shelves/trending?category=even"))) == {"i2"}


def test_newest_items_are_ordered_by_from_and_not_before_it(shop):
    newest = shelf_of(shop.get("/v1/shelves/newest?n=4"))

    assert newest == ["i3", "i5", "i10", "i9"]


def test_popular_items_come_by_category_too(shop):
    answer = shop.get("/v1/shelves/popular?by=category&n=2&shelves=2").json

    assert [
        (each["category"], [one["item"] for one in each["items"]]) for each in answer["shelves"]
    ] == [("even", ["i0", "i2"]), ("odd", ["i1", "i3"])]
    assert shelf_of(
        shop.post("/v1/shelves/popular", {"n": 2, "filter": {"price": {"min": 4}}})
    ) == ["i4", "i5"]


def test_a_shelf_has_pages(shop):
    first = shop.get("/v1/shelves/popular?n=5").json
    second = shop.get(f"/v1/shelves/popular?n=5&cursor={first['next']}")

    assert shelf_of(second) == ["i5", "i6", "i7", "i8", "i9"]
    assert second.json["shelves"][0]["items"][0]["rank"] == 6


def test_items_that_are_bought_together_share_baskets(shop):
    assert shelf_of(shop.get("/v1/items/i2/bought-together")) == ["i3"]
    excluded = shop.post("/v1/items/i2/bought-together", {"exclude": ["i3"]})
    assert excluded.json["shelves"] == []


def test_a_user_is_due_to_buy_again_what_is_bought_again(shop):
    shop.clock.advance(4 * 86_400)
    try:
        assert set(shelf_of(shop.get("/v1/users/weekly/again"))) == {"i2", "i3"}
        assert shop.get("/v1/users/b0/again").json["shelves"] == []
    finally:
        shop.clock.advance(-4 * 86_400)


def test_what_was_only_viewed_is_not_due_again_and_a_view_puts_off_nothing(shop):
    shop.clock.advance(4 * 86_400)
    try:
        due = shop.get("/v1/users/weekly/again").json["shelves"]
        shop.fold(event("looker", "i2"), event("weekly", "i2"), event("weekly", "i3"))
        shop.wait_for_views()

        assert shop.get("/v1/users/looker/again").json["shelves"] == []
        assert shop.get("/v1/users/weekly/again").json["shelves"] == due
    finally:
        shop.clock.advance(-4 * 86_400)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/shelves/dusty", 404),
        ("/v1/shelves/newest?by=colour", 400),
        ("/v1/shelves/newest?placement=x", 422),
    ],
)
def test_a_shelf_that_does_not_exist_is_a_problem(shop, path, status):
    answer = shop.get(path)

    assert (answer.status, answer.kind) == (status, "application/problem+json")


def entries(answer):
    assert answer.status == 200, answer.body
    body = answer.json
    return [one for shelf in body.get("shelves", [body]) for one in shelf["items"]]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/shelves/popular",
        "/v1/items/i2/bought-together",
        "/v1/items/i2/similar",
        "/v1/users/weekly/again",
        "/v1/users/b1/shelves",
        "/v1/users/weekly/recommendations",
    ],
)
def test_every_list_has_the_fields_of_its_items_that_are_asked_for(shop, path):
    put = shop.call("PUT", "/v1/items/i3", {"title": "Three", "category": "odd", "vector": [1, 2]})
    shop.call("PUT", "/v1/items/i0", {"title": "Naught", "category": "even", "vector": [1, 2]})

    shop.clock.advance(4 * 86_400)
    few = entries(shop.post(path, {"fields": ["rank", "details"]}))
    bare = entries(shop.get(f"{path}?fields=score"))
    shop.clock.advance(-4 * 86_400)

    assert put.status in {200, 202}
    assert few
    assert all(
        {"item", "details"} <= set(one) <= {"item", "rank", "details", "share", "shared"}
        for one in few
    )
    assert not any("vector" in (one["details"] or {}) for one in few)
    assert {one["item"]: (one["details"] or {}).get("title") for one in few}.items() & {
        ("i0", "Naught"),
        ("i3", "Three"),
    }
    assert all(
        {"item", "score"} <= set(one) <= {"item", "score", "share", "shared"} for one in bare
    )


def test_what_is_bought_with_an_item_that_does_not_exist_is_not_found(shop):
    answer = shop.get("/v1/items/nowhere/bought-together")

    assert (answer.status, answer.json["detail"]) == (404, "the catalogue has no item 'nowhere'")


def test_an_item_that_events_alone_name_is_withdrawn_once(shop):
    assert "i10" in shelf_of(shop.get("/v1/shelves/newest?n=9"))
    assert shop.get("/v1/items/i10").status == 404

    gone = shop.call("DELETE", "/v1/items/i10")

    assert gone.status in {202, 204}
    wait_until(lambda: "i10" not in shelf_of(shop.get("/v1/shelves/newest?n=9")), "withdrawn")
    assert shop.call("DELETE", "/v1/items/nowhere").status == 404


def test_a_candidate_before_its_time_is_withdrawn_as_an_explanation_says(shop):
    ranked = shop.post("/v1/rank", {"candidates": ["i11", "i2"]})
    explained = shop.get("/v1/users/weekly/recommendations/i11/explanation")

    assert ranked.json["unranked"] == [{"item": "i11", "reason": "withdrawn"}]
    assert explained.json["verdict"] == "withdrawn"


def test_a_choice_that_may_be_empty_is_named_without_the_empty_one(shop):
    answer = shop.get("/v1/shelves/popular?by=brand")

    assert answer.json["detail"] == "by: Invalid enum value 'brand'; known: category"


def test_without_a_generation_there_are_no_shelves(world):
    assert world.get("/v1/shelves/newest").status == 404


def test_the_cache_of_similar_items_holds_few_items_and_no_later_pages(tmp_path, monkeypatch):
    searches = []
    search = shelves.similar_requested

    def count_and_search(*args):
        searches.append(args[1])
        return search(*args)

    monkeypatch.setattr(shelves, "similar_requested", count_and_search)
    monkeypatch.setattr(shelves, "MAX_CACHED", 10)
    with running(tmp_path) as world:
        world.serve_generation(checker_board())
        maker = world.bridge.deps.shelves

        # Four items each, and one for the entry: two entries fit, a third one empties the cache.
        for item in ("i0", "i2", "i0", "i4", "i0"):
            assert len(maker.similar(item, ListRequest(n=4))) == 4
        for _ in range(2):
            maker.similar("i0", ListRequest(n=1, offset=2))
        maker.similar("i0", ListRequest(n=4))

    assert searches == ["i0", "i2", "i4", "i0", "i0", "i0"]
