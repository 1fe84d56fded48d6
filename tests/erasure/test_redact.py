"""Blanking a user's records: any bytes are blanked or kept, and none stops the erasure."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.erasure.redact import letter_without, without
from recstream.log import DEAD_LETTERS, INTERACTIONS, Record

USER = "ann"
NAMED = st.sampled_from([b'"ann"', b'{"user":"ann"}', b'{"user":"bob"}', b"[", b"]", b",", b"null"])
BYTES = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.lists(st.one_of(NAMED, st.binary(max_size=8)), max_size=8).map(b"".join),
    st.lists(NAMED, max_size=5).map(lambda parts: b"[" + b",".join(parts) + b"]"),
    st.integers(1, 3000).map(lambda n: b'{"user":"ann","x":' + b"[" * n),
)


@settings(max_examples=300)
@given(
    key=st.one_of(st.none(), st.just(b"ann"), st.binary(max_size=8)),
    value=BYTES,
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
)
def test_any_bytes_at_any_time_lose_the_users_name_and_stop_nothing(key, value, timestamp_ms):
    record = Record(INTERACTIONS, 0, 0, timestamp_ms, key, value, (("h", b"v"),))
    letter = record._replace(topic=DEAD_LETTERS)

    events, blanked = without(record, USER), letter_without(letter, USER)

    assert events.key != b"ann"
    assert b'"user":"ann"' not in (events.value or b"")
    assert b'"user":"ann"' not in (blanked.value or b"")


def test_the_other_events_of_an_array_keep_their_places():
    value = b'[{"user":"ann"},{"user":"bob"},{"user":"ann"}]'

    kept = without(Record(INTERACTIONS, 0, 0, 0, None, value), USER)

    assert msgspec.json.decode(kept.value) == [None, {"user": "bob"}, None]


@pytest.mark.parametrize("decoder", ["_owner", "_owners", "_split", "decode_dead_letter"])
def test_an_error_that_nobody_listed_is_as_good_as_unreadable(monkeypatch, decoder):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr(f"recstream.erasure.redact.{decoder}", fail)
    value = b'[{"user":"ann"},{"user":"bob"}]'
    record = Record(INTERACTIONS, 0, 0, 0, None, value)

    assert b"ann" not in (without(record, USER).value or b"")
    assert b"ann" not in (letter_without(record._replace(value=b'"ann"'), USER).value or b"")
