"""An id in a URL means that id alone, whatever it contains: percent-encoded segments are decoded once."""

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
