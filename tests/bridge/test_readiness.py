"""Readiness: a worker that does not beat or does not fold, a part that ended, a log that is away."""

from __future__ import annotations

import pytest

from recstream.bridge.readiness import HEARTBEAT_LATE_S, STALLED_S, Readiness
from recstream.errors import LogUnavailable
from recstream.log.port import TopicPartition
from recstream.log.topics import INTERACTIONS

TP = TopicPartition(INTERACTIONS, 0)


class Place:
    """A log, a worker's heartbeats and a clock, all set by hand."""

    def __init__(self, folder):
        self.now_s, self.end, self.done, self.silent_s = 100.0, 0, 0, 0.0
        self.is_away = False
        self.works = True
        self.readiness = Readiness(
            self,
            self,
            group="g",
            folder=folder,
            parts={"the log is not followed": lambda: self.works},
            now_s=lambda: self.now_s,
        )

    def committed(self, group):
        assert group == "g"
        if self.is_away:
            raise LogUnavailable("away")
        return {TP: self.done}

    def partitions(self, topic):  # noqa: ARG002
        return 1

    def earliest(self, topic, partition):  # noqa: ARG002
        return 0

    def high_watermark(self, topic, partition):  # noqa: ARG002
        return self.end

    def worker_silent_s(self):
        return self.silent_s

    def roles(self, after_s=2.0):
        self.now_s += after_s
        return self.readiness.roles()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_worker_that_beats_and_has_nothing_to_do_is_ready(place):
    roles = place.roles(1000.0)

    assert (roles["worker"].is_ready, roles["worker"].lag, roles["bridge"].is_ready) == (
        True,
        0,
        True,
    )


@pytest.mark.parametrize("silent_s", [None, HEARTBEAT_LATE_S + 1])
def test_a_worker_without_a_heartbeat_is_not_ready(place, silent_s):
    place.silent_s = silent_s

    worker = place.roles()["worker"]

    assert not worker.is_ready
    assert "heartbeat" in worker.waits_for[0]


def test_a_worker_that_beats_but_does_not_fold_is_not_ready(place):
    place.roles()
    place.end = 7
    assert place.roles()["worker"].is_ready

    worker = place.roles(STALLED_S + 1)["worker"]

    assert (worker.is_ready, worker.lag) == (False, 7)
    assert "7 events wait" in worker.waits_for[0]


def test_a_worker_that_is_behind_but_folds_is_ready(place):
    place.end = 1_000_000
    for _ in range(10):
        place.done += 1000
        worker = place.roles(STALLED_S - 1)["worker"]

    assert (worker.is_ready, worker.lag) == (True, 990_000)


def test_a_log_that_is_away_is_named(place):
    place.is_away = True

    assert place.roles()["bridge"].waits_for == ("log",)


def test_a_part_of_the_bridge_that_ended_is_named(place):
    place.works = False

    assert place.roles()["bridge"].waits_for == ("the log is not followed",)


def test_an_answer_is_given_again_for_a_second(place):
    place.roles()
    place.silent_s = None

    assert place.roles(0.5)["worker"].is_ready
    assert not place.roles(1.0)["worker"].is_ready
