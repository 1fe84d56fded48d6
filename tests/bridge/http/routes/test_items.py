"""Items over REST: a change goes into the log, and is there for the next read."""

import threading

import pytest

from recstream.log.port import NewRecord
from recstream.log.topics import CATALOGUE
from tests.waiting import wait_until


def test_an_item_that_was_put_is_read_back_and_is_in_the_log(world):
    fields = {"title": "Tea", "category": "kitchen", "price": 4.5, "attributes": {"g": 100}}

    put = world.call("PUT", "/v1/items/tea", fields)

    assert put.json == {"item": "tea"} | fields
    assert world.get("/v1/items/tea").json == put.json
    assert world.records(CATALOGUE, "tea")[-1].value is not None


def test_a_change_of_some_fields_leaves_the_others(world):
    fields = {"title": "Tea", "price": 4.5, "attributes": {"g": 100, "tin": True}, "vector": [0.5]}
    world.call("PUT", "/v1/items/leaf", fields)

    sold_out = world.call("PATCH", "/v1/items/leaf", {"available": False})
    changes = {"price": None, "attributes": {"tin": None, "stock": 0}}
    cleared = world.call("PATCH", "/v1/items/leaf", changes)

    assert sold_out.json == {"item": "leaf"} | fields | {"available": False}
    assert cleared.json == {
        "item": "leaf", "title": "Tea", "attributes": {"g": 100, "stock": 0}, "vector": [0.5],
        "available": False,
    }  # fmt: skip
    assert world.get("/v1/items/leaf").json == cleared.json


def test_a_change_knows_what_was_accepted_before(world):
    for price in range(1, 20):
        world.post("/v1/items", [{"item": "quick", "title": f"T{price}", "price": price}])
        changed = world.call("PATCH", "/v1/items/quick", {"brand": "Acme"}).json

        assert (changed["title"], changed["price"]) == (f"T{price}", price)


def test_changes_of_several_fields_at_the_same_time_are_all_kept(world):
    world.call("PUT", "/v1/items/busy", {"title": "Busy"})

    def change(name):
        for value in range(10):
            world.call("PATCH", "/v1/items/busy", {"attributes": {name: value}})

    threads = [threading.Thread(target=change, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert world.get("/v1/items/busy").json["attributes"] == {"a": 9, "b": 9, "c": 9}


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("nobody", {"price": 1}, 404),
        ("odd", {"colour": "red"}, 422),
        ("odd", {"title": None}, 422),
        ("odd", {"price": -1}, 422),
        ("odd", {"until": "2026-01-01T00:00:00Z"}, 422),
        ("odd", b"{", 400),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(world, name, body, status):
    world.call("PUT", "/v1/items/odd", {"title": "Odd", "from": "2026-06-01T00:00:00Z"})
    before = world.get("/v1/items/odd").json

    answer = world.call("PATCH", f"/v1/items/{name}", body)

    assert (answer.status, answer.kind) == (status, "application/problem+json")
    assert world.get("/v1/items/odd").json == before


def test_a_deleted_item_is_gone_and_its_record_a_tombstone(world):
    world.put_items(gone="x")

    assert world.call("DELETE", "/v1/items/gone").status == 204
    assert world.get("/v1/items/gone").status == 404
    assert world.call("DELETE", "/v1/items/gone").status == 404
    assert world.records(CATALOGUE, "gone")[-1].value is None


def test_items_are_found_by_text_and_category_page_by_page(world):
    world.put_items(**{f"pg{at}": "paged" for at in range(5)})
    found, cursor = [], ""
    for _ in range(3):
        page = world.get(f"/v1/items?category=paged&limit=2&cursor={cursor}").json
        found += [one["item"] for one in page["items"]]
        cursor = page["next"]

    assert found == [f"pg{at}" for at in range(5)]
    assert cursor == ""
    assert [one["item"] for one in world.get("/v1/items?q=pg3").json["items"]] == ["pg3"]


def test_categories_are_counted(world):
    world.put_items(ca="counted", cb="counted")

    assert world.get("/v1/categories").json["categories"]["counted"] == 2


def test_an_item_may_have_any_printable_name(world):
    assert world.call("PUT", "/v1/items/caf%C3%A9%20no.%201", {"title": "Café"}).status == 200
    assert world.get("/v1/items/caf%C3%A9%20no.%201").json["item"] == "café no. 1"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/items/x", {"price": -1}, 422),
        ("/v1/items/x", {"colour": "red"}, 422),
        ("/v1/items/x", {"item": "y"}, 422),
        ("/v1/items/x", b"{", 400),
        ("/v1/items/x%0Ay", {}, 400),
        ("/v1/items/" + "x" * 300, {}, 400),
    ],
)
def test_an_item_that_makes_no_sense_is_refused(world, path, body, status):
    answer = world.call("PUT", path, body)

    assert (answer.status, answer.kind) == (status, "application/problem+json")


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "cursor=nonsense", "q=" + "x" * 201])
def test_a_search_that_makes_no_sense_is_400(world, query):
    answer = world.get(f"/v1/items?{query}")

    assert (answer.status, answer.kind) == (400, "application/problem+json")


