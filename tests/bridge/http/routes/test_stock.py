"""Items out of stock, not yet or no longer for sale leave lists, also published ones."""

import msgspec
import pytest

from recstream.core.records import Item
from recstream.errors import CatalogueUnavailable
from recstream.log import CATALOGUE
from tests.bridge.bridge_world import a_list, checker_board, event, running
from tests.bridge.http.conftest import items_of
from tests.waiting import wait_until


@pytest.fixture
def shop(tmp_path):
    with running(tmp_path, list_size=4) as world:
        until = world.clock.now.replace(hour=11)
        board = checker_board(i1=Item(item="i1", until=until), i3=Item(item="i3", from_=until))
        world.serve_generation(board)
        yield world


def put(world, item, **fields):
    answer = world.call("PUT", f"/v1/items/{item}", {"title": "T", **fields})
    assert answer.status == 200, answer.body
    return answer


def test_an_item_out_of_stock_leaves_every_list_before_a_delta_says_so(shop):
    shop.fold(event("buyer", "i0"), publish=a_list("buyer", "i2", "i4", "i6"))
    shop.wait_for_views()
    with shop.socket() as client:
        client.hello("buyer", "recs")
        client.receive("recs")
        put(shop, "i4", available=False)

        # A subscriber gets the list again, without the item.
        assert [one["item"] for one in client.receive("recs")["items"]] == ["i2", "i6"]
    assert items_of(shop.get("/v1/users/buyer/recommendations?n=2")) == ["i2", "i6"]
    made = shop.post("/v1/users/buyer/recommendations", {"n": 4})
    assert items_of(made) == ["i2", "i6", "i8", "i10"]
    assert made.json["requested"]["request"]["exclude"] == ["i4"]
    assert "i4" not in items_of(shop.get("/v1/items/i2/similar"))
    assert "i4" not in items_of(shop.get("/v1/popular?n=12"))
    ranked = shop.post("/v1/rank", {"candidates": ["i4", "i6"]}).json
    assert [one["item"] for one in ranked["items"]] == ["i6"]
    assert ranked["unranked"][0]["reason"] == "excluded"

    put(shop, "i4", available=True)
    assert items_of(shop.get("/v1/users/buyer/recommendations?n=3")) == ["i2", "i4", "i6"]


def test_a_change_is_accepted_while_the_item_store_is_away(shop, monkeypatch):
    def refuse(*_):
        raise CatalogueUnavailable("the item store is away")

    catalogue = shop.bridge.deps.items.catalogue
    for method in ("apply", "position"):
        monkeypatch.setattr(catalogue, method, refuse)
    before = shop.log.high_watermark(CATALOGUE, 0)

    answer = shop.call("PUT", "/v1/items/i4", {"title": "T"})

    assert (answer.status, shop.log.high_watermark(CATALOGUE, 0)) == (202, before + 1)


def test_times_of_items_count_at_the_time_of_the_request(shop):
    assert {"i1", "i3"} & set(items_of(shop.get("/v1/popular?n=12"))) == {"i1"}
    assert shop.get("/v1/popular?n=12").json["now"]

    shop.clock.advance(3600)

    assert {"i1", "i3"} & set(items_of(shop.get("/v1/popular?n=12"))) == {"i3"}


def test_a_published_list_holds_until_a_time_of_an_item_has_passed(shop):
    now = int(shop.clock.now.timestamp() * 1000)
    body = msgspec.structs.replace(a_list("timed", "i1", "i0"), now=now)
    shop.log.append([shop.list_record(body)])
    shop.wait_for_views()

    assert items_of(shop.get("/v1/users/timed/recommendations?n=2")) == ["i1", "i0"]
    shop.clock.advance(3600)
    answer = shop.get("/v1/users/timed/recommendations?n=2")
    assert items_of(answer) == ["i0", "i2"]
    assert answer.json["now"] == now + 3_600_000


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"from": "2026-01-01T00:00:00Z", "until": "2025-01-01T00:00:00Z"}, "/until"),
        ({"from": "2026-01-01T00:00:00"}, "/from"),
        ({"available": "yes"}, "/available"),
    ],
)
def test_times_that_make_no_sense_are_refused_with_their_place(shop, fields, pointer):
    alone = shop.call("PUT", "/v1/items/x", fields)
    batch = shop.post("/v1/items", [{"item": "x", **fields}])

    assert (alone.status, batch.status) == (422, 422)
    assert alone.json["errors"][0]["pointer"] == pointer
    assert batch.json["rejected"][0]["pointer"] == f"/0{pointer}"


def test_times_of_an_item_are_read_back(shop):
    put(shop, "x", **{"from": "2026-01-01T00:00:00Z"})

    assert shop.get("/v1/items/x").json["from"] == "2026-01-01T00:00:00Z"
    wait_until(lambda: shop.get("/v1/items?ids=x").json["items"], "the item")
