"""The console's endpoints: search of the log, users, lists by item, history."""

import msgspec
import numpy as np
import pytest

from recstream.core.events import encode_event
from recstream.core.records.list_columns import ListColumns
from recstream.log.port import NewRecord
from recstream.log.topics import CONTROL, INTERACTIONS, PIPELINE, RECOMMENDATIONS, TopicSpec
from tests.bridge.bridge_world import NOW, a_list, event, partition_of


def found(answer):
    return [(one["key"], one["value"]["item"]) for one in answer["records"]]


def test_topics_come_with_their_offsets_and_times(world):
    world.log.append([NewRecord(CONTROL, b"k", b'{"type":"x"}', 0)])

    topics = {one["topic"]: one for one in world.get("/v1/log").json["topics"]}

    control = topics[CONTROL]
    assert control["n_offsets"] == control["partitions"][0]["end"] >= 1
    assert control["first_ts"] <= control["last_ts"]
    assert topics[INTERACTIONS]["purpose"].startswith("Events of users")


def test_records_of_all_partitions_are_merged_by_time_and_paged_both_ways(world):
    other = next(
        f"m{n}" for n in range(50) if partition_of(world, f"m{n}") != partition_of(world, "m")
    )
    for at_ms, user, item in ((1, "m", "a"), (2, other, "b"), (3, "m", "c"), (4, other, "d")):
        value = encode_event(event(user, item, "like", id=f"merged-{item}"))
        world.log.append(
            [NewRecord(INTERACTIONS, user.encode(), value, timestamp_ms=9_000_000_000_000 + at_ms)]
        )
    path = f"/v1/log/{INTERACTIONS}/records?type=like&limit=2"

    newest = world.get(path).json
    before = world.get(f"{path}&older={newest['older']}").json
    after = world.get(f"{path}&newer={before['newer']}").json

    assert found(newest) == [("m", "c"), (other, "d")]
    assert found(before) == [("m", "a"), (other, "b")]
    assert found(after) == found(newest)
    at = world.get(f"{path}&at=2255-03-14T16:00:00.003Z").json
    assert found(at) == [("m", "c"), (other, "d")]


@pytest.fixture(scope="module")
def batch(world):
    """Three events of user fil: two inside a batch, one alone with a `rec_id`."""
    several = [event("fil", "x", id="f1"), event("else", "x", id="f0"), event("fil", "y", id="f2")]
    value = b"[" + b",".join(encode_event(one) for one in several) + b"]"
    clicked = event("fil", "x", "click", id="f3", rec_id="r-7")
    partition = partition_of(world, "fil")
    world.log.append([NewRecord(INTERACTIONS, None, value, partition)])
    world.log.append([NewRecord(INTERACTIONS, b"fil", encode_event(clicked), partition)])
    return world


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("user=fil", ["f3", "f2", "f1"]),
        ("user=fil&item=x", ["f3", "f1"]),
        ("item=x&type=view&user=fil", ["f1"]),
        ("id=f2", ["f2"]),
        ("id=r-7", ["f3"]),
        ("user=fil&item=nothing", []),
    ],
)
def test_events_are_found_by_user_item_type_and_id_also_inside_batches(batch, query, ids):
    answer = batch.get(f"/v1/events?{query}").json

    assert [one["event"]["id"] for one in answer["events"]] == ids
    assert answer["has_more"] is False


@pytest.mark.parametrize("odd", [["oddly"], {"a": 1}, [{"item": ["oddly"]}], 1e300, None])
@pytest.mark.parametrize("name", ["user", "item", "items", "type", "id", "rec_id", "lineage"])
def test_a_record_with_a_field_of_another_type_stops_no_search(world, name, odd):
    value = msgspec.json.encode({"type": "view", "user": "oddly", "item": "oddly", name: odd})
    partition = partition_of(world, "oddly")
    world.log.append([NewRecord(INTERACTIONS, b"other", value, partition)])

    for query in ("user=oddly", "item=oddly", "type=oddly", "id=oddly"):
        assert world.get(f"/v1/events?{query}").status == 200


def test_all_of_a_users_events_are_found_in_large_batches(world):
    partition = partition_of(world, "gil")
    others = [event(f"other{nth}", "x" * 200) for nth in range(200)]
    for at in range(8):
        several = [*others, event("gil", "x", id=f"g{at}")]
        value = b"[" + b",".join(encode_event(one) for one in several) + b"]"
        world.log.append([NewRecord(INTERACTIONS, None, value, partition)])

    answer = world.get("/v1/events?user=gil").json

    assert [one["event"]["id"] for one in answer["events"]] == [f"g{at}" for at in range(8)][::-1]
    assert answer["has_more"] is False


def test_a_large_record_is_cut_and_says_so(world):
    world.log.append([NewRecord(PIPELINE, b"k", b'{"type":"big","x":"%s"}' % (b"a" * 20_000), 0)])

    (record,) = world.get(f"/v1/log/{PIPELINE}/records?type=big").json["records"]

    assert (record["is_cut"], record["n_bytes"]) == (True, 20_021)
    assert len(record["text"]) < 10_000


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("at=1&older=0:1", 400),
        ("at=soon", 400),
        ("older=x", 400),
        ("older=-1:4", 400),
        ("partition=99", 400),
        ("at=3", 400),
        ("limit=0", 400),
    ],
)
def test_a_search_that_can_not_be_is_a_problem(world, query, status):
    assert world.get(f"/v1/log/{INTERACTIONS}/records?{query}").status == status


