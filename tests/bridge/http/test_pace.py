"""A connection may take as long as it makes progress, at a minimum rate."""

from __future__ import annotations

import pytest

from recstream.bridge.http.rate_limit import DEADLINES_S, MIN_BYTES_S, Pace


def seconds_until_ended(stage: str, bytes_s: float, size: int) -> int | None:
    """Return the second at which a transfer is ended; None if all of it gets through."""
    pace, request = Pace(), object()
    for second in range(100_000):
        moved = int(second * bytes_s)
        if moved >= size:
            return None
        if pace.is_too_slow((stage, request), moved, float(second)):
            return second
    raise AssertionError("never ended")


@pytest.mark.parametrize("stage", ["body", "answer"])
def test_a_large_transfer_takes_the_time_it_needs(stage):
    assert seconds_until_ended(stage, MIN_BYTES_S, 500 * MIN_BYTES_S) is None


@pytest.mark.parametrize("bytes_s", [0, 1, 1_000])
@pytest.mark.parametrize("stage", ["body", "answer"])
def test_a_transfer_that_drips_ends_near_its_deadline(stage, bytes_s):
    ended = seconds_until_ended(stage, bytes_s, 1 << 30)
    assert ended is not None
    assert DEADLINES_S[stage] < ended <= 1.05 * DEADLINES_S[stage] + 1


def test_what_was_fast_before_earns_no_time_for_a_stall():
    pace, request = Pace(), object()
    assert not pace.is_too_slow(("body", request), 0, 0.0)
    assert not pace.is_too_slow(("body", request), 1 << 30, 1.0)
    assert not pace.is_too_slow(("body", request), 1 << 30, 30.0)
    assert pace.is_too_slow(("body", request), 1 << 30, 31.5)


def test_each_request_of_a_connection_has_its_own_time():
    pace = Pace()
    for second in range(0, 100, 20):
        assert not pace.is_too_slow(("head", object()), 0, float(second))
        assert not pace.is_too_slow(None, 0, second + 1.0)
