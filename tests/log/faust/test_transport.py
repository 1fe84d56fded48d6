"""Faust apps on the embedded log, end to end."""

from pathlib import Path
from typing import Any, cast

import pytest
from faust.types import StreamT

from recstream.errors import PartitionCountMismatch
from recstream.log.embedded import GROUPS, EmbeddedLog, maintain
from recstream.log.faust.transport import Transport
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import TopicSpec
from tests.log.faust.faust_apps import (
    APP_ID,
    CHANGELOG,
    PARTITIONS,
    attach_ordinary,
    new_app,
    running,
)
from tests.log.faust.transport_world import RAW, changelog_state, committed, put
from tests.waiting import until


async def test_an_agent_sees_each_record_of_its_topic_in_order(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    seen: list[tuple[int, int, bytes | None, dict[str, bytes]]] = []
    topic = app.topic("events", **RAW)

    @app.agent(topic)
    async def watch(stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            message = event.message
            seen.append((message.partition, message.offset, event.value, dict(event.headers)))

    log.append([NewRecord("events", None, b"%d" % n, n % 2) for n in range(300)])
    async with running(app):
        await until(lambda: len(seen) == 300)
        log.append([NewRecord("events", None, b"last", 3, headers=(("h", b"x"),))])
        await until(lambda: len(seen) == 301)

    assert seen[-1] == (3, 0, b"last", {"h": b"x"})
    for partition in (0, 1):
        mine = [(offset, value) for p, offset, value, _ in seen if p == partition]
        assert mine == [(n, b"%d" % (2 * n + partition)) for n in range(150)]
    assert committed(log) == 301


async def test_what_an_agent_sends_is_in_the_log_with_its_headers(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    out = app.topic("out", **RAW)

    @app.agent(app.topic("events", key_type=bytes, key_serializer="raw", **RAW))
    async def copy(stream: StreamT[bytes]) -> None:
        async for key, value in stream.items():
            await out.send(key=key, value=value, headers={"seen": b"yes"}, timestamp=12.5)

    async with running(app):
        log.append([NewRecord("events", b"k", b"v", 1)])
        partition = log.append([NewRecord("out", b"k", b"probe")])[0].partition
        await until(lambda: log.high_watermark("out", partition) == 2)

    record = log.read("out", partition, 1)[0]
    assert (record.key, record.value) == (b"k", b"v")
    assert (record.timestamp_ms, record.headers) == (12_500, (("seen", b"yes"),))


async def test_appends_to_other_topics_do_not_wake_a_worker(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    counts = attach_ordinary(app)
    put(log, 10)

    async with running(app):
        await until(lambda: sum(counts.values()) == 10)
        records, groups = cast(Any, app.consumer)._waiters
        await until(lambda: records._watches.keys() == {"events"})
        assert groups._watches.keys() == {GROUPS}

        records.clear()
        groups.clear()
        log.append([NewRecord("out", None, b"x"), NewRecord(CHANGELOG, b'"k"', b"1")])
        assert not records.wait(0)
        put(log, 1)
        assert records.wait(0)
        assert not groups.wait(0)
        await until(lambda: sum(counts.values()) == 11)


async def test_a_table_comes_back_from_its_changelog(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    first = new_app(url, tmp_path)
    counts = attach_ordinary(first)
    put(log, 200)
    async with running(first):
        await until(lambda: sum(counts.values()) == 200)

    again = new_app(url, tmp_path)
    counts = attach_ordinary(again)
    async with running(again):
        assert dict(counts.items()) == {f"k{n}": 20 for n in range(10)}
        put(log, 100)
        await until(lambda: sum(counts.values()) == 300)

    assert changelog_state(log) == {f"k{n}": 30 for n in range(10)}


async def test_a_table_comes_back_from_a_compacted_changelog(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    first = new_app(url, tmp_path)
    counts = attach_ordinary(first)
    put(log, 200)
    async with running(first):
        await until(lambda: sum(counts.values()) == 200)
    assert maintain(log, min_dirty_ratio=0.0).compacted > 100

    again = new_app(url, tmp_path)
    counts = attach_ordinary(again)
    async with running(again):
        assert dict(counts.items()) == {f"k{n}": 20 for n in range(10)}


async def test_an_agent_of_a_compacted_topic_reads_past_gaps_and_commits_after_them(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    log.create_topics([TopicSpec("items", 1, compacted=True)])
    log.append([NewRecord("items", b"a" if n % 3 else b"b%d" % n, b"%d" % n) for n in range(90)])
    maintain(log, min_dirty_ratio=0.0)
    app = new_app(url, tmp_path)
    seen: list[int] = []

    @app.agent(app.topic("items", **RAW))
    async def watch(stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            seen.append(event.message.offset)  # noqa: PERF401 - an endless stream

    async with running(app):
        await until(lambda: 89 in seen)

    assert seen == [*range(0, 90, 3), 89]
    assert log.committed(APP_ID) == {TopicPartition("items", 0): 90}


async def test_a_topic_with_another_partition_count_stops_the_app_at_its_start(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    log.create_topics([TopicSpec(CHANGELOG, PARTITIONS + 1, compacted=True)])
    app = new_app(url, tmp_path)
    attach_ordinary(app)

    with pytest.raises(PartitionCountMismatch, match=CHANGELOG):
        cast(Transport, app.transport).connection.create_topic(CHANGELOG, PARTITIONS)
    cast(Transport, app.transport).connection.close()
