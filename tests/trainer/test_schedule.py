"""When a training is due."""

import pytest

from recstream.settings import Settings
from recstream.trainer.schedule import (
    EVENTS_MAX_WAIT_S,
    EVENTS_QUIET_S,
    PRODUCTS_MAX_WAIT_S,
    PRODUCTS_QUIET_S,
    Schedule,
)

SETTINGS = Settings(train_min_events=100, train_every_events=1000, train_every_s=600.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def schedule(clock):
    schedule = Schedule(SETTINGS, clock)
    clock.now += EVENTS_QUIET_S
    return schedule


def test_too_few_events_are_not_worth_a_training(schedule, clock):
    clock.now += 10_000.0

    assert not schedule.is_due(99)
    assert schedule.is_due(100)


def test_early_on_a_training_is_due_when_events_have_doubled(schedule, clock):
    schedule.note_training(150)
    clock.now += EVENTS_QUIET_S

    assert not schedule.is_due(299)
    assert schedule.is_due(300)


def test_later_a_training_is_due_every_so_many_events(schedule, clock):
    schedule.note_training(50_000)
    clock.now += EVENTS_QUIET_S

    assert not schedule.is_due(50_999)
    assert schedule.is_due(51_000)


def test_a_training_is_due_every_so_many_seconds_if_anything_is_new(schedule, clock):
    schedule.note_training(5000)
    clock.now += 600.0

    assert not schedule.is_due(5000)
    assert schedule.is_due(5001)


def test_a_training_waits_for_a_pause_but_not_for_ever(schedule, clock):
    schedule.note_activity()
    assert not schedule.is_due(200)
    clock.now += EVENTS_MAX_WAIT_S - 0.1
    schedule.note_activity()
    assert not schedule.is_due(300)

    clock.now += 0.2

    assert schedule.is_due(300)


def test_products_alone_are_trained_on_when_they_have_doubled_and_no_events_follow(schedule, clock):
    schedule.note_training(0, 60)
    schedule.note_activity()
    clock.now += PRODUCTS_QUIET_S

    assert not schedule.is_due(0, 119)
    assert schedule.is_due(0, 120)


def test_products_wait_longer_than_events_for_what_is_still_coming(schedule, clock):
    for _ in range(10):
        schedule.note_activity()
        clock.now += PRODUCTS_QUIET_S - 0.1
        assert not schedule.is_due(99, 480)

    schedule.note_activity()
    assert not schedule.is_due(100, 480)
    clock.now += EVENTS_QUIET_S

    assert schedule.is_due(100, 480)


def test_products_that_never_pause_are_trained_on_in_the_end(schedule, clock):
    schedule.note_activity()
    assert not schedule.is_due(0, 480)
    clock.now += PRODUCTS_MAX_WAIT_S
    schedule.note_activity()

    assert schedule.is_due(0, 480)
