"""No record raises in a reader: any bytes with any timestamp give events or dead letters."""

import contextlib
import json
from datetime import datetime

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recstream.bridge.push.log_feed import log_record
from recstream.catalogue.view import read_change
from recstream.cli.log.records import record_line
from recstream.core.events import decode_event
from recstream.core.json_input import MAX_DEPTH
from recstream.core.records import ControlRecord, DeadLetter, Item, ModelRecord, PipelineRecord
from recstream.errors import InvalidEvent, InvalidInput
from recstream.log import Record, decode, decode_record

NOW_MS = 1_800_000_000_000
EVENT = {"id": "e", "type": "view", "user": "u", "item": "i", "ts": "2026-11-22T10:00:00Z"}
DECODERS = {
    kind: msgspec.json.Decoder(kind).decode
    for kind in (ControlRecord, DeadLetter, Item, ModelRecord, PipelineRecord)
}


def record(value: bytes | None, timestamp_ms: int = NOW_MS) -> Record:
    return Record("recstream.interactions", 2, 7, timestamp_ms, b"u", value)


def nested(depth: int) -> bytes:
    """An event whose JSON has so many levels."""
    inner = "[" * (depth - 2) + "]" * (depth - 2)
    return json.dumps({**EVENT, "context": {"x": 0}}).replace("0}", inner + "}").encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
events = st.fixed_dictionaries(
    {},
    optional={
        "id": st.text() | json_values,
        "type": st.sampled_from(["view", "rate", "impression", "gaze"]) | json_values,
        "user": st.text() | json_values,
        "item": st.text() | json_values,
        "items": st.lists(st.text()) | json_values,
        "ts": st.datetimes(timezones=st.timezones()).map(datetime.isoformat) | json_values,
        "value": st.floats() | json_values,
        "context": json_values,
    },
)
values = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda each: json.dumps(each).encode()),
    st.one_of(events, st.lists(events, max_size=4)).map(lambda each: json.dumps(each).encode()),
    st.integers(1, 100_000).map(lambda n: b"[" * n),
    st.integers(1, 9_000).map(lambda n: b"[" * n + b"]" * n),
    st.integers(3, 9_000).map(nested),
)


@given(value=values, timestamp_ms=st.integers(-(2**63), 2**63 - 1))
@example(value=json.dumps(EVENT).encode(), timestamp_ms=2**63 - 1)
@example(value=json.dumps(EVENT).encode(), timestamp_ms=1_700_000_000_000_000)
@example(value=json.dumps([EVENT]).encode(), timestamp_ms=-1)
@example(value=b"[" * 5_000, timestamp_ms=NOW_MS)
@example(value=b"[" * 5_000 + b"]" * 5_000, timestamp_ms=NOW_MS)
@example(value=nested(9_000), timestamp_ms=NOW_MS)
@example(value=b"9" * 5_000, timestamp_ms=NOW_MS)
def test_any_bytes_at_any_time_give_events_or_dead_letters(value: bytes, timestamp_ms: int) -> None:
    found = decode(record(value, timestamp_ms))

    assert found.events or found.letters or value.lstrip()[:1] == b"["
    for letter in found.letters:
        assert (letter.topic, letter.partition, letter.offset) == ("recstream.interactions", 2, 7)
        assert letter.reason
        msgspec.json.encode(letter)
    for _, event in found.events:
        msgspec.json.encode(event)


@pytest.mark.parametrize("kind", DECODERS, ids=lambda kind: getattr(kind, "__name__", str(kind)))
@given(value=values)
def test_any_bytes_of_any_topic_give_a_record_or_a_dead_letter(kind, value: bytes) -> None:
    found = decode_record(record(value), DECODERS[kind])

    assert found is not None
    msgspec.json.encode(found)


def test_any_error_of_a_decoder_becomes_a_dead_letter_with_its_origin() -> None:
    def broken(_: bytes) -> int:
        raise ZeroDivisionError("by accident")

    letter = decode_record(record(b"x"), broken)

    assert isinstance(letter, DeadLetter)
    assert (letter.partition, letter.offset, letter.value) == (2, 7, "x")
    assert "by accident" in letter.detail


def test_a_tombstone_is_no_dead_letter() -> None:
    assert decode_record(record(None), DECODERS[Item]) is None


def test_an_event_may_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    assert len(decode(record(nested(MAX_DEPTH))).events) == 1

    for depth in (MAX_DEPTH + 1, 980, 9_000):
        (letter,) = decode(record(nested(depth))).letters
        assert letter.reason == "too-deep"


def test_deep_events_in_a_batch_leave_the_others() -> None:
    value = b"[%b,%b]" % (json.dumps(EVENT).encode(), nested(100))

    found = decode(record(value))

    assert [place for place, _ in found.events] == [0]
    assert [(each.pointer, each.reason) for each in found.letters] == [("/1/context", "too-deep")]


def test_a_timestamp_in_microseconds_is_a_dead_letter_that_says_so() -> None:
    (letter,) = decode(record(json.dumps(EVENT).encode(), NOW_MS * 1000)).letters

    assert letter.reason == "invalid-record-time"
    assert "microseconds" in letter.detail


def test_the_last_moment_that_can_be_written_is_refused_as_in_the_future() -> None:
    last = {**EVENT, "ts": "9999-12-31T23:59:59.999999-23:59"}

    (letter,) = decode(record(json.dumps(last).encode())).letters

    assert letter.reason == "in-the-future"


def test_an_event_too_deep_is_refused_at_the_edge() -> None:
    with pytest.raises(InvalidEvent, match="64 deep") as refused:
        decode_event(nested(9_000))

    assert refused.value.code == "too-deep"


@given(
    value=values,
    key=st.none() | st.binary(max_size=9),
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
)
@example(
    value=b'{"item":"i","attributes":{"a":' + b"[" * 980 + b"]" * 980 + b"}}",
    key=b"i",
    timestamp_ms=0,
)
@example(value=b"[" * 9_000 + b"]" * 9_000, key=b"i", timestamp_ms=2**63 - 1)
def test_any_record_can_be_shown_and_no_catalogue_record_stops_the_trainer(
    value: bytes, key: bytes | None, timestamp_ms: int
) -> None:
    odd = record(value, timestamp_ms)._replace(key=key)

    for as_json in (False, True):
        assert record_line(odd, as_json=as_json)
    msgspec.json.encode(log_record(odd))
    with contextlib.suppress(InvalidInput):
        read_change(odd)


def test_a_record_full_of_invalid_events_makes_few_letters_and_one_that_counts_the_others() -> None:
    value = b"[%b,%b]" % (b",".join([b"1"] * 5_000), json.dumps(EVENT).encode())

    found = decode(record(value))

    assert [place for place, _ in found.events] == [5_000]
    assert [each.pointer for each in found.letters] == [*(f"/{place}" for place in range(100)), ""]
    assert found.letters[-1].reason == "too-many-invalid"
    assert "5000 invalid ones of 5001" in found.letters[-1].detail
    assert "the last 4900" in found.letters[-1].detail
    assert (found.letters[-1].value, found.letters[-1].truncated) == ("", True)
