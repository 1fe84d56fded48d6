"""Requests with one event each: which of them share an append."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any, cast

import pytest

from recstream.bridge.http import single_events
from recstream.bridge.http.single_events import SingleEvents

WAIT_S = 10.0


def test_events_that_come_soon_after_an_append_share_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deps: Any = SimpleNamespace(settings=SimpleNamespace(allowed_origins=()))
    events, request = SingleEvents(deps), cast(Any, None)

    def sleep(seconds: float) -> None:
        if seconds > 0.0:
            events.submit("third", request)

    monkeypatch.setattr(single_events, "time", SimpleNamespace(monotonic=lambda: 7.0, sleep=sleep))
    monkeypatch.setattr(events, "append", lambda requests: [b""] * len(requests))
    answered: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
    events.start(lambda answers: answered.put([connection for connection, _ in answers]))
    try:
        events.submit("first", request)
        assert answered.get(timeout=WAIT_S) == ["first"]
        events.submit("second", request)
        assert answered.get(timeout=WAIT_S) == ["second", "third"]
    finally:
        events.stop()
