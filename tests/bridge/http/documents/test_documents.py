"""The documents about the surface: complete, valid, and equal to their snapshots.

``RECSTREAM_UPDATE_SNAPSHOTS=1 pytest tests/bridge/http/documents/test_documents.py`` writes the
snapshots anew.
"""

import json
import os
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest

from recstream.bridge.http import create_app
from recstream.bridge.http.documents.asyncapi import FROM_BRIDGE, FROM_CLIENT, asyncapi, name_of
from recstream.bridge.push import protocol
from recstream.bridge.push.log_feed import log_record
from recstream.core.events import timestamp_ms
from recstream.core.records import (
    AsOf,
    ClickCounts,
    GenerationAnnounced,
    Lineage,
    PrequentialScore,
    Reason,
    RecommendedItem,
    TrainingProgress,
    WorkerStatus,
)
from recstream.log.port import Record
from recstream.log.topics import INTERACTIONS
from tests.bridge.bridge_world import NOW
from tests.waiting import wait_until

SNAPSHOTS = Path(__file__).parents[3] / "snapshots"
EPOCH = "01KAM8Q0V3M2Z0G7Y4D6C5B9XA"
TS = timestamp_ms(NOW)

RECS = protocol.RecsMessage(
    rec_id="r-7c1de2a9f0b34c55",
    user="u42",
    generation=17,
    delta=3,
    as_of=AsOf(partition=2, offset=48211),
    source="fold-in",
    items=(
        RecommendedItem(
            item="p9",
            rank=1,
            was=4,
            score=0.83,
            why=(
                Reason(kind="because", item="p2", event="view", share=0.41),
                Reason(kind="content", item="p2", event="view", share=0.2, shared=("brand: Acme",)),
                Reason(kind="popular", share=0.12),
            ),
        ),
        RecommendedItem(
            item="p7", rank=2, score=0.5, why=(Reason(kind="boosted", share=0.3, rule="spring"),)
        ),
    ),
    lineage=Lineage(
        event_id="01KAM8Q3CEJ1T7Z9V5W2RNXDGH",
        event_ts=TS,
        appended_ts=TS + 1,
        folded_ts=TS + 3,
        published_ts=TS + 5,
    ),
    epoch=EPOCH,
    partition=2,
    offset=931,
)
EXAMPLES = {
    "hello": protocol.Hello(
        user="u42",
        subs=(
            protocol.Subscription(ch="recs", since=protocol.Since(epoch=EPOCH, offset=918)),
            protocol.Subscription(ch="pipeline"),
        ),
    ),
    "refresh": protocol.Refresh(token="eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"),  # noqa: S106 - made up
    "sub": protocol.Sub(ch="log", topic=INTERACTIONS, user="u42"),
    "unsub": protocol.Unsub(ch="log"),
    "welcome": protocol.Welcome(
        ping_s=25,
        epoch=EPOCH,
        user="u42",
        subs=(
            protocol.SubscriptionState(ch="recs", offset=931, recovered=True),
            protocol.SubscriptionState(ch="pipeline", offset=-1),
            protocol.SubscriptionState(ch="log", offset=48211, topic=INTERACTIONS, partition=2),
        ),
    ),
    "recs": RECS,
    "pipeline": protocol.PipelineMessage(
        epoch=EPOCH,
        offset=412,
        generation=17,
        delta=3,
        model=GenerationAnnounced(
            generation=17,
            parent=16,
            artifact="generation-000017-9b1f02aa.npz",
            digest="9b1f02aa5c7e4d12",
            offsets={"0": 47950, "1": 48002, "2": 48100, "3": 47001},
            hyperparameters={"n_factors": 64, "iterations": 12},
            seed=0,
            n_users=610,
            n_items=9724,
            n_interactions=100004,
            loss=0.123,
            train_seconds=1.9,
            created_ts=TS,
        ),
        training=TrainingProgress(
            state="training",
            generation=18,
            iteration=5,
            iterations=12,
            seconds=0.8,
            detail="iteration 5 of 12",
            ts=TS,
        ),
        workers=(
            WorkerStatus(
                worker="host-4711",
                events=191205,
                published=8120,
                dead_letters=1,
                lag={"0": 0, "1": 2, "2": 0, "3": 0},
                generation=17,
                delta=3,
                fold_in_ms_p50=0.4,
                fold_in_ms_p99=2.1,
                freshness_ms_p50=6.0,
                freshness_ms_p99=14.0,
                ts=TS,
            ),
        ),
        prequential={
            "arm:more content": PrequentialScore(events=420, hits={5: 0.08, 10: 0.14}, mrr=0.05)
        },
        clicks={"arm:more content": ClickCounts(shown=3120, clicked=97)},
        events=191205,
        lag=2,
        partition_lag={"0": 0, "1": 2, "2": 0, "3": 0},
        roles=(
            protocol.RoleState(
                name="worker", state="ready", reason="", heartbeat_age_ms=1200, lag=2
            ),
            protocol.RoleState(
                name="trainer",
                state="down",
                reason="trainer: no heartbeat for 31 s",
                heartbeat_age_ms=31000,
                lag=0,
            ),
            protocol.RoleState(
                name="bridge", state="ready", reason="", heartbeat_age_ms=None, lag=None
            ),
        ),
        connections=12,
        push=protocol.Stage(p50_ms=2.0, p99_ms=6.0),
    ),
    "log": protocol.LogMessage(
        topic=INTERACTIONS,
        partition=2,
        offset=48211,
        ts=TS,
        key="u42",
        value=msgspec.Raw(b'{"id":"e1","type":"view","user":"u42","item":"p9"}'),
    ),
    "gap": protocol.Gap(ch="log", topic=INTERACTIONS, partition=2, from_=10, to=90),
    "error": protocol.ErrorMessage(
        code="forbidden", detail="a user's token may only follow that user's own records", ch="log"
    ),
}


