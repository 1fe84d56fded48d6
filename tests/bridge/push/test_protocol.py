"""Messages of clients: any bytes are a message, or refused; nothing else is raised."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recstream.bridge.push.protocol import MAX_MESSAGE_BYTES, decode_client
from recstream.errors import InvalidInput


@pytest.mark.parametrize("depth", [65, 5000, MAX_MESSAGE_BYTES // 2])
@pytest.mark.parametrize("field", ["", '"type":"hello","token":', '"type":"sub","x":', '"x":'])
def test_a_message_that_nests_too_deep_is_refused(depth, field):
    whole = "{" + field + "[" * depth + "]" * depth + "}" if field else "[" * depth + "]" * depth

    for raw in (whole, whole[: len(whole) // 2]):
        with pytest.raises(InvalidInput):
            decode_client(raw.encode())


@settings(max_examples=200)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.sampled_from(["hello", "sub", "unsub", "refresh"]).flatmap(
            lambda kind: st.binary(max_size=80).map(
                lambda rest: b'{"type":"' + kind.encode() + b'","user":' + rest + b"}"
            )
        ),
    )
)
def test_any_bytes_are_a_message_or_refused(raw):
    with contextlib.suppress(InvalidInput):
        decode_client(raw)


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ('{"type":"hello","surprise":1}', "token, user, subs"),
        ('{"type":"refresh","token":"t","surprise":1}', "token"),
        ('{"type":"sub","ch":"recs","surprise":1}', "ch, since, topic, partition, user, placement"),
        ('{"type":"unsub","ch":"recs","surprise":1}', "ch"),
        (
            '{"type":"hello","subs":[{"ch":"log","surprise":1}]}',
            "ch, since, topic, partition, user, placement",
        ),
        (
            '{"type":"sub","ch":"log","since":{"epoch":"e","offset":1,"surprise":1}}',
            "epoch, offset",
        ),
    ],
)
def test_an_unknown_field_is_refused_with_the_known_ones_of_its_kind(message, known):
    with pytest.raises(InvalidInput, match=f"unknown field `surprise`; known: {known} "):
        decode_client(message)


@pytest.mark.parametrize(
    ("message", "known"),
    [
        ('{"type":"shout"}', "hello, refresh, sub, unsub"),
        ('{"type":"unsub","ch":"gossip"}', "recs, pipeline, log"),
        ('{"type":"hello","subs":[{"ch":"gossip"}]}', "recs, pipeline, log"),
    ],
)
def test_an_unknown_value_is_refused_with_the_known_ones(message, known):
    with pytest.raises(InvalidInput) as refused:
        decode_client(message)

    _, _, said = str(refused.value).partition("; known: ")
    assert sorted(said.partition(" (at ")[0].split(", ")) == sorted(known.split(", "))
