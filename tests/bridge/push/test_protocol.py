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
