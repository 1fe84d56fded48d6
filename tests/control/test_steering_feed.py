"""The newest steering document, read on demand; the log may be away."""

import threading

import pytest

from recstream.control import SteeringFeed, submit
from recstream.control.steering_feed import LOOK_EVERY_S
from recstream.core.records import SteeringSet
from recstream.core.steering import Steering
from recstream.errors import LogUnavailable
from recstream.log import topic_specs
from recstream.log.embedded import EmbeddedLog
from tests.waiting import wait_until


class Log(EmbeddedLog):
    """A log that can be away: then a read takes until somebody says so, and fails."""

    is_away = False

    def __init__(self, path):
        super().__init__(path, sync="normal")
        self.goes_on = threading.Event()
        self.is_asked = threading.Event()

    def read(self, *place):
        if self.is_away:
            self.is_asked.set()
            assert self.goes_on.wait(30)
            raise LogUnavailable("away")
        return super().read(*place)


@pytest.fixture
def log(tmp_path):
    found = Log(tmp_path / "log.db")
    found.create_topics(topic_specs(1))
    submit(found, SteeringSet(id="first", steering=Steering(), requested_ts=1))
    yield found
    found.close()


def test_while_the_log_is_away_nobody_waits_for_it_again(log):
    now_s = [0.0]
    feed = SteeringFeed(log, now_s=lambda: now_s[0])
    assert feed.newest().id == "first"
    submit(log, SteeringSet(id="second", steering=Steering(), requested_ts=2))
    log.is_away = True
    log.goes_on.set()
    now_s[0] += LOOK_EVERY_S
    assert feed.newest().id == "first"  # this one has waited

    log.goes_on.clear()
    log.is_asked.clear()
    for _ in range(3):
        now_s[0] += LOOK_EVERY_S
        assert feed.newest().id == "first"  # would not return before the log answers
    assert log.is_asked.wait(30)

    log.is_away = False
    log.goes_on.set()

    def is_read():
        now_s[0] += LOOK_EVERY_S
        return feed.newest().id == "second"

    wait_until(is_read, "the document, once the log is back")
