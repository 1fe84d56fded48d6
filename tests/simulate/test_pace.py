"""Synthetic events are sent at their rate, in batches of those that are due."""

from datetime import UTC, datetime
from itertools import count

import pytest

from recstream.simulate import DemoTraffic
from recstream.simulate.pace import MOST_EVENTS, EventPace

APPEND_S = 0.004


class Clock:
    """A clock that only a test moves; also an event that is set when the time is over."""

    def __init__(self, until_s: float = 1.0) -> None:
        self.now_s = 100.0
        self._until_s = self.now_s + until_s

    def __call__(self) -> float:
        return self.now_s

    def wait(self, timeout_s: float) -> bool:
        self.now_s += timeout_s
        return self.now_s >= self._until_s


class SlowLog:
    """A log whose appends take `APPEND_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.appends: list[int] = []

    def partitions(self, _topic: str) -> int:
        return 1

    def high_watermark(self, _topic: str, _partition: int) -> int:
        return 0

    def append(self, records: list[object]) -> None:
        self.appends.append(len(records))
        self._clock.now_s += APPEND_S


@pytest.mark.parametrize("rate", [10.0, 1_000.0])
def test_traffic_reaches_its_rate_though_each_append_takes_longer_than_an_interval(
    rate: float,
) -> None:
    clock = Clock()
    event_log = SlowLog(clock)
    ids = count()
    traffic = DemoTraffic(
        event_log,
        seed=0,
        rate=rate,
        now=lambda: datetime(2026, 11, 22, tzinfo=UTC),
        new_id=lambda: f"e{next(ids)}",
        clock=clock,
    )
    traffic._stopping = clock

    traffic._run()

    assert traffic.n_sent == sum(event_log.appends)
    assert 0.97 * rate <= traffic.n_sent <= rate + 1
    assert len(event_log.appends) <= 51  # a tick is 20 ms


def test_a_pause_is_made_up_by_a_second_at_most_and_in_whole_batches() -> None:
    clock = Clock()
    pace = EventPace(2_000.0, clock)
    assert pace.take() == 1

    clock.now_s += 10.0

    assert pace.wait_s() == 0.0
    taken = []
    while pace.wait_s() == 0.0:
        taken.append(pace.take())
    assert taken[:3] == [MOST_EVENTS] * 3
    assert 2_000 <= sum(taken) <= 2_001


@pytest.mark.parametrize("rate", [5e-324, 1e-12])
def test_the_rarest_events_are_waited_for_as_long_as_a_thread_can(rate: float) -> None:
    pace = EventPace(rate, Clock())

    assert pace.take() == 1
    assert 1e9 < pace.wait_s() < 1e10
