"""The log, the pipeline, training and tokens over REST."""

import json

import msgspec
import pytest

from recstream.catalogue import upsert_record
from recstream.core.events import encode_event
from recstream.core.records import Item, TrainingRequested, WorkerStatus
from recstream.log.embedded import maintain
from recstream.log.port import NewRecord
from recstream.log.topics import CATALOGUE, CONTROL, INTERACTIONS, PIPELINE
from tests.bridge.bridge_world import event, partition_of, running


def test_a_users_events_come_newest_first_with_their_place_in_the_log(world):
    for item in ("a", "b", "c"):
        world.post("/v1/events", {"type": "view", "user": "hist", "item": item})
        world.post("/v1/events", {"type": "view", "user": "noise", "item": item})

    answer = world.get("/v1/users/hist/events?limit=2").json

    assert [one["event"]["item"] for one in answer["events"]] == ["c", "b"]
    assert answer["partition"] == partition_of(world, "hist")
    older = world.get(f"/v1/users/hist/events?before={answer['next']}").json
    assert [one["event"]["item"] for one in older["events"]] == ["a"]
    assert older["next"] is None


def test_a_users_events_of_a_producer_with_keys_and_escapes_of_its_own_are_found(world):
    raw = encode_event(event("own/keys", "a"))
    values = [raw, raw.replace(b"own/keys", rb"own\/keys")]
    partition = partition_of(world, "own/keys")
    world.log.append([NewRecord(INTERACTIONS, b"session", each, partition) for each in values])

    found = world.get("/v1/users/own%2Fkeys/events").json["events"]

    assert [one["event"]["item"] for one in found] == ["a", "a"]


def test_a_users_events_inside_an_envelope_are_found(world):
    events = [event("env", "a"), event("env-other", "x"), event("env", "b")]
    value = b"[" + b",".join(encode_event(one) for one in events) + b"]"
    world.log.append([NewRecord(INTERACTIONS, None, value, partition_of(world, "env"))])

    found = world.get("/v1/users/env/events").json["events"]

    assert [one["event"]["item"] for one in found] == ["b", "a"]


def test_the_newest_records_are_as_many_as_asked_for_where_offsets_have_gaps(world):
    for item in ("b", "a", "a", "a"):
        world.log.append([upsert_record(Item(item=item))])
    maintain(
        world.log, min_dirty_ratio=0.0
    )  # compaction, as on Kafka also transactions, leaves gaps

    found = world.get(f"/v1/log/{CATALOGUE}?limit=2").json["records"]

    assert [one["key"] for one in found] == ["b", "a"]


def test_a_users_events_say_where_the_kept_ones_begin(tmp_path):
    with running(tmp_path) as world:
        partition = partition_of(world, "cut")
        for item in ("a", "b", "c"):
            world.log.append([NewRecord(INTERACTIONS, b"cut", encode_event(event("cut", item)))])
        whole = [world.get("/v1/users/cut/events").json, world.get("/v1/events?user=cut").json]

        world.log.delete_before(INTERACTIONS, partition, 2)

        kept = [world.get("/v1/users/cut/events").json, world.get("/v1/events?user=cut").json]
    assert [len(each["events"]) for each in (*whole, *kept)] == [3, 3, 1, 1]
    assert [each["earliest"] for each in (whole[0], kept[0])] == [0, 2]
    assert [each["is_pruned"] for each in (whole[1], kept[1])] == [False, True]
    assert kept[0]["next"] is None


def test_a_user_nobody_knows_has_no_events(world):
    assert world.get("/v1/users/nobody/events").json["events"] == []


def test_records_are_read_from_an_offset_on(world):
    first = world.log.append(
        [NewRecord(CONTROL, b"k", b'{"type":"x","n":%d}' % n, 0) for n in range(5)]
    )[0]

    page = world.get(f"/v1/log/{CONTROL}?from={first.offset}&limit=3").json

    assert [one["value"]["n"] for one in page["records"]] == [0, 1, 2]
    following = world.get(f"/v1/log/{CONTROL}?from={page['next']}").json
    assert [one["value"]["n"] for one in following["records"]] == [3, 4]
    assert following["next"] == following["end"]


