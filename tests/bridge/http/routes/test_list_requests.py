"""Lists shaped by a request: pages, filters, boosts, fields, and reading one's own writes."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import quote

import jsonschema
import msgspec
import pytest

from recstream.bridge.recommender import MAX_WAITING
from recstream.core.events import encode_event
from recstream.core.history import History
from recstream.core.history import table_rows as history_rows
from recstream.core.ranking import describe
from recstream.core.records import Recommendations
from recstream.core.serving import rank_requested, visitor_history
from recstream.core.steering.validate import MAX_REQUEST_TESTS
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS
from tests.bridge.bridge_world import CHANGELOG, a_list, checker_board, event
from tests.bridge.http.conftest import PRICES, ask, items_of


def test_a_filter_is_a_condition_of_the_steering_language(shop):
    where = {"brand": "acme", "price": {"min": 1}}

    posted = ask(shop, filter=where)
    got = shop.get(f"/v1/users/somebody/recommendations?filter={quote(json.dumps(where))}")

    assert items_of(posted) == items_of(got) == ["i4", "i8"]


def test_excluded_items_and_other_categories_are_not_listed(shop):
    assert items_of(ask(shop, category="high", exclude=["i6", "i7"])) == ["i8", "i9", "i10", "i11"]
    got = shop.get("/v1/popular?exclude=i0,i1&n=2")
    assert items_of(got) == ["i2", "i3"]


@pytest.mark.parametrize(
    ("body", "warnings"),
    [
        ({"filter": {"brand": "acme"}}, None),
        (
            {"filter": {"category": "gone"}},
            ["no item meets the condition of 'request: filter'", "no item is left to list"],
        ),
        (
            {"category": "gone"},
            ["no item meets the condition of 'request: category'", "no item is left to list"],
        ),
        ({"category": "low", "filter": {"category": "high"}}, ["no item is left to list"]),
        (
            {"boost": [{"where": {"brand": "Akme"}, "by": 1}]},
            ["no item meets the condition of 'request: boost 1'"],
        ),
        ({"exclude": ["i1", "gone"]}, ["no item has the id 'gone'"]),
    ],
)
def test_what_the_catalogue_does_not_have_is_a_warning(shop, body, warnings):
    requested = ask(shop, **body).json["requested"]

    assert requested.get("warnings") == warnings
    popular = shop.post("/v1/recommendations", body).json["requested"]
    assert popular.get("warnings") == warnings
    shelf = shop.post("/v1/shelves/newest", body)
    assert shelf.json["requested"].get("warnings") == warnings
    similar = shop.post("/v1/items/i0/similar", body).json
    assert similar["warnings"] == (warnings or [])


def test_unknown_items_of_a_visitor_are_a_warning(shop):
    answer = shop.post("/v1/recommendations", {"items": ["i1", *(f"gone{n}" for n in range(7))]})

    *named, rest = answer.json["requested"]["warnings"]
    assert named == [f"no item has the id 'gone{n}'" for n in range(5)]
    assert rest == "2 more ids are not known"


def test_a_boost_moves_items_up_and_is_a_reason(shop):
    answer = ask(shop, n=2, boost=[{"where": {"items": ["i11"]}, "by": 1.0}])

    assert items_of(answer)[0] == "i11"
    assert {"kind": "boosted", "rule": "request: boost 1"}.items() <= (
        answer.json["items"][0]["why"][0].items()
    )


def test_pages_hold_every_item_once(shop):
    shop.fold(event("pager", "i0"), publish=a_list("pager", "i2", "i4", "i6", "i8"))
    shop.wait_for_views()
    pages, ranks, cursor = [], [], ""
    for _ in range(9):
        answer = ask(shop, "pager", n=3, cursor=cursor)
        pages += items_of(answer)
        ranks += [one["rank"] for one in answer.json["items"]]
        cursor = answer.json.get("next", "")
        if not cursor:
            break
        # An event between two pages changes the rest of the list, and repeats nothing.
        shop.fold(event("pager", f"i{2 * len(pages) % 12}", id=f"between-{len(pages)}"))
        shop.wait_for_views()

    assert len(pages) == len(set(pages))
    assert pages[:3] == ["i2", "i4", "i6"]
    assert ranks == list(range(1, len(ranks) + 1))


def test_an_offset_skips_the_first_items_of_the_same_list(shop):
    whole = items_of(ask(shop, n=9))

    assert items_of(ask(shop, n=3, offset=6)) == whole[6:]
    assert ask(shop, n=3, offset=6).json["items"][0]["rank"] == 7


def test_fields_choose_what_an_item_of_the_answer_holds(shop):
    shop.put_items(i0="low")

    answer = ask(shop, n=2, fields=["score", "details"])

    assert {tuple(one) for one in answer.json["items"]} == {("item", "score", "details")}
    assert answer.json["items"][0]["details"]["title"] == "The i0"
    assert answer.json["items"][1]["details"] is None
    got = shop.get("/v1/users/somebody/recommendations?n=1&fields=rank")
    assert got.json["items"] == [{"item": "i0", "rank": 1}]


def test_similar_items_have_details_unless_the_fields_that_are_asked_for_lack_them(shop):
    shop.put_items(i0="low")
    plain = "rank,score,was,why"

    default = shop.get("/v1/items/i2/similar?n=1").json["items"]
    asked = shop.get(f"/v1/items/i2/similar?n=1&fields={plain}").json["items"]
    posted = shop.post("/v1/items/i2/similar", {"n": 1, "fields": plain.split(",")}).json["items"]

    assert [{**one, "details": None} for one in asked] == [
        {**one, "details": None} for one in default
    ]
    assert "details" in default[0]
    assert "details" not in asked[0]
    assert posted == asked


def test_a_list_contains_the_event_that_a_position_names(shop):
    shop.fold(event("writer", "i1"))
    partition = partition_for(b"writer", 2)
    offset = shop.log.high_watermark("recstream.interactions", partition) - 1

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, shop, "writer", n=3, min_position=offset, timeout_ms=10_000)
        row = history_rows.encode_row(history_rows.AppliedRow(offset + 1, offset + 1))
        shop.log.append([NewRecord(CHANGELOG, history_rows.APPLIED_KEY, row, partition)])
        answer = asked.result()

    assert answer.json["as_of"] == {"partition": partition, "offset": offset}
    assert items_of(answer) == ["i3", "i5", "i7"]


@pytest.mark.parametrize(
    ("position", "said"),
    [
        ({"epoch": "gone", "offsets": {}}, "got one of 'gone'; take `position` of a newer answer"),
        ({"epoch": "", "offsets": {"2": 1}}, "partitions 0 to 1, got '2'"),
        ({"epoch": "", "offsets": {"first": 1}}, "partitions 0 to 1, got 'first'"),
    ],
)
def test_a_position_of_another_log_or_partition_says_what_is_possible(shop, position, said):
    answer = ask(shop, min_position=position)

    assert answer.status == 400
    assert said in answer.json["detail"]


def test_a_position_of_other_users_partitions_needs_no_waiting(shop):
    other = str(1 - partition_for(b"somebody", 2))

    assert ask(shop, min_position={"epoch": "", "offsets": {other: 10**9}}).status == 200


def test_an_empty_body_says_what_to_send(shop):
    answer = shop.post("/v1/recommendations", b"")

    assert answer.status == 400
    assert (
        answer.json["detail"]
        == "expected a body of JSON, got an empty one; `{}` asks for the defaults"
    )


def append_unfolded(shop, user):
    """Append an event that no worker folds; return its offset."""
    record = NewRecord(INTERACTIONS, user.encode(), encode_event(event(user, "i1")))
    (place,) = shop.log.append([record])
    return place.offset


@pytest.mark.parametrize("beyond", [1, 10**9, 2**63])
def test_a_position_after_the_end_of_the_log_is_refused_at_once(shop, beyond):
    last = append_unfolded(shop, "early")
    partition = partition_for(b"early", 2)
    positions = [
        last + beyond,
        {"epoch": shop.log.epoch, "offsets": {str(partition): last + beyond}},
    ]

    answers = [ask(shop, "early", min_position=each) for each in positions]

    for answer in answers:
        assert answer.status == 400
        assert f"before {last + 1}, the end of partition {partition}" in answer.json["detail"]


def test_a_position_that_does_not_come_is_409_after_the_deadline(shop):
    late = ask(shop, "late", min_position=append_unfolded(shop, "late"), timeout_ms=10)
    other = ask(shop, "late", min_position={"epoch": "other", "offsets": {"0": 1, "1": 1}})

    assert (late.status, late.headers["Retry-After"]) == (409, "1")
    assert late.json["type"].endswith("position-not-reached")
    assert other.status == 400


def test_so_many_requests_wait_for_a_position_that_others_are_answered(shop):
    # Those that wait hold a thread each: public routes must not take all of them.
    recommender = shop.bridge.deps.recommender
    waiting = {"min_position": append_unfolded(shop, "late"), "timeout_ms": 10}
    visitor = {"items": [], "session": "late", **waiting}
    with ExitStack() as full:
        for _ in range(MAX_WAITING):
            full.enter_context(recommender._waiting)

        answers = [
            ask(shop, "late", **waiting),
            shop.post("/v1/recommendations", visitor),
            shop.post("/v1/rank", visitor | {"candidates": ["p1"]}),
        ]
        assert [each.status for each in answers] == [503, 503, 503]
        assert answers[0].headers["Retry-After"] == "1"
        assert ask(shop, "late", min_position=-1).status in {200, 422}

    assert shop.post("/v1/recommendations", visitor).status == 409


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"filter": {"price": {"min": 3, "max": 2}}}, "/filter/price"),
        ({"filter": {}}, "/filter"),
        ({"filter": {"colour": "red"}}, "/filter"),
        ({"filter": {"items": ["a"]}, "exclude": ["a", "b"]}, "/filter"),
        ({"boost": [{"where": {"any": []}, "by": 1}]}, "/boost/0/where/any"),
        ({"boost": [{"where": {"brand": "a"}, "by": 11}]}, "/boost/0/by"),
        ({"offset": 3, "cursor": "AAAAAAA="}, "/cursor"),
        ({"n": 1001}, "/n"),
        ({"filter": {"any": [{"price": {"min": at}} for at in range(MAX_REQUEST_TESTS)]}}, ""),
        ({"filter": {"attributes": {str(at): {"eq": 1} for at in range(MAX_REQUEST_TESTS)}}}, ""),
        ({"filter": {"category": ["c" * 99] * 700}}, ""),
        ({"fields": ["colour"]}, "/fields/0"),
        ({"limit": 3}, ""),
    ],
)
def test_a_request_that_makes_no_sense_is_422_with_its_place(shop, body, pointer):
    answer = ask(shop, **body)

    assert (answer.status, answer.kind) == (422, "application/problem+json")
    assert answer.json["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("path", ["/v1/users/u/recommendations", "/v1/rank", "/v1/users/u/again"])
def test_a_parameter_beside_a_body_is_refused(shop, path):
    answer = shop.post(f"{path}?n=3", {"candidates": ["i1"]} if "rank" in path else {})

    assert answer.status == 400
    assert answer.json["detail"] == "unknown parameter 'n'; send fields in the body"
    assert answer.json["errors"][0]["pointer"] == "?n"


@pytest.mark.parametrize("cursor", ["x", "AAAA", "ä", "A" * 4096])
def test_a_cursor_that_is_none_of_ours_is_refused(shop, cursor):
    assert ask(shop, cursor=cursor).status in {400, 422}


@pytest.mark.parametrize(
    "query",
    [
        "filter={",
        "filter=[]",
        "boost={}",
        "min_position=x",
        "fields=a",
        "n=0",
        "as_of=3&n=2&known=true",
    ],
)
def test_a_parameter_that_makes_no_sense_is_400(shop, query):
    answer = shop.get(f"/v1/users/somebody/recommendations?{query}")

    assert (answer.status, answer.kind) == (400, "application/problem+json")


def test_shelves_and_similar_items_take_filters_and_pages(shop):
    shop.fold(event("shelf", "i1"), event("shelf", "i3", "like"))
    shop.wait_for_views()

    shelf = shop.post("/v1/users/shelf/shelves", {"filter": {"brand": "Bolt"}, "exclude": ["i5"]})
    listed = [one["item"] for each in shelf.json["shelves"] for one in each["items"]]
    similar = shop.post("/v1/items/i2/similar", {"n": 2, "exclude": ["i0"]})
    more = shop.post(
        "/v1/items/i2/similar", {"n": 2, "exclude": ["i0"], "cursor": similar.json["next"]}
    )

    assert listed
    assert "i5" not in listed
    assert len({*items_of(similar), *items_of(more), "i0"}) == 5
    high = shop.post("/v1/items/i2/similar", {"filter": {"category": "high"}})
    assert items_of(high) == ["i6", "i8", "i10"]
    boosted = shop.post("/v1/items/i2/similar", {"boost": [{"where": {"items": ["i10"]}, "by": 5}]})
    assert items_of(boosted)[0] == "i10"
    assert boosted.json["items"][0]["why"][0]["rule"] == "request: boost 1"


def test_rules_of_the_document_hold_for_similar_items(shop):
    document = {"rules": [{"action": "exclude", "name": "x", "where": {"items": ["i4"]}}]}
    assert shop.call("PUT", "/v1/steering", document).status == 202
    try:
        assert "i4" not in items_of(shop.get("/v1/items/i2/similar"))
    finally:
        shop.call("DELETE", "/v1/steering")
    assert "i4" in items_of(shop.get("/v1/items/i2/similar"))


def test_a_list_is_derived_again_from_what_it_names(shop):
    shop.fold(event("again", "i1"))
    shop.wait_for_views()
    asked = {
        "n": 3,
        "filter": {"brand": "Bolt"},
        "boost": [{"where": {"price": {"min": 7}}, "by": 2}],
    }

    for body, history in (
        (ask(shop, "again", **asked), shop.bridge.deps.views.history("again")),
        (shop.post("/v1/recommendations", {"items": ["i2"], **asked}), None),
    ):
        found = msgspec.json.decode(body.body, type=Recommendations)
        requested = found.requested
        of = history or visitor_history(requested.items, "")
        generation = checker_board(**PRICES)
        ranked = rank_requested(of, generation, requested.request, 30 * 86_400_000.0, None, 0)
        assert describe(ranked, of, generation) == found.items
        assert (found.generation, found.delta, requested.steering) == (1, 0, -1)
        assert isinstance(of, History)


def test_examples_of_the_document_are_requests_with_answers_of_their_schema(shop):
    document = shop.get("/openapi.json").json
    n_examples = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            for example in content.get("application/json", {}).get("examples", {}).values():
                url = path.replace("{user}", "somebody").replace("{item}", "i2")
                url = url.replace("{kind}", "popular")
                answer = shop.call(method.upper(), url, example["value"])
                assert 200 <= answer.status < 300, (path, example, answer.body)
                success = operation["responses"][str(answer.status)]
                schema = success["content"]["application/json"]["schema"]
                jsonschema.validate(answer.json, {"components": document["components"]} | schema)
                n_examples += 1
    assert n_examples >= 6


def test_a_parameter_that_is_missing_is_named(shop):
    answer = shop.get("/v1/users/somebody/diff?a=1")

    assert answer.status == 400
    assert answer.json["errors"][0]["pointer"] == "?b"
    assert answer.json["detail"] == "b: Object missing required field `b`"


def test_a_nested_property_is_refused_with_its_place(shop):
    answer = shop.call("PUT", "/v1/users/nested", {"properties": {"address": {"city": "Ulm"}}})

    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/properties"
