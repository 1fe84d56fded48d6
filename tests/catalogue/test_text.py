"""Cursors of pages: what clients send back is a cursor, or an error that says so."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recstream.catalogue.text import decode_cursor
from recstream.errors import InvalidInput


@pytest.mark.parametrize("raw", [b"\x81\xa1x" + b"\x91" * 5000, b"\xdf\xff\xff\xff\xff", b"\xc1"])
def test_a_cursor_of_any_depth_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="cursor must be the next of an earlier page"):
        decode_cursor(base64.urlsafe_b64encode(raw).decode())


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        decode_cursor(text)
