"""Agents that are handed all records of a fetch at once, and append what follows with their offset."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import faust
import pytest
from faust.types import TP, StreamT

from recstream.errors import LogFenced
from recstream.log.embedded import EmbeddedLog
from recstream.log.faust import BatchTopic
from recstream.log.faust.consumer import Consumer
from recstream.log.port import NewRecord, Record, TopicPartition
from tests.log.faust.faust_apps import APP_ID, PARTITIONS, attach_batches, new_app, running
from tests.log.faust.transport_world import changelog_state, committed, put
from tests.waiting import DEADLINE_S, until


async def test_a_batch_topic_gives_all_records_of_a_fetch_as_one_message(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    batches: list[list[Record]] = []

    @app.agent(BatchTopic.of(app, "events", partitions=PARTITIONS))
    async def watch(stream: StreamT[list[Record]]) -> None:
        async for batch in stream:
            batches.append(batch)  # noqa: PERF401 - an endless stream

    log.append([NewRecord("events", b"k", b"%d" % n, 1) for n in range(2_500)])
    async with running(app):
        await until(lambda: sum(map(len, batches)) == 2_500)
        log.append([NewRecord("events", b"k", b"late", 2)])
        await until(lambda: sum(map(len, batches)) == 2_501)

    assert [len(batch) for batch in batches] == [1_000, 1_000, 500, 1]
    assert [r.offset for batch in batches[:3] for r in batch] == list(range(2_500))
    assert log.committed(APP_ID) == {
        TopicPartition("events", 1): 2_500,
        TopicPartition("events", 2): 1,
    }


@pytest.mark.slow
async def test_a_batch_and_its_effects_are_one_transaction_that_faust_does_not_undo(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path, store="rocksdb://?driver=rocksdict")
    counts = attach_batches(app)
    put(log, 5_000)

    async with running(app):
        await until(lambda: committed(log) == 5_000)
        await app.consumer.commit()
        assert committed(log) == 5_000
        await until(lambda: sum(counts.values()) == 5_000)

    assert changelog_state(log) == {f"k{n}": 500 for n in range(10)}


async def test_a_slow_agent_is_handed_a_bounded_number_of_batches(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    goes_on = asyncio.Event()
    n_seen = 0

    @app.agent(BatchTopic.of(app, "events", partitions=PARTITIONS))
    async def slow(stream: StreamT[list[Record]]) -> None:
        nonlocal n_seen
        async for batch in stream:
            n_seen += len(batch)
            await goes_on.wait()

    log.append([NewRecord("events", b"k", b"", 0) for _ in range(6_000)])
    async with running(app):
        tp = TP("events", 0)
        consumer = cast(Consumer, app.consumer)
        await until(lambda: len(consumer._delivered[tp]) == 2)
        assert await consumer.position(tp) == 2_000
        goes_on.set()
        await until(lambda: n_seen == 6_000)


@pytest.mark.slow
async def test_a_commit_makes_room_for_the_next_batch_without_anything_being_appended(
    log: EmbeddedLog, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.log.faust.consumer.MAX_BATCH_RECORDS", 1)
    monkeypatch.setattr("recstream.log.faust.consumer._LOOK_AGAIN_S", 2 * DEADLINE_S)
    monkeypatch.setattr(Consumer, "poll_timeout_s", 2 * DEADLINE_S)
    app = new_app(url, tmp_path, store="rocksdb://?driver=rocksdict")
    attach_batches(app)
    log.append([NewRecord("events", b"k", b"%d" % n, 0) for n in range(200)])

    async with running(app):
        await until(lambda: committed(log) == 200)

    assert changelog_state(log) == {"k": 200}


class Held:
    """An agent that works on its first batch until it is let go, and tells what had effects."""

    def __init__(self, app: faust.App) -> None:
        self.goes_on = asyncio.Event()
        self.seen: list[int] = []
        self.refused = 0

        @app.agent(BatchTopic.of(app, "events", partitions=PARTITIONS))
        async def effects(stream: StreamT[list[Record]]) -> None:
            async for batch in stream:
                await self.goes_on.wait()
                try:
                    await cast(Consumer, app.consumer).append(
                        [], {TopicPartition("events", 0): batch[-1].offset + 1}
                    )
                except LogFenced:
                    self.refused += 1
                    continue
                self.seen.extend(record.offset for record in batch)


@asynccontextmanager
async def holding(
    log: EmbeddedLog, url: str, tmp_path: Path, count: int
) -> AsyncIterator[tuple[faust.App, Held]]:
    """Run an agent that works on the first of these records while the second batch waits."""
    app = new_app(url, tmp_path)
    held = Held(app)
    log.append([NewRecord("events", b"k", b"", 0) for _ in range(count)])
    async with running(app):
        delivered = cast(Consumer, app.consumer)._delivered
        await until(lambda: len(delivered[TP("events", 0)]) == 2)
        yield app, held
        held.goes_on.set()
        await until(lambda: committed(log) == count)
    assert held.seen == list(range(count))


async def test_records_that_faust_dropped_are_read_again_without_a_later_record(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    async with holding(log, url, tmp_path, 2_000) as (app, _):
        app.flow_control.resume()  # empties the queues, as it does at a rebalance


async def test_work_on_records_that_are_read_again_has_no_effects(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    async with holding(log, url, tmp_path, 5_000) as (app, held):
        consumer = cast(Consumer, app.consumer)
        n_seeks = consumer._n_seeks
        app.flow_control.resume()
        await until(lambda: consumer._n_seeks > n_seeks)

    assert held.refused == 1


@pytest.mark.slow
async def test_effects_that_no_record_asked_for_may_commit_what_is_committed_already(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    attach_batches(app)
    log.append([NewRecord("events", b"k", b"", 0) for _ in range(10)])
    async with running(app):
        await until(lambda: committed(log) == 10)
        await cast(Consumer, app.consumer).append(
            [NewRecord("out", b"k", b"v", 0)], {TopicPartition("events", 0): 10}
        )

    assert log.high_watermark("out", 0) == 1
