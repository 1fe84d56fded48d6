"""Dead letters over REST: counted by reason, listed, corrected and sent again."""

import msgspec
import pytest

from recstream.core.records import DeadLetter
from recstream.log.port import NewRecord
from recstream.log.topics import CATALOGUE, DEAD_LETTERS, INTERACTIONS
from tests.bridge.bridge_world import partition_of, running


def letter(reason, value, *, topic=INTERACTIONS, offset=10_000):
    body = DeadLetter(
        reason=reason, detail=f"{reason}!", topic=topic, partition=0, offset=offset, value=value
    )
    return NewRecord(DEAD_LETTERS, b"k", msgspec.json.encode(body), 0)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A bridge over a log with dead letters of two reasons, and one that can't be read itself."""
    with running(tmp_path_factory.mktemp("faulty")) as world:
        world.log.append([letter("missing", '{"type":"view"}'), letter("missing", "{}")])
        world.log.append(
            [letter("malformed-json", "{oops"), NewRecord(DEAD_LETTERS, b"k", b"?", 0)]
        )
        yield world


def test_letters_are_counted_by_reason_and_listed_newest_first(faulty):
    answer = faulty.get("/v1/dead-letters?limit=2").json

    assert answer["reasons"]["missing"] == 2
    assert answer["n_counted"] == 4
    assert answer["letters"][1]["value"] == "{oops"
    rest = faulty.get(f"/v1/dead-letters?older={answer['older']}").json
    assert [one["id"] for one in rest["letters"]] == ["0:1", "0:0"]
    assert rest["older"] == ""


def test_a_place_in_partitions_that_do_not_exist_is_ignored(faulty):
    plain = faulty.get("/v1/dead-letters")

    answer = faulty.get("/v1/dead-letters?older=99:5")

    assert (answer.status, answer.json) == (200, plain.json)


def test_letters_of_one_reason_are_listed(faulty):
    answer = faulty.get("/v1/dead-letters?reason=malformed-json").json

    ids = [one["id"] for one in answer["letters"]]
    assert ids == ["0:3", "0:2"]  # the first is about the letter that can't be read itself


def test_a_corrected_event_is_sent_to_its_users_partition(faulty):
    user = next(f"u{n}" for n in range(9) if partition_of(faulty, f"u{n}") == 1)
    event = {
        "id": "mended",
        "type": "view",
        "user": user,
        "item": "p1",
        "ts": "2026-11-22T10:00:00Z",
    }

    answer = faulty.post(
        "/v1/dead-letters/0:0/send", {"value": msgspec.json.encode(event).decode()}
    )

    assert answer.status == 202, answer.body
    assert answer.json["partition"] == 1
    (record,) = faulty.records(INTERACTIONS, user)
    assert (record.partition, msgspec.json.decode(record.value)["id"]) == (1, "mended")


def test_a_corrected_event_gets_the_id_and_time_that_it_lacks_the_same_id_each_time(faulty):
    value = '{"type":"view","user":"late","item":"p1"}'
    for _ in range(2):
        assert faulty.post("/v1/dead-letters/0:0/send", {"value": value}).status == 202

    first, again = (msgspec.json.decode(one.value) for one in faulty.records(INTERACTIONS, "late"))

    assert first == again
    assert first["id"] == "dead-letter-0:0"
    assert first["ts"] == "2026-11-22T10:00:00Z"


def test_a_letter_is_sent_again_as_it_was(faulty):
    answer = faulty.post("/v1/dead-letters/0:2/send", {}).json

    record = faulty.log.read(answer["topic"], answer["partition"], answer["offset"])[0]
    assert record.value == b"{oops"


@pytest.mark.parametrize(
    "value",
    [
        "{oops",
        '{"type":"view"}',
        '{"type":"dance","user":"u","item":"p"}',
        "[" * 5_000,
        '{"a":' * 5_000,
    ],
)
def test_a_correction_that_is_still_wrong_is_refused_with_the_reason(faulty, value):
    before = faulty.log.high_watermark(INTERACTIONS, 0)

    answer = faulty.post("/v1/dead-letters/0:0/send", {"value": value})

    assert (answer.status, answer.kind) == (422, "application/problem+json")
    assert answer.json["errors"]
    assert faulty.log.high_watermark(INTERACTIONS, 0) == before


def test_a_corrected_product_is_sent_with_its_own_key(faulty):
    faulty.log.append([letter("invalid-item", "{}", topic=CATALOGUE)])
    name = faulty.get("/v1/dead-letters?limit=1").json["letters"][0]["id"]

    assert faulty.post(f"/v1/dead-letters/{name}/send", {"value": "[]"}).status == 422
    answer = faulty.post(
        f"/v1/dead-letters/{name}/send", {"value": '{"item":"p7","title":"Seven"}'}
    )

    assert answer.status == 202
    assert faulty.log.read(CATALOGUE, 0, answer.json["offset"])[0].key == b"p7"


@pytest.mark.parametrize(("name", "status"), [("0:99", 404), ("9:0", 404), ("x", 400)])
def test_a_letter_that_is_not_there_can_not_be_sent(faulty, name, status):
    assert faulty.post(f"/v1/dead-letters/{name}/send", {}).status == status