def test_a_catalogue_record_that_is_no_item_stops_nothing(world):
    world.log.append([NewRecord(CATALOGUE, b"broken", b"{", 0)])
    world.put_items(after="x")

    assert world.get("/v1/items/after").status == 200
    assert world.get("/v1/items/broken").status == 404


def test_many_items_are_put_at_once_and_bad_ones_are_named(world):
    good = [{"item": f"bulk{n}", "title": f"Bulk {n}"} for n in range(3)]
    bad = [{"title": "no id"}, {"item": "x", "price": "free"}, 7, {"item": "a\nb"}]
    bad.append({"item": "y", "colour": "red"})

    answer = world.post("/v1/items", [good[0], *bad, *good[1:]])

    assert (answer.status, answer.json["accepted"]) == (202, 3)
    assert [(one["index"], one["pointer"], one["code"]) for one in answer.json["rejected"]] == [
        (1, "/1/item", "missing"),
        (2, "/2/price", "invalid-type"),
        (3, "/3", "invalid-type"),
        (4, "/4/item", "invalid-name"),
        (5, "/5/colour", "unknown-field"),
    ]
    known = "known: item, title, category, brand, price, description, image, attributes, available"
    assert known in answer.json["rejected"][-1]["detail"]
    assert world.records(CATALOGUE, "bulk2")[-1].offset == answer.json["position"]["offsets"]["0"]
    found = wait_until(lambda: world.get("/v1/items?ids=bulk2,none,bulk0,bulk2").json["items"][1:])
    assert [one["item"] for one in found] == ["bulk0"]


def test_items_come_as_lines_too(world):
    lines = b'{"item":"line1","title":"One"}\n\n{"item":"line2"}\n'

    answer = world.post("/v1/items", lines, kind="application/x-ndjson")

    assert (answer.status, answer.json["accepted"], answer.json["rejected"]) == (202, 2, [])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 422),
        ([{"title": "no id"}], 422),
        (b"[{]", 400),
        ([{"item": str(n)} for n in range(1001)], 413),
        ([{"item": "big", "description": "x" * (1 << 20)}], 413),
    ],
)
def test_a_batch_without_any_item_that_can_be_taken_is_a_problem(world, body, status):
    answer = world.post("/v1/items", body)

    assert (answer.status, answer.kind) == (status, "application/problem+json")


def test_items_are_asked_for_by_name_all_at_once(world):
    world.put_items(na="x", nb="x", nc="x")

    page = world.get("/v1/items?ids=nc,na,gone").json

    assert [one["item"] for one in page["items"]] == ["nc", "na"]
    assert page["next"] == ""
    assert world.get("/v1/items?ids=na&q=x").status == 400
    assert world.get("/v1/items?ids=" + ",".join(map(str, range(201)))).status == 400


def test_similar_items_of_an_unknown_item_are_404_and_of_a_new_one_empty(world):
    world.put_items(fresh="x")

    assert world.get("/v1/items/nothing/similar").status == 404
    assert world.get("/v1/items/fresh/similar").json["items"] == []