def examples():
    """Return one example of every message, by side."""

    def of(types):
        return [json.loads(protocol.encode(EXAMPLES[name_of(type_)])) for type_ in types]

    return {"client": of(FROM_CLIENT), "server": of(FROM_BRIDGE)}


@pytest.fixture(scope="module")
def app(world):
    return create_app(world.bridge.deps)


def documents(world):
    return {
        "openapi.json": world.get("/openapi.json").json,
        "asyncapi.json": json.loads(asyncapi()),
        "messages.json": examples(),
    }


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json", "messages.json"])
def test_a_document_equals_its_snapshot(world, name):
    document = documents(world)[name]
    path = SNAPSHOTS / name
    if os.environ.get("RECSTREAM_UPDATE_SNAPSHOTS"):
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")

    assert json.loads(path.read_text("utf-8")) == document


def test_every_route_is_described_and_every_description_is_a_route(world, app):
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    paths = world.get("/openapi.json").json["paths"]

    assert {(path, method) for path, methods in paths.items() for method in methods} == routes


def test_every_reference_of_the_documents_leads_somewhere(world):
    for document in (world.get("/openapi.json").json, json.loads(asyncapi())):
        for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)):
            found = document
            for name in reference.split("/"):
                found = found[name]


def test_every_message_of_the_protocol_has_an_example_that_its_schema_accepts():
    document = json.loads(asyncapi())
    schemas = {"components": document["components"]}

    for example in [*examples()["client"], *examples()["server"]]:
        payload = document["components"]["messages"][example["type"]]["payload"]
        jsonschema.validate(example, schemas | payload)


@pytest.mark.parametrize("type_", FROM_CLIENT, ids=name_of)
def test_client_messages_are_read_back_as_they_were_written(type_):
    example = EXAMPLES[name_of(type_)]

    assert protocol.decode_client(protocol.encode(example)) == example


