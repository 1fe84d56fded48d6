"""An id in a URL means that id alone, whatever it contains: percent-encoded segments are decoded once."""

import json
import re
from urllib.parse import quote

import msgspec
import pytest

from recstream.core.records import ForgetRequested
from recstream.log.topics import CONTROL
from tests.bridge.bridge_world import event

IDS = ["a/b", "/", "a%2Fb", "a%b", "%", "..", "a/../b", "a?b#c", "a b", "ü/ß", "a+b", "a//b", "a/"]
IDS += [
    "A/B",
    "e\u0301",
    "\u00e9",
    "日本 🎸",
    " a",
    "\u0645\u06cc\u200c\u062e",
    "%2e%2e",
    "a;b=c",
    "a&b",
]


def encoded(name: str) -> str:
    return quote(name, safe="")


@pytest.mark.parametrize("name", IDS)
def test_a_list_is_of_the_user_in_the_url(world, name):
    world.publish(name, "x")
    world.wait_for_views()

    answer = world.get(f"/v1/users/{encoded(name)}/recommendations?n=1")

    assert (answer.status, answer.json["user"]) == (200, name)
    assert [one["item"] for one in answer.json["items"]] == ["x"]


@pytest.mark.parametrize("name", IDS)
def test_events_shelves_and_merges_are_of_the_user_in_the_url(world, name):
    user = f"e{name}"
    world.fold(event(user, "i1", id=f"id-{name}"))
    path = f"/v1/users/{encoded(user)}"

    assert world.get(f"{path}/events").json["events"][0]["event"]["user"] == user
    assert world.get(f"{path}/shelves").json["user"] == user
    assert world.post(f"{path}/recommendations", {}).json["user"] == user
    merged = world.post(f"{path}/merge", {"from": "visitor-0123456789abcdef"})
    assert (merged.status, merged.json["user"]) == (202, user)


@pytest.mark.parametrize("name", IDS)
def test_the_user_in_the_url_is_erased_and_nobody_else(world, name):
    answer = world.call("DELETE", f"/v1/users/{encoded(name)}")

    assert answer.status == 202
    (record,) = world.log.read(CONTROL, 0, answer.json["offset"])
    assert msgspec.json.decode(record.value, type=ForgetRequested).user == name


@pytest.mark.parametrize("name", IDS)
def test_an_item_is_put_read_and_deleted_by_its_id(world, name):
    path = f"/v1/items/{encoded(name)}"

    assert world.call("PUT", path, {"title": "odd"}).json["item"] == name
    assert world.get(path).json["item"] == name
    assert world.get(f"{path}/similar").json["item"] == name
    assert world.call("DELETE", path).status == 204
    assert world.get(path).status == 404


@pytest.mark.parametrize("name", IDS)
def test_an_explanation_is_of_the_item_in_the_url(world, name):
    answer = world.get(f"/v1/users/u/recommendations/{encoded(name)}/explanation")

    assert answer.status == 404
    assert "generation" in answer.json["detail"]  # the route was found, the model was not


def test_a_slash_that_is_not_encoded_divides_segments(world):
    assert world.call("DELETE", "/v1/users/a/b").status in {404, 405}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/%FF/recommendations",
        "/v1/users/a%ED%A0%80/events",
        "/v1/log/x?user=%FF",
        "/%C0%AF",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_url_that_is_not_utf8_is_refused(world, path, method):
    answer = world.call(method, path)

    assert (answer.status, answer.json["type"]) == (400, "urn:recstream:problem:invalid-url")


@pytest.mark.parametrize("name", ["%00", "a%0Ab", "a" * 257, "%E2%80%AE"])
def test_an_id_that_no_event_can_have_is_refused(world, name):
    assert world.call("DELETE", f"/v1/users/{name}").status == 400


def test_a_token_acts_for_the_user_in_the_url_alone(guarded):
    token = guarded.bridge.deps.auth.issue("a/b")[0]

    assert guarded.get("/v1/users/a%2Fb/recommendations", token=token).status == 200
    assert guarded.get("/v1/users/a%252Fb/recommendations", token=token).status == 403
    assert guarded.get("/v1/users/a/recommendations", token=token).status == 403


def test_a_file_of_the_page_is_found_under_an_encoded_path(world):
    style = re.search(r'"(/assets/[0-9a-f]+/)css/main.css"', world.get("/").body.decode())[1]

    assert world.get(f"{style}css%2Fmain.css").status == world.get(f"{style}css/main.css").status
    assert world.get(f"{style}css%2Fmain.css").status == 200
    assert world.get(f"{style}..%2F..%2Fpyproject.toml").status == 404
    assert world.get("/..%2Fpyproject.toml").status == 404
    assert world.get("/%2e%2e/pyproject.toml").status == 404


def forms(name, texts):
    """Return the forms of a parameter with these texts that keep commas within them."""
    yield f"{name}={quote(json.dumps(texts))}"
    yield "&".join(f"{name}={quote(each)}" for each in texts)


@pytest.mark.parametrize("form", [0, 1])
def test_ids_with_commas_can_be_listed_in_parameters(shop, form):
    ids = ["a,b", "a", '["c"]']
    for name in ids:
        assert shop.call("PUT", f"/v1/items/{encoded(name)}", {"title": "T"}).status == 200

    def get(path, name, texts):
        return shop.get(f"{path}?{list(forms(name, texts))[form]}").json

    found = get("/v1/items", "ids", ids)["items"]
    listed = [
        get(path, "exclude", ids)["requested"]["request"]["exclude"]
        for path in ("/v1/popular", "/v1/users/u/recommendations", "/v1/shelves/newest")
    ]
    fields = get("/v1/popular", "fields", ["rank", "score"])["items"][0]
    query = list(forms("users", ["u,1", "u"]))[form]
    preview = shop.post(f"/v1/steering/preview?{query}", {}).json["users"]

    assert [one["item"] for one in found] == ids
    assert [sorted(each) for each in listed] == [sorted(ids)] * 3
    assert fields.keys() == {"item", "rank", "score"}
    assert [one["user"] for one in preview] == ["u,1", "u"]


def test_one_parameter_with_commas_still_separates_ids(shop):
    for name in ("x", "y", "[x"):
        assert shop.call("PUT", f"/v1/items/{encoded(name)}", {"title": "T"}).status == 200

    assert shop.call("PUT", "/v1/items/7", {"title": "T"}).status == 200
    for query, expected in {
        "[7]": ["7"],
        "x,,y": ["x", "y"],
        "[x,y": ["[x", "y"],
        "x%2Cy": ["x", "y"],
    }.items():
        found = shop.get(f"/v1/items?ids={query}").json["items"]
        assert [one["item"] for one in found] == expected
