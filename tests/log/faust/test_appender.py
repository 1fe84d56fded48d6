"""The thread that appends to the embedded log: when it fails, nobody waits for ever."""

import contextlib

import pytest

from recstream.errors import LogFenced, LogUnavailable
from recstream.log.embedded import EmbeddedLog
from recstream.log.faust.appender import Appender
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import TopicSpec


@pytest.fixture
def appender(tmp_path):
    with contextlib.closing(EmbeddedLog(tmp_path / "log.db", sync="off")) as log:
        log.create_topics([TopicSpec("t", 1)])
        made = Appender(log, group="g")
        yield made
        made.stop()


def test_who_waits_gets_an_error_when_the_thread_fails(appender, monkeypatch):
    def fail():
        raise KeyError("nobody listed this error")

    monkeypatch.setattr(appender, "_gather", fail)
    waiting = appender.call([NewRecord("t", b"k", b"v")])

    with pytest.raises(LogUnavailable, match="nobody listed this error"):
        waiting.result(10)
    with pytest.raises(LogUnavailable, match="has stopped"):
        appender.call([NewRecord("t", b"k", b"v")])


def test_offsets_are_refused_until_the_member_is_known(appender):
    work = [NewRecord("t", b"k", b"v")], {TopicPartition("t", 0): 1}

    (refused,) = appender.append_all([work])

    assert isinstance(refused, LogFenced)
    assert (appender.event_log.high_watermark("t", 0), appender.event_log.committed("g")) == (0, {})


def test_who_has_been_taken_gets_an_error_too(appender, monkeypatch):
    def fail(works):
        raise KeyError(len(works))

    monkeypatch.setattr(appender, "_carry_out", fail)

    with pytest.raises(LogUnavailable, match="has failed"):
        appender.call([NewRecord("t", b"k", b"v")]).result(10)