@pytest.mark.parametrize("type_", FROM_BRIDGE, ids=name_of)
def test_bridge_messages_are_read_back_as_they_were_written(type_):
    example = EXAMPLES[name_of(type_)]
    raw = protocol.encode(example)

    assert protocol.encode(msgspec.json.decode(raw, type=type_)) == raw


def test_answers_follow_their_schemas(world):
    world.put_items(sa="x")
    world.post("/v1/events", {"type": "view", "user": "schema", "item": "sa"})
    document = world.get("/openapi.json").json
    asked = {
        "/v1/users/{user}/recommendations": "/v1/users/schema/recommendations",
        "/v1/users/{user}/events": "/v1/users/schema/events",
        "/v1/log/{topic}": f"/v1/log/{INTERACTIONS}?user=schema",
        "/v1/items": "/v1/items",
        "/v1/items/{item}": "/v1/items/sa",
        "/v1/items/{item}/similar": "/v1/items/sa/similar",
        "/v1/categories": "/v1/categories",
        "/v1/popular": "/v1/popular",
        "/v1/models": "/v1/models",
        "/v1/pipeline": "/v1/pipeline",
        "/health/ready": "/health/ready",
    }

    world.beat()
    wait_until(lambda: world.get("/health/ready").status == 200, "a worker's heartbeat")
    for path, url in asked.items():
        success = document["paths"][path]["get"]["responses"]["200"]
        schema = success["content"]["application/json"]["schema"]
        answer = world.get(url)
        assert answer.status == 200, url
        jsonschema.validate(answer.json, {"components": document["components"]} | schema)


def test_problems_follow_their_schema(world):
    document = world.get("/openapi.json").json
    answer = world.post("/v1/events", {"type": "vew", "user": "u", "item": "p"})

    schema = document["components"]["schemas"]["Problem"]
    jsonschema.validate(answer.json, {"components": document["components"]} | schema)


def test_the_docs_page_names_every_route_and_message_and_needs_no_script(world):
    page = world.get("/docs")
    text = page.body.decode()

    assert page.kind == "text/html"
    assert "<script" not in text
    assert " style=" not in text
    for path in world.get("/openapi.json").json["paths"]:
        assert f"<code>{path}</code>" in text
    for type_ in (*FROM_CLIENT, *FROM_BRIDGE):
        assert f"<b>{name_of(type_)}</b>" in text


def test_a_record_that_is_not_json_is_shown_as_text():
    record = Record("t", 0, 1, 2, b"k", b"\x93\x01")

    assert log_record(record).value is None
    assert log_record(record).text is not None


def close_codes() -> str:
    """Return the page's table of close codes."""
    entries = "".join(
        f"  {int(code)}: {json.dumps(msgspec.to_builtins(meaning))},\n"
        for code, meaning in sorted(protocol.CLOSE_MEANINGS.items())
    )
    return (
        "// @ts-check\n"
        "/** What to do after each close code. "
        "Written by tests/bridge/http/documents/test_documents.py. */\n\n"
        "/** @typedef {{reason: string, retry: boolean, resume: boolean, slow: boolean}} "
        "CloseMeaning */\n\n"
        "/** @type {Record<number, CloseMeaning>} */\n"
        f"export const CLOSE_CODES = {{\n{entries}}};\n"
    )


def test_every_close_code_has_a_meaning():
    assert set(protocol.CLOSE_MEANINGS) == set(protocol.CloseCode)


def test_the_page_knows_the_close_codes_of_the_bridge():
    path = Path(__file__).parents[4] / "web/connection/close-codes.js"
    if os.environ.get("RECSTREAM_UPDATE_SNAPSHOTS"):
        path.write_text(close_codes(), "utf-8")

    assert path.read_text("utf-8") == close_codes()


def test_the_reference_names_every_close_code():
    table = (Path(__file__).parents[4] / "docs/reference/push.md").read_text("utf-8")

    named = {
        int(code)
        for line in re.findall(r"^\|([ \d,]+)\|", table, re.MULTILINE)
        for code in line.split(",")
    }

    assert named == set(map(int, protocol.CloseCode))
