"""Who wakes at an append, and who sleeps on."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recstream.errors import LogUnavailable
from recstream.log.embedded import EmbeddedLog
from recstream.log.embedded.groups import Membership
from recstream.log.embedded.notify import GROUPS, notification_path
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import TopicSpec

DEADLINE_S = 60.0
LONG_A, LONG_B = "a" + "x" * 240, "b" + "x" * 240


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def reader(path: Path) -> Iterator[EmbeddedLog]:
    log = EmbeddedLog(path, sync="normal")
    log.create_topics([TopicSpec(name, 2) for name in ("a", "b", "a/../ä", LONG_A, LONG_B)])
    yield log
    log.close()


@pytest.fixture
def writer(reader: EmbeddedLog, path: Path) -> Iterator[EmbeddedLog]:
    """The same log, opened again: what another process would hold."""
    del reader
    log = EmbeddedLog(path, sync="normal")
    yield log
    log.close()


def put(log: EmbeddedLog, *topics: str) -> None:
    log.append([NewRecord(topic, None, b"v", 0) for topic in topics])


def test_an_append_wakes_only_readers_of_its_topic(
    reader: EmbeddedLog, writer: EmbeddedLog
) -> None:
    waiter = reader.waiter()
    waiter.listen({"a", "a/../ä"})
    waiter.clear()

    put(writer, "b")
    writer.append([], group="g", offsets={TopicPartition("a", 0): 1})
    Membership(writer, "g", "m").join(b"")
    assert not waiter.wait(0)

    for topics in (("a",), ("a/../ä",), ("b", "a")):
        put(writer, *topics)
        assert waiter.wait(0)
        waiter.clear()
        assert not waiter.wait(0)
    waiter.close()


def test_a_change_of_a_group_notifies_listeners_of_groups(
    reader: EmbeddedLog, writer: EmbeddedLog
) -> None:
    waiter = reader.waiter()
    waiter.listen({GROUPS})
    waiter.clear()

    put(writer, "a")
    assert not waiter.wait(0)

    Membership(writer, "g", "m").join(b"")
    assert waiter.wait(0)
    waiter.close()


def test_a_cancelled_listener_is_not_notified(reader: EmbeddedLog, writer: EmbeddedLog) -> None:
    waiter = reader.waiter()
    waiter.listen({"a", LONG_A, LONG_B})
    waiter.listen({"b", LONG_B})
    waiter.clear()

    put(writer, "a")
    assert not waiter.wait(0)
    for topic in ("b", LONG_B):
        put(writer, topic)
        assert waiter.wait(0)
        waiter.clear()
    waiter.close()


def test_a_tail_receives_topics_it_was_assigned_later(
    reader: EmbeddedLog, writer: EmbeddedLog
) -> None:
    tail = reader.tail({TopicPartition("a", 0): 0})
    tail.seek(TopicPartition("b", 0), 0)
    tail.waiter.clear()

    put(writer, "b")

    assert tail.waiter.wait(0)
    assert [record.topic for record in tail.poll(DEADLINE_S)] == ["b"]
    tail.close()


def test_bells_that_were_deleted_come_back(reader: EmbeddedLog, path: Path) -> None:
    put(reader, "a")
    reader.close()
    for topic in (GROUPS, "a"):
        notification_path(path, topic).unlink()

    again = EmbeddedLog(path, sync="normal")
    tail = again.tail({TopicPartition("a", 0): 1})
    tail.waiter.clear()
    put(again, "a")

    assert tail.waiter.wait(0)
    assert [record.offset for record in tail.poll(DEADLINE_S)] == [1]
    tail.close()
    again.close()


def test_nothing_is_appended_to_a_topic_whose_readers_can_not_be_notified(
    reader: EmbeddedLog, path: Path
) -> None:
    notification_path(path, "b").mkdir()

    with pytest.raises(LogUnavailable, match="make its folder writable"):
        put(reader, "a", "b")
    put(reader, "a")

    assert (reader.high_watermark("a", 0), reader.high_watermark("b", 0)) == (1, 0)


@pytest.mark.parametrize("missing", ["_inotify", "inotify_add_watch"])
def test_a_tail_works_without_inotify(
    reader: EmbeddedLog, writer: EmbeddedLog, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "_inotify":
        monkeypatch.setattr("recstream.log.embedded.notify._inotify", lambda: None)
    else:
        monkeypatch.setattr("recstream.log.embedded.notify._IN_MODIFY", 0)  # the kernel refuses it
    tail = reader.tail({TopicPartition("a", 0): 0})
    tail.waiter.clear()
    put(writer, "b")
    assert not tail.waiter.wait(0)
    found: list[bytes | None] = []
    thread = threading.Thread(target=lambda: found.extend(r.value for r in tail.poll(DEADLINE_S)))
    thread.start()

    put(writer, "a")
    thread.join()

    assert found == [b"v"]
    tail.close()