def test_without_an_offset_the_newest_records_come(world):
    world.log.append([NewRecord(CONTROL, b"k", b'{"type":"x","n":%d}' % n, 0) for n in range(5)])

    page = world.get(f"/v1/log/{CONTROL}?limit=2").json

    assert [one["value"]["n"] for one in page["records"]] == [3, 4]


def test_records_are_filtered_by_user_and_type(world):
    for user, type_ in (("fu", "view"), ("fu", "like"), ("other", "like")):
        world.post("/v1/events", {"type": type_, "user": user, "item": "p"})

    page = world.get(f"/v1/log/{INTERACTIONS}?user=fu&type=like&from=0").json

    assert [(one["key"], one["value"]["type"]) for one in page["records"]] == [("fu", "like")]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/log/no.such.topic", 404),
        (f"/v1/log/{INTERACTIONS}?partition=99", 404),
        (f"/v1/log/{INTERACTIONS}?partition=-1", 404),
        (f"/v1/log/{INTERACTIONS}?limit=0", 400),
        (f"/v1/log/{INTERACTIONS}?from=x", 400),
        (f"/v1/log/{INTERACTIONS}?from={10**9}", 400),
        (f"/v1/log/{INTERACTIONS}/records?partition=0&at={10**9}", 400),
    ],
)
def test_a_place_that_is_not_in_the_log_is_a_problem(world, path, status):
    answer = world.get(path)

    assert (answer.status, answer.kind) == (status, "application/problem+json")


def test_a_wish_for_training_goes_into_the_log(world):
    answer = world.post("/v1/training-runs", {"reason": "because"})

    record = world.records(CONTROL)[-1]
    wanted = msgspec.json.decode(record.value, type=TrainingRequested)
    assert answer.status == 202
    assert (wanted.id, wanted.reason) == (answer.json["id"], "because")
    assert answer.json["offset"] == record.offset


def test_the_pipeline_shows_who_reports_and_the_lag_of_the_log(world):
    world.fold(event("ann", "i1"), event("bob", "i2"))
    now_ms = round(world.clock.now.timestamp() * 1000)

    def say(worker, lag, ts):
        status = WorkerStatus(
            worker=worker, events=1, published=1, dead_letters=0, lag=lag, generation=1, ts=ts
        )
        return NewRecord(PIPELINE, None, msgspec.json.encode(status), 0)

    world.log.append(
        [
            say("w1", {"0": 3}, now_ms),
            say("w2", {"1": 4}, now_ms),
            NewRecord(PIPELINE, None, b'{"type":"gossip"}', 0),
            NewRecord(PIPELINE, None, b"\xff", 0),
        ]
    )
    with world.socket() as client:
        client.hello(None, "pipeline")
        while len((told := client.receive("pipeline")).get("workers", ())) < 2:
            pass
        n_events = sum(world.log.high_watermark(INTERACTIONS, partition) for partition in range(2))
        while told.get("lag") != n_events:  # measured every second; no worker committed anything
            told = client.receive("pipeline")

    assert {one["worker"] for one in told["workers"]} == {"w1", "w2"}
    assert sum(told["partition_lag"].values()) == n_events
    assert told["epoch"] == world.log.epoch
    assert told["events"] == n_events


def test_a_token_from_rest_opens_a_websocket(guarded):
    service, _ = guarded.bridge.deps.auth.issue(None)

    answer = guarded.post("/v1/tokens", {"user": "ann", "ttl_s": 60}, token=service)

    assert answer.status == 201
    now_ms = round(guarded.clock.now.timestamp() * 1000)
    assert answer.json["expires_ts"] == now_ms + 60_000
    with guarded.socket() as client:
        assert client.hello(None, "recs", token=answer.json["token"])["user"] == "ann"


def test_a_users_token_can_not_make_tokens(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")

    answer = guarded.post("/v1/tokens", {"user": "bob"}, token=token)

    assert (answer.status, answer.kind) == (403, "application/problem+json")


def test_answers_are_json_that_any_client_can_read(world):
    assert json.loads(world.get("/v1/pipeline").body)["events"] >= 0


@pytest.mark.parametrize("path", ["/v1/log/{}?limit=2", "/v1/log/{}/records?limit=2"])
def test_the_prefix_of_a_topics_name_may_be_left_out(world, path):
    short, whole = (world.get(path.format(name)).json for name in ("control", CONTROL))

    assert short["topic"] == CONTROL
    assert short == whole
