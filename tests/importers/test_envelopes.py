"""Envelopes: many events in few records."""

from typing import Any

import msgspec

from recstream.core.events import Event
from recstream.importers.envelopes import ENVELOPE_BYTES, ENVELOPE_EVENTS, envelopes


def test_an_envelope_is_bounded_in_events_and_bytes() -> None:
    small = (Event(id=str(n), type="view", user="u", item="p") for n in range(1_001))
    large = (
        Event(id=str(n), type="view", user="u", item="p", context={"x": "y" * 30_000})
        for n in range(40)
    )

    counts = [len(decode(record.value)) for record in envelopes(small, 1)]
    sizes = [len(record.value or b"") for record in envelopes(large, 1)]

    assert counts == [ENVELOPE_EVENTS, ENVELOPE_EVENTS, 1]
    assert max(sizes) < ENVELOPE_BYTES + 1_000
    assert len(sizes) == 3


def decode(value: bytes | None) -> list[Any]:

    decoded: list[Any] = msgspec.json.decode(value or b"[]")
    return decoded
