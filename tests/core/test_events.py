"""What an event must be to enter the log, and what the log's record looks like."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstream.core.events import (
    EVENT_TYPES,
    MAX_EVENT_BYTES,
    Event,
    EventWeights,
    admit,
    check_event,
    decode_event,
    decode_events,
    encode_event,
    event_digest,
    event_weight,
    from_timestamp_ms,
    timestamp_ms,
)
from recstream.errors import InvalidEvent, InvalidSetting

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def refused(raw: str | bytes) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        admit(decode_event(raw), now=NOW, new_id=lambda: "made-here")
    return caught.value


def event(**fields: object) -> str:
    return json.dumps({"type": "view", "user": "u1", "item": "p1", **fields})


def test_the_edge_fills_in_a_missing_id_and_time() -> None:
    admitted = admit(decode_event(event()), now=NOW, new_id=lambda: "made-here")

    assert (admitted.id, admitted.ts) == ("made-here", NOW)


def test_the_clients_own_id_and_time_are_kept() -> None:
    raw = event(id="mine", ts="2026-11-22T09:00:00+01:00")

    admitted = admit(decode_event(raw), now=NOW, new_id=lambda: "made-here")

    assert admitted.id == "mine"
    assert admitted.ts == datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "code", "pointer"),
    [
        ("{", "malformed-json", ""),
        (b"\xff\xfe", "malformed-json", ""),
        ("[]", "invalid-type", ""),
        (event(type="gaze"), "invalid-enum", "/type"),
        (event(user=7), "invalid-type", "/user"),
        (event(price=7), "unknown-field", "/price"),
        ('{"type":"view","item":"p1"}', "missing", "/user"),
        ('{"type":"view","user":"u1"}', "missing", "/item"),
        (event(user=""), "missing", "/user"),
        (event(item=""), "missing", "/item"),
        (event(user="u\n1"), "invalid-name", "/user"),
        (event(item="x" * 257), "invalid-name", "/item"),
        (event(id="x" * 257), "invalid-name", "/id"),
        (event(type="rate"), "missing", "/value"),
        (event(type="rate", value=5.5), "out-of-range", "/value"),
        (event(value=-1), "out-of-range", "/value"),
        (event(ts="2026-11-22T10:00:00"), "invalid-time", "/ts"),
        (event(ts="yesterday"), "invalid-type", "/ts"),
        (event(ts="2026-11-23T10:00:01Z"), "in-the-future", "/ts"),
        (event(ts="1969-12-31T23:59:59Z"), "invalid-time", "/ts"),
        ('{"type":"impression","user":"u1"}', "missing", "/items"),
        ('{"type":"impression","user":"u1","items":[""]}', "invalid-name", "/items"),
        ('{"type":"impression","user":"u1","items":["a\\u0000b"]}', "invalid-name", "/items"),
        (event(context={"x": "y" * MAX_EVENT_BYTES}), "too-large", ""),
    ],
)
def test_a_bad_event_is_refused_with_a_code_and_a_pointer(
    raw: str | bytes, code: str, pointer: str
) -> None:
    error = refused(raw)

    assert (error.code, error.pointer) == (code, pointer)
    assert str(error)


def test_a_day_ahead_is_just_accepted() -> None:
    admitted = admit(
        decode_event(event(ts="2026-11-23T10:00:00Z")), now=NOW, new_id=lambda: "made-here"
    )

    assert admitted.ts == NOW + timedelta(hours=24)


names = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)
moments = st.integers(0, 4_000_000_000_000).map(from_timestamp_ms)
events = st.builds(
    Event,
    id=names,
    type=st.sampled_from([kind for kind in EVENT_TYPES if kind != "impression"]),
    user=names,
    item=names,
    ts=moments,
    value=st.floats(0.0, 5.0),
    session=st.none() | names,
    context=st.dictionaries(names, st.integers() | names, max_size=3),
)


@given(events)
def test_a_record_decodes_to_the_event_it_was_made_from(one: Event) -> None:
    assert decode_events(encode_event(one)) == [one]


@given(st.lists(events, max_size=5))
def test_an_envelope_decodes_to_its_events_in_order(several: list[Event]) -> None:
    assert decode_events(msgspec.json.encode(several)) == several


def test_a_record_with_one_invalid_event_is_invalid() -> None:
    good, bad = event(id="1", ts="2026-11-22T10:00:00Z"), event(id="2", user="")

    with pytest.raises(InvalidEvent, match="user"):
        decode_events(f"[{good},{bad}]".encode())


def test_a_record_needs_its_time() -> None:
    with pytest.raises(InvalidEvent, match="time"):
        decode_events(event(id="1").encode())


@given(events, events)
def test_two_bodies_have_one_digest_only_if_they_are_equal(one: Event, other: Event) -> None:
    assert (event_digest(one) == event_digest(other)) == (encode_event(one) == encode_event(other))


@given(st.integers(0, 4_000_000_000_000))
def test_milliseconds_survive_the_way_to_a_moment_and_back(milliseconds: int) -> None:
    assert timestamp_ms(from_timestamp_ms(milliseconds)) == milliseconds


def test_a_moment_in_another_zone_is_the_same_millisecond() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=-5)))

    assert timestamp_ms(there) == timestamp_ms(NOW)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("view", None, 1.0),
        ("click", None, 1.5),
        ("purchase", 2.0, 10.0),
        ("purchase", 1_000.0, 50.0),
        ("rate", 5.0, 5.0),
        ("rate", 3.75, 2.5),
        ("rate", 2.5, 0.0),
        ("rate", 0.5, 0.0),
        ("dislike", None, 0.0),
        ("remove", None, 0.0),
        ("impression", None, 0.0),
    ],
)
def test_an_event_weighs_what_its_type_and_value_say(
    kind: str, value: float | None, expected: float
) -> None:
    one = msgspec.convert({"type": kind, "user": "u", "item": "i", "value": value}, Event)

    assert event_weight(one, EventWeights()) == pytest.approx(expected)


@given(events)
def test_no_event_has_a_negative_weight(one: Event) -> None:
    got = event_weight(one, EventWeights())

    assert got >= 0.0
    assert math.isfinite(got)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, 1001.0])
def test_a_weight_must_be_a_number_from_0_to_1000(bad: float) -> None:
    with pytest.raises(InvalidSetting, match="view"):
        EventWeights(view=bad)


def test_checking_returns_the_event_itself() -> None:
    one = Event(id="1", type="view", user="u", item="i", ts=NOW)

    assert check_event(one) is one
