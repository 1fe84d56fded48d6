"""Lists over REST: published ones, made ones, and what is never in them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from recstream.core.records import Item
from recstream.core.serving.similar import similar_requested
from recstream.log.port import NewRecord
from recstream.log.topics import MODELS
from tests.bridge.bridge_world import DEADLINE_S, a_list, checker_board, event, running, withdrawal
from tests.bridge.http.conftest import items_of
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A bridge that serves the checker board: even items go together, odd ones too."""
    with running(tmp_path_factory.mktemp("trained"), list_size=4) as world:
        details = {
            f"i{at}": Item(
                item=f"i{at}", category="low" if at < 6 else "high > top", price=float(at)
            )
            for at in range(12)
        }
        world.serve_generation(checker_board(**details))
        world.put_items(**{name: item.category for name, item in details.items()})
        yield world


def test_the_published_list_is_what_rest_returns(trained):
    offset = trained.publish("pub", "i3", "i1")
    trained.wait_for_views()

    answer = trained.get("/v1/users/pub/recommendations?n=2")

    assert items_of(answer) == ["i3", "i1"]
    assert (answer.json["epoch"], answer.json["offset"]) == (trained.log.epoch, offset)
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_user_nobody_knows_gets_popular_items(trained):
    answer = trained.get("/v1/users/stranger/recommendations?n=3")

    assert answer.json["source"] == "popular"
    assert items_of(answer) == ["i0", "i1", "i2"]


def test_a_seen_item_is_filtered_when_the_list_is_read(trained):
    trained.fold(event("reader", "i3"), publish=a_list("reader", "i3", "i1", "i5"))
    trained.wait_for_views()

    answer = trained.get("/v1/users/reader/recommendations?n=2")

    assert items_of(answer) == ["i1", "i5"]
    assert [one["rank"] for one in answer.json["items"]] == [1, 2]


def test_a_longer_list_than_the_published_one_is_made_from_the_history(trained):
    trained.fold(event("long", "i0"), publish=a_list("long", "i2", "i4"))
    trained.wait_for_views()

    answer = trained.get("/v1/users/long/recommendations?n=5")

    assert items_of(answer) == ["i2", "i4", "i6", "i8", "i10"]
    assert answer.json["source"] == "fold-in"
    assert answer.json["as_of"]["offset"] >= 0


def test_known_brings_seen_items_back(trained):
    trained.fold(event("knows", "i0"), publish=a_list("knows", "i2"))
    trained.wait_for_views()

    assert "i0" not in items_of(trained.get("/v1/users/knows/recommendations?n=11"))
    assert "i0" in items_of(trained.get("/v1/users/knows/recommendations?n=11&known=true"))


def test_a_disliked_item_does_not_come_back_in_a_list_made_now(trained):
    trained.fold(event("picky", "i0"), event("picky", "i2", "dislike"))
    trained.wait_for_views()

    assert "i2" not in items_of(trained.get("/v1/users/picky/recommendations?n=12"))


def test_a_category_restricts_the_list(trained):
    answer = trained.get("/v1/users/anybody/recommendations?n=12&category=high")

    assert set(items_of(answer)) == {f"i{at}" for at in range(6, 12)}


def test_a_visitor_is_folded_in_on_the_spot(trained):
    answer = trained.post("/v1/recommendations", {"items": ["i1", "i3"], "n": 3})

    assert items_of(answer) == ["i5", "i7", "i9"]
    assert answer.json["source"] == "fold-in"
    assert answer.json["items"][0]["why"][0]["kind"] == "because"


def test_a_visitor_who_saw_unknown_items_gets_popular_ones(trained):
    answer = trained.post("/v1/recommendations", {"items": ["never", "heard"], "n": 2})

    assert (answer.json["source"], items_of(answer)) == ("popular", ["i0", "i1"])


@pytest.mark.parametrize(
    ("body", "status"),
    [({"n": 0}, 422), ({"items": "i1"}, 422), ({"colour": 1}, 422), (b"{", 400), ([], 422)],
)
def test_a_visitors_request_that_makes_no_sense_is_a_problem(trained, body, status):
    answer = trained.post("/v1/recommendations", body)

    assert (answer.status, answer.kind) == (status, "application/problem+json")


def test_an_explanation_sums_to_the_score_of_the_list(trained):
    trained.fold(event("why", "i1"), event("why", "i3", "like"))
    trained.wait_for_views()
    listed = trained.get("/v1/users/why/recommendations?n=10").json["items"][0]

    answer = trained.get(f"/v1/users/why/recommendations/{listed['item']}/explanation").json

    parts = answer["prior"] + sum(part["score"] for part in answer["because"])
    assert answer["score"] == pytest.approx(parts)
    assert answer["score"] == pytest.approx(listed["score"], abs=1e-5)
    assert {part["item"]: part["event"] for part in answer["because"]} == {
        "i1": "view",
        "i3": "like",
    }


def test_an_explanation_of_an_unknown_item_is_404(trained):
    answer = trained.get("/v1/users/why/recommendations/nothing/explanation")

    assert (answer.status, answer.kind) == (404, "application/problem+json")


def test_similar_items_are_those_that_go_together(trained):
    answer = trained.get("/v1/items/i0/similar?n=5")

    assert {one["item"] for one in answer.json["items"]} == {"i2", "i4", "i6", "i8", "i10"}
    assert answer.json["items"][0]["details"]["title"].startswith("The i")


