"""`POST /v1/events`: what is taken, what is refused and how, and what 202 promises."""

import json
import threading

import pytest

from recstream.bridge.http import single_events
from recstream.core.events import decode_events
from recstream.errors import LogUnavailable
from recstream.log.embedded import EmbeddedLog
from recstream.log.topics import INTERACTIONS
from tests.bridge.bridge_world import NOW, SECRET, running
from tests.waiting import wait_until


def logged(world, user):
    return [
        event
        for record in world.records(INTERACTIONS, user)
        for event in decode_events(record.value)
    ]


def test_an_accepted_event_is_in_the_log_under_its_user(world):
    answer = world.post("/v1/events", {"id": "a1", "type": "view", "user": "ann", "item": "p1"})

    assert answer.status == 202
    assert answer.json["accepted"] == 1
    assert [(event.id, event.item, event.ts) for event in logged(world, "ann")] == [
        ("a1", "p1", NOW)
    ]


def test_the_answer_names_epoch_and_newest_offset_by_partition(world):
    answer = world.post("/v1/events", [{"type": "view", "user": "pos", "item": "p"}] * 3)

    (partition, offset), *others = answer.json["position"]["offsets"].items()
    newest = world.records(INTERACTIONS, "pos")[-1]
    assert answer.json["position"]["epoch"] == world.log.epoch
    assert (int(partition), offset, others) == (newest.partition, newest.offset, [])


def test_a_missing_id_becomes_a_ulid(world):
    world.post("/v1/events", {"type": "view", "user": "noid", "item": "p1"})

    (event,) = logged(world, "noid")
    assert len(event.id) == 26


def test_lines_of_json_are_a_batch(world):
    lines = b'{"type":"view","user":"nd","item":"a"}\n\n{"type":"view","user":"nd","item":"b"}\n'

    answer = world.post("/v1/events", lines, kind="application/x-ndjson")

    assert answer.json["accepted"] == 2
    assert [event.item for event in logged(world, "nd")] == ["a", "b"]


def test_cloud_events_are_unwrapped_and_completed_from_their_envelope(world):
    batch = [
        {
            "specversion": "1.0",
            "id": "ce-1",
            "source": "/shop",
            "type": "test.shop.view",
            "subject": "cloud",
            "time": "2026-11-22T09:00:00Z",
            "data": {"item": "p1"},
        },
        {"specversion": "0.3", "id": "x", "source": "/", "type": "view", "data": {}},
    ]

    answer = world.post("/v1/events", batch, kind="application/cloudevents-batch+json")

    assert (answer.status, answer.json["accepted"]) == (202, 1)
    assert [(one["index"], one["pointer"]) for one in answer.json["rejected"]] == [
        (1, "/1/specversion")
    ]
    (event,) = logged(world, "cloud")
    assert (event.id, event.type, event.item, event.ts.hour) == ("ce-1", "view", "p1", 9)


def test_a_bad_event_of_a_batch_is_named_and_the_others_are_taken(world):
    batch = [
        {"type": "view", "user": "mix", "item": "a"},
        {"id": "bad", "type": "vew", "user": "mix", "item": "b"},
        {"type": "rate", "user": "mix", "item": "b", "value": 9},
        {"type": "view", "user": "mix", "item": "c", "colour": "red"},
        {"type": "view", "user": "mix", "item": "d", "ts": "2026-11-24T10:00:00Z"},
        17,
    ]

    answer = world.post("/v1/events", batch)

    assert answer.status == 202
    assert answer.json["accepted"] == 1
    assert [(one["index"], one["pointer"], one["code"]) for one in answer.json["rejected"]] == [
        (1, "/1/type", "invalid-enum"),
        (2, "/2/value", "out-of-range"),
        (3, "/3/colour", "unknown-field"),
        (4, "/4/ts", "in-the-future"),
        (5, "/5", "invalid-type"),
    ]
    assert answer.json["rejected"][0]["detail"].endswith(
        "known: impression, view, click, cart, purchase, rate, like, dislike, remove, profile"
    )
    assert answer.json["rejected"][2]["detail"].endswith(
        "unknown field `colour`; known: id, type, user, item, items, ts, value, session, rec_id, "
        "context, properties"
    )


def test_a_batch_without_any_good_event_is_422_and_says_why(world):
    answer = world.post("/v1/events", [{"type": "view"}, {"type": "view", "user": "u"}])

    assert (answer.status, answer.kind) == (422, "application/problem+json")
    assert answer.json["accepted"] == 0
    assert [one["pointer"] for one in answer.json["errors"]] == ["/0/user", "/1/item"]
    assert [one["index"] for one in answer.json["rejected"]] == [0, 1]


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b"\xff\xfe", b"nonsense", b'"view"'])
def test_a_body_that_is_no_event_is_a_problem(world, body):
    answer = world.post("/v1/events", body)

    assert answer.status in {400, 422}
    assert answer.kind == "application/problem+json"