def test_users_are_found_by_a_part_of_their_id(world):
    for user in ("anna", "annabel", "joanna", "xanna"):
        world.fold(event(user, "a"), event(user, "b"))
    world.wait_for_views()

    answer = world.get("/v1/users?q=anna&limit=3").json

    assert [one["user"] for one in answer["users"]] == ["anna", "annabel", "joanna"]
    assert answer["has_more"]
    assert answer["users"][0] == {
        "user": "anna", "n_items": 2, "n_events": 2, "rec_id": "",
        "last_ts": round(NOW.timestamp() * 1000),
    }  # fmt: skip


def test_without_a_text_the_users_with_the_newest_events_come(world):
    for at_ms, user in enumerate(("early", "late"), 9_100_000_000_000):
        value = encode_event(event(user, "a"))
        world.log.append([NewRecord(INTERACTIONS, user.encode(), value, timestamp_ms=at_ms)])

    assert [one["user"] for one in world.get("/v1/users?limit=2").json["users"]] == [
        "late",
        "early",
    ]


def test_the_users_whose_lists_hold_an_item_are_found_page_by_page(world):
    for user, items in (("h1", "qq"), ("h2", "zz"), ("h3", "qq")):
        body = a_list(user, "first", items)
        world.log.append([world.list_row(user, "first", items), world.list_record(body)])
    world.wait_for_views()

    page = world.get("/v1/items/qq/lists?limit=1").json
    rest = world.get(f"/v1/items/qq/lists?after={page['next']}").json

    assert [(one["user"], one["rank"]) for one in page["lists"] + rest["lists"]] == [
        ("h1", 2),
        ("h3", 2),
    ]
    assert rest["next"] == ""


def test_lists_in_columns_are_found_by_item_too(world):
    columns = ListColumns(
        form=2, user="columnar", generation=1, delta=0, control=-1, arm="", partition=0, as_of=7,
        source="fold-in", items=("first", 'quoted"one'), was=(0, 0), n_reasons=b"\0\0",
        scores=np.array([2.0, 1.0], "<f4").tobytes(), codes=b"", shares=b"", entries=(),
        events=b"", ages=(), rules=(), event_id="e", event_ts=1, appended_ts=1, folded_ts=1,
        published_ts=1, now=0,
    )  # fmt: skip
    raw = msgspec.msgpack.encode(columns)
    row = world.list_row("columnar", *columns.items)
    world.log.append([row, NewRecord(RECOMMENDATIONS, b"columnar", raw)])
    world.wait_for_views()

    for item in ("first", "quoted%22one"):
        lists = world.get(f"/v1/items/{item}/lists?limit=200").json["lists"]
        assert "columnar" in [one["user"] for one in lists]


def test_without_a_model_of_factors_a_user_has_no_taste(world):
    taste = world.get("/v1/users/nobody/taste").json

    assert (taste["user"], taste["items"], taste["facts"]) == ("nobody", [], [])


def test_a_history_has_the_weight_of_each_entry(world):
    world.fold(event("w", "seen"), event("w", "bought", "purchase"), event("w", "bought"))
    world.wait_for_views()

    history = world.get("/v1/users/w/history").json

    first, second = history["entries"]
    assert (first["item"], first["weight"], first["n_events"]) == ("bought", 6.0, 2)
    assert (second["item"], second["weight"], second["type"]) == ("seen", 1.0, "view")
    assert first["effective"] > second["effective"] > 0


def test_a_users_token_opens_the_users_own_history_alone(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")

    assert guarded.get("/v1/users/ann/history", token=token).status == 200
    for path in ("/v1/users/bob/history", "/v1/users", "/v1/log", "/v1/events?user=ann",
                 "/v1/items/a/lists", f"/v1/log/{INTERACTIONS}/records"):  # fmt: skip
        assert guarded.get(path, token=token).status == 403


def test_a_record_that_is_no_json_is_found_by_its_key_and_stops_nothing(world):
    world.log.append([NewRecord(CONTROL, b"odd", b"\xff\x00", 0)])

    answer = world.get(f"/v1/log/{CONTROL}/records?user=odd").json

    assert [one["key"] for one in answer["records"]] == ["odd"]
    assert msgspec.json.decode(world.get(f"/v1/log/{CONTROL}/records").body)["has_more"] is False


def test_topics_of_others_on_the_same_brokers_are_not_shown(world):
    world.log.create_topics([TopicSpec("payments", 1)])
    world.log.append([NewRecord("payments", b"k", b'{"card":"4111"}')])

    assert "payments" not in {one["topic"] for one in world.get("/v1/log").json["topics"]}
    for path in ("/v1/log/payments", "/v1/log/payments/records"):
        assert world.get(path).status == 404