def test_lists_are_made_while_neighbours_are_searched(trained, monkeypatch):
    is_searching, may_end = threading.Event(), threading.Event()

    def slowly(*args):
        is_searching.set()
        assert may_end.wait(DEADLINE_S)
        return similar_requested(*args)

    monkeypatch.setattr("recstream.bridge.shelves.similar_requested", slowly)
    with ThreadPoolExecutor(1) as pool:
        search = pool.submit(trained.get, "/v1/items/i0/similar?n=3")
        try:
            assert is_searching.wait(DEADLINE_S)
            made = trained.post("/v1/recommendations", {"items": ["i1", "i3"], "n": 3})
            assert items_of(made) == ["i5", "i7", "i9"]
            assert not search.done()
        finally:
            may_end.set()

    assert len(items_of(search.result())) == 3


def test_a_generation_stands_still_while_neighbours_are_searched(tmp_path, monkeypatch):
    seen = []

    def twice(generation, *args):
        before = similar_requested(generation, *args)
        world.log.append([NewRecord(MODELS, None, msgspec.json.encode(withdrawal("i2")), 0)])
        world.wait_for_views()
        seen.append((before, similar_requested(generation, *args)))
        return before

    monkeypatch.setattr("recstream.bridge.shelves.similar_requested", twice)
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))

        assert "i2" in items_of(world.get("/v1/items/i0/similar?n=10"))

        ((before, after),) = seen
        assert before == after
        wait_until(lambda: world.bridge.deps.recommender.current == (1, 1), "the delta")


@pytest.mark.parametrize("query", ["n=0", "n=1001", "n=x", "known=maybe", "shade=dark"])
def test_a_parameter_that_makes_no_sense_is_400_and_named(trained, query):
    answer = trained.get(f"/v1/users/u/recommendations?{query}")

    assert (answer.status, answer.kind) == (400, "application/problem+json")
    assert answer.json["errors"][0]["pointer"] == "?" + query.partition("=")[0]


def test_without_any_generation_the_list_is_empty_and_says_so(world):
    answer = world.get("/v1/users/u/recommendations")

    assert (answer.status, answer.json["items"], answer.json["source"]) == (200, [], "popular")


# Shelves


def test_shelves_follow_from_what_a_user_did_and_leave_out_what_is_shown_above(trained):
    trained.fold(event("shelf", "i1"), event("shelf", "i3", "like"))
    trained.wait_for_views()

    answer = trained.get("/v1/users/shelf/shelves?n=1&items=2&skip=1").json

    (shelf,) = answer["shelves"]
    listed = items_of(trained.get("/v1/users/shelf/recommendations?n=10"))
    assert (answer["user"], answer["generation"]) == ("shelf", 1)
    assert shelf["event"] in {"view", "like"}
    assert [one["rank"] for one in shelf["items"]] == [2, 3]
    assert [one["item"] for one in shelf["items"]] == listed[1:3]


def test_a_user_nobody_knows_has_no_shelves(trained):
    assert trained.get("/v1/users/nobody-at-all/shelves").json["shelves"] == []
    assert trained.get("/v1/users/nobody-at-all/shelves?n=0").status == 400


def test_an_item_that_the_catalogue_withdrew_leaves_lists_that_are_published_already(tmp_path):
    with running(tmp_path) as world:
        world.serve_generation(checker_board(1))
        world.publish("gone", "i1", "i2", "i3")
        world.wait_for_views()
        assert items_of(world.get("/v1/users/gone/recommendations?n=3")) == ["i1", "i2", "i3"]
        world.log.append([NewRecord(MODELS, None, msgspec.json.encode(withdrawal("i2")), 0)])
        wait_until(lambda: world.bridge.deps.recommender.current == (1, 1), "the delta")

        assert items_of(world.get("/v1/users/gone/recommendations?n=2")) == ["i1", "i3"]


def test_a_list_is_pushed_before_the_bridge_knows_the_rules_it_was_made_by(world):
    ahead = msgspec.structs.replace(a_list("ahead", "i1", "i2"), control=10_000)
    document = {"rules": [{"action": "pin", "name": "p", "items": ["i9"]}]}
    assert world.call("PUT", "/v1/steering", document).status == 202
    try:
        with world.socket() as client:
            client.hello("ahead", "recs")
            client.receive("recs")
            world.log.append([world.list_record(ahead)])

            assert [one["item"] for one in client.receive("recs")["items"]] == ["i1", "i2"]
    finally:
        world.call("DELETE", "/v1/steering")


def test_lists_of_different_items_have_different_ids(trained):
    def ask(*items, **more):
        return trained.post("/v1/recommendations", {"items": items, "n": 3} | more).json

    even, odd, again = ask("i0", "i2"), ask("i1", "i3"), ask("i0", "i2")

    assert even["rec_id"] != odd["rec_id"]
    assert even["rec_id"] == again["rec_id"]


def test_visitors_take_arms_by_their_sessions(trained):
    arms = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]
    assert trained.call("PUT", "/v1/steering", {"arms": arms}).status == 202
    try:
        taken = {
            session: trained.post("/v1/recommendations", {"session": session}).json
            for session in map(str, range(40))
        }
        again = trained.get("/v1/popular?session=7").json
    finally:
        trained.call("DELETE", "/v1/steering")

    assert {answer["arm"] for answer in taken.values()} == {"a", "b"}
    assert all(answer["user"] == session for session, answer in taken.items())
    assert again["arm"] == taken["7"]["arm"]