def test_a_byte_order_mark_before_json_is_ignored(world):
    event = b'{"type":"view","user":"bom","item":"p%d"}'
    mark = b"\xef\xbb\xbf"

    one = world.post("/v1/events", mark + event % 1)
    lines = world.post(
        "/v1/events", mark + event % 2 + b"\r\n" + event % 3, kind="application/x-ndjson"
    )

    assert (one.json["accepted"], lines.json["accepted"]) == (1, 2)
    assert [each.item for each in logged(world, "bom")] == ["p1", "p2", "p3"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_another_encoding_is_refused_by_name(world, encoding):
    body = '{"type":"view","user":"u","item":"p"}'.encode(encoding)

    answer = world.post("/v1/events", body)

    assert answer.status == 400
    assert answer.json["detail"] == "expected JSON in UTF-8, got UTF-16, UTF-32 or no text"


@pytest.mark.parametrize("body", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_called_empty(world, body):
    answer = world.post("/v1/events", body)

    assert answer.status == 422
    assert answer.json["detail"] == "expected at least one of the events, got none"


def test_a_truncated_array_is_malformed_json(world):
    answer = world.post("/v1/events", b'[{"type":"view","user":"u","item":"p"}')

    assert answer.status == 400
    assert answer.json["errors"][0]["code"] == "malformed-json"


def test_the_same_event_again_is_a_duplicate_and_is_not_appended(world):
    body = {"id": "twice", "type": "view", "user": "dup", "item": "p1"}
    world.post("/v1/events", body)
    world.clock.advance(3600)

    answer = world.post("/v1/events", body)

    assert (answer.status, answer.json["accepted"], answer.json["duplicates"]) == (202, 0, 1)
    assert len(logged(world, "dup")) == 1


def test_a_retried_event_can_be_waited_for_as_the_first_time(world):
    body = {"id": "retried", "type": "view", "user": "retry", "item": "p1"}
    first = world.post("/v1/events", body).json["position"]

    again = world.post("/v1/events", body).json["position"]

    ((partition, offset),) = first["offsets"].items()
    assert again["epoch"] == first["epoch"]
    assert again["offsets"][partition] >= offset


def test_an_event_twice_in_one_request_counts_once(world):
    body = {"id": "in-one", "type": "view", "user": "one", "item": "p1"}

    answer = world.post("/v1/events", [body, body])

    assert (answer.json["accepted"], answer.json["duplicates"]) == (1, 1)


def test_an_id_with_another_body_is_refused(world):
    world.post("/v1/events", {"id": "reused", "type": "view", "user": "re", "item": "p1"})

    answer = world.post(
        "/v1/events", {"id": "reused", "type": "purchase", "user": "re", "item": "p1"}
    )

    assert answer.status == 422
    assert answer.json["rejected"][0]["code"] == "id-reuse"
    assert answer.json["rejected"][0]["pointer"] == "/id"


def test_more_than_1000_events_are_413(world):
    answer = world.post("/v1/events", [{"type": "view", "user": "many", "item": "p"}] * 1001)

    assert answer.status == 413
    assert logged(world, "many") == []


def test_a_body_above_1_mib_is_413_and_the_connection_is_not_reset(world):
    answer = world.post("/v1/events", b" " * (3 << 20))

    assert (answer.status, answer.kind) == (413, "application/problem+json")


def test_an_event_above_32_kib_is_rejected_alone(world):
    big = {"type": "view", "user": "big", "item": "p", "context": {"x": "y" * 33_000}}

    answer = world.post("/v1/events", [big, {"type": "view", "user": "big", "item": "q"}])

    assert answer.json["accepted"] == 1
    assert answer.json["rejected"][0]["code"] == "too-large"


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", None])
def test_another_media_type_is_415(world, kind):
    answer = world.post("/v1/events", b"{}", kind=kind)

    assert (answer.status, answer.kind) == (415, "application/problem+json")


def test_a_compressed_body_is_415(world):
    answer = world.post("/v1/events", b"{}", headers={"Content-Encoding": "gzip"})

    assert answer.status == 415


class BrokenLog(EmbeddedLog):
    """A log whose disk can be full, or slow."""

    is_full = False
    slow = None
    n_appends = 0

    def append(self, *args, **options):
        self.n_appends += 1
        if self.is_full:
            raise LogUnavailable("the disk is full")
        if self.slow is not None:
            self.slow.wait(5)
        return super().append(*args, **options)


@pytest.fixture
def broken(tmp_path):
    log = BrokenLog(tmp_path / "log.db", sync="normal")
    with running(tmp_path, log=log) as world:
        yield world
        log.is_full, log.slow = False, None
    log.close()


def test_an_unwritable_log_is_503_and_the_same_request_may_be_sent_again(broken):
    body = {"id": "again", "type": "view", "user": "u", "item": "p"}
    broken.log.is_full = True
    refused = broken.post("/v1/events", body)
    broken.log.is_full = False

    answer = broken.post("/v1/events", body)

    assert (refused.status, refused.kind) == (503, "application/problem+json")
    assert refused.headers["Retry-After"] == "1"
    assert (answer.status, answer.json["accepted"]) == (202, 1)


def test_too_many_requests_waiting_for_the_log_are_503(broken):
    broken.log.slow = threading.Event()
    answers = []

    def send(number):
        body = {"type": "view", "user": f"u{number}", "item": "p"}
        answers.append(broken.post("/v1/events", [body]))
        if answers[-1].status == 503:
            broken.log.slow.set()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    statuses = [answer.status for answer in answers]
    assert set(statuses) == {202, 503}
    assert all(a.headers["Retry-After"] for a in answers if a.status == 503)


def test_single_events_that_wait_for_the_log_are_appended_together(broken):
    slow = broken.log.slow = threading.Event()
    answers = []

    def send(number):
        body = {"id": f"e{number}", "type": "view", "user": f"u{number}", "item": "p"}
        answers.append(broken.post("/v1/events", body))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    wait_until(lambda: broken.bridge.deps.log.n_appends > 0)
    slow.set()
    for thread in threads:
        thread.join()

    assert [answer.status for answer in answers] == [202] * 30
    positions = {tuple(answer.json["position"]["offsets"].items()) for answer in answers}
    assert len(positions) == 30
    assert broken.log.n_appends < 30


@pytest.mark.parametrize("waiting", [0, 1024])
def test_the_answer_to_a_single_event_does_not_depend_on_its_way(world, monkeypatch, waiting):
    monkeypatch.setattr(single_events, "MAX_WAITING", waiting)
    body = {"id": f"way-{waiting}", "type": "view", "user": f"way-{waiting}", "item": "p"}

    first = world.post("/v1/events", body)
    repeat = world.post("/v1/events", body)
    other = world.post("/v1/events", body | {"item": "q"})
    wrong = world.post("/v1/events", body | {"type": "?"})

    assert (first.status, first.json["accepted"]) == (202, 1)
    assert (repeat.status, repeat.json["duplicates"]) == (202, 1)
    assert (other.status, other.json["errors"][0]["code"]) == (422, "id-reuse")
    assert (wrong.status, wrong.json["errors"][0]["pointer"]) == (422, "/type")
    assert [event.item for event in logged(world, f"way-{waiting}")] == ["p"]


def test_a_users_token_may_only_send_that_users_events(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")
    batch = [
        {"type": "view", "user": "ann", "item": "p"},
        {"type": "view", "user": "bob", "item": "p"},
    ]

    answer = guarded.post("/v1/events", batch, token=token)

    assert answer.json["accepted"] == 1
    assert [(one["pointer"], one["code"]) for one in answer.json["rejected"]] == [
        ("/1/user", "forbidden")
    ]


def test_without_a_token_a_guarded_bridge_takes_nothing(guarded):
    answer = guarded.post("/v1/events", {"type": "view", "user": "eve", "item": "p"})

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert guarded.records(INTERACTIONS, "eve") == []
    assert SECRET not in json.dumps(answer.json)


def test_two_users_may_use_one_id(world):
    first = {"id": "same", "type": "view", "user": "first-user", "item": "p1"}
    other = {"id": "same", "type": "view", "user": "other-user", "item": "p2"}

    together = world.post("/v1/events", [first, other])
    again = world.post("/v1/events", other)

    assert (together.json["accepted"], again.json["duplicates"]) == (2, 1)
    assert [event.item for event in logged(world, "other-user")] == ["p2"]
    assert (
        world.post("/v1/events", other | {"item": "p3"}).json["rejected"][0]["code"] == "id-reuse"
    )


def test_a_single_event_for_another_user_is_forbidden(guarded):
    token, _ = guarded.bridge.deps.auth.issue("ann")
    body = {"type": "view", "user": "bob", "item": "i"}

    for answer in (
        guarded.post("/v1/events", body, token=token),
        guarded.post("/v1/events", [body, body], token=token),
    ):
        assert (answer.status, answer.json["errors"][0]["code"]) == (403, "forbidden")
    mixed = guarded.post("/v1/events", [body, {"type": "view"}], token=token)
    assert mixed.status == 422
