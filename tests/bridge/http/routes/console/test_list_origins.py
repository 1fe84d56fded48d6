"""Published lists over REST: by id with their origin, and causes of a change."""

import pytest
from msgspec.structs import replace

from recstream.core.records import AsOf
from recstream.log import INTERACTIONS, RECOMMENDATIONS, partition_for
from tests.bridge.bridge_world import a_list, event
from tests.bridge.conftest import USER


def test_a_list_is_found_by_its_id_with_its_origin(past):
    world, lists = past

    answer = world.get(f"/v1/lists/{lists[1].rec_id}").json

    assert answer["is_identical"] is True
    assert (answer["before"], answer["after"]) == (lists[0].rec_id, lists[2].rec_id)
    assert answer["events"][0]["event"]["user"] == USER
    assert answer["list"]["as_of"]["offset"] == answer["events"][0]["offset"]


def test_a_list_that_was_not_published_is_404(past):
    world, _ = past

    assert world.get("/v1/lists/popular-0.0").status == 404


def test_causes_name_the_events_between_two_lists(past):
    world, lists = past
    a, b = lists[0].as_of.offset, lists[-1].as_of.offset

    answer = world.get(f"/v1/users/{USER}/causes?a={a}&b={b}").json

    assert answer["n_events"] == len(answer["events"]) > 0
    assert {one["item"] for one in answer["items"]} == {
        one["item"] for side in ("entered", "left") for one in answer["change"][side]
    }
    assert world.get(f"/v1/users/{USER}/causes?a={b}&b={a}").status == 400


def test_a_users_token_opens_the_users_own_lists_alone(guarded):
    for user in ("ann", "bob"):
        body = a_list(user, "a")
        guarded.fold(event(user, "b"), publish=body)
    guarded.wait_for_views()
    token, _ = guarded.bridge.deps.auth.issue("ann")

    assert guarded.get("/v1/lists/r-bob-1", token=token).status == 404
    assert guarded.post("/v1/what-if", {"user": "bob"}, token=token).status == 403
    assert guarded.get("/v1/users/bob/causes?a=1&b=2", token=token).status == 403
    assert guarded.get("/v1/lists/r-ann-1").status == 401


def test_a_pruned_list_of_somebody_else_is_as_unknown_as_none(guarded):
    partition = partition_for(b"eve", 2)
    as_of = AsOf(partition=partition, offset=guarded.log.high_watermark(INTERACTIONS, partition))
    guarded.fold(event("eve", "b"), publish=replace(a_list("eve", "a"), as_of=as_of))
    guarded.wait_for_views()
    deps = guarded.bridge.deps
    service, stranger = deps.auth.issue(None)[0], deps.auth.issue("ann")[0]
    known = guarded.get("/v1/lists/r-eve-1", token=service)
    guarded.log.delete_before(
        RECOMMENDATIONS, partition, guarded.log.high_watermark(RECOMMENDATIONS, partition)
    )

    answers = [
        guarded.get(f"/v1/lists/{rec_id}", token=stranger) for rec_id in ("r-eve-1", "r-nothing")
    ]

    assert (known.status, guarded.get("/v1/lists/r-eve-1", token=service).status) == (200, 410)
    assert [answer.status for answer in answers] == [404, 404]
    details = [answer.json["detail"].replace("r-eve-1", "r-nothing") for answer in answers]
    assert details[0] == details[1]


@pytest.mark.parametrize("digits", [19, 20, 5_000])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/{user}/recommendations?as_of={n}",
        "/v1/users/{user}/recommendations/i1/explanation?as_of={n}",
        "/v1/users/{user}/history?as_of={n}",
        "/v1/users/{user}/diff?a={n}&b={n}",
        "/v1/users/{user}/causes?a={n}&b={n}",
        "/v1/log/recstream.interactions/records?partition=0&at={n}",
        "/v1/log/recstream.interactions/records?older=0:{n}",
        "/v1/popular?min_position={n}&n={n}",
        "/v1/models/{n}",
        "/v1/dead-letters/0:{n}",
    ],
)
def test_a_number_with_too_many_digits_is_no_fault_of_the_bridge(past, path, digits):
    world, _ = past

    answer = world.get(path.format(user=USER, n="9" * digits))

    assert answer.status < 500, answer.body
