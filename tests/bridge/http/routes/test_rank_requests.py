"""Candidates of a request, ranked for a user or a visitor."""

import pytest

from tests.bridge.bridge_world import event
from tests.bridge.http.conftest import ask, items_of


def test_unknown_candidates_are_named_once(shop):
    answer = shop.post("/v1/rank", {"candidates": ["gone"]})

    assert answer.json["unranked"] == [{"item": "gone", "reason": "unknown"}]
    assert "request: filter" not in str(answer.json["requested"].get("warnings"))


def test_candidates_are_ranked_for_a_user_with_reasons(shop):
    shop.fold(event("searcher", "i1"))
    shop.wait_for_views()
    asked = ["i2", "i3", "i1", "nowhere", "i8", "i3"]

    answer = shop.post(
        "/v1/rank", {"user": "searcher", "candidates": asked, "filter": {"price": {"max": 7}}}
    )

    whole = items_of(ask(shop, "searcher", n=12, known=True))
    assert items_of(answer) == [item for item in whole if item in {"i1", "i2", "i3"}]
    assert answer.json["items"][0]["why"]
    assert answer.json["unranked"] == [
        {"item": "nowhere", "reason": "unknown"},
        {"item": "i8", "reason": "excluded", "rule": "request: filter"},
    ]


def test_candidates_are_ranked_for_a_visitor(shop):
    answer = shop.post("/v1/rank", {"items": ["i2"], "candidates": ["i1", "i6"], "n": 1})

    assert items_of(answer) == ["i6"]
    assert answer.json["unranked"] == [{"item": "i1", "reason": "cut"}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"candidates": []}, 422),
        ({"user": "u"}, 422),
        ({"candidates": ["a"] * 1001}, 422),
        ({"user": "u", "items": ["a"], "candidates": ["a"]}, 400),
        ({"candidates": ["a"], "filter": {"price": {}}}, 422),
    ],
)
def test_candidates_that_make_no_sense_are_refused(shop, body, status):
    assert shop.post("/v1/rank", body).status == status


def test_only_a_token_of_the_user_ranks_for_the_user(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")
    body = {"user": "bob", "candidates": ["a"]}

    assert guarded.post("/v1/rank", body, token=token).status == 403
    assert guarded.post("/v1/rank", body | {"user": "ann"}, token=token).status == 200
    assert guarded.post("/v1/rank", {"candidates": ["a"]}).status == 200
    without = guarded.post("/v1/rank", body)
    assert (without.status, without.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert without.json["type"].endswith("token-missing")
