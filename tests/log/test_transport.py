"""Faust apps on the embedded log, end to end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import faust
import pytest
from faust.types import TP, StreamT
from faust_apps import (
    APP_ID,
    CHANGELOG,
    PARTITIONS,
    attach_batches,
    attach_ordinary,
    new_app,
    running,
)

from recstream.errors import LogFenced, PartitionCountMismatch
from recstream.log.embedded import EmbeddedLog, maintain, open_embedded
from recstream.log.embedded.groups import Membership
from recstream.log.embedded.wakeup import GROUPS
from recstream.log.port import NewRecord, Record, TopicPartition
from recstream.log.rebalance import LOOK_S
from recstream.log.topics import TopicSpec
from recstream.log.transport import BatchTopic, Consumer, Transport

DEADLINE_S = 60.0
RAW: Any = {"value_type": bytes, "value_serializer": "raw"}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"embedded://{tmp_path}/log.db?sync=normal"


@pytest.fixture
def log(url: str) -> Iterator[EmbeddedLog]:
    log = open_embedded(url)
    log.create_topics([TopicSpec("events", PARTITIONS), TopicSpec("out", PARTITIONS)])
    yield log
    log.close()


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not claim():  # noqa: ASYNC110 - any condition will do
            await asyncio.sleep(0.005)


def put(log: EmbeddedLog, count: int, *, n_keys: int = 10) -> None:
    log.append([NewRecord("events", b"k%d" % (n % n_keys), b"%d" % n) for n in range(count)])


def changelog_state(log: EmbeddedLog) -> dict[str, int]:
    """Return what a table rebuilt from the changelog would hold."""
    state: dict[str, int] = {}
    for partition in range(PARTITIONS):
        offset = 0
        while found := log.read(CHANGELOG, partition, offset):
            for record in found:
                assert record.key is not None
                assert record.value is not None
                state[json.loads(record.key)] = int(record.value)
            offset = found[-1].offset + 1
    return state


def committed(log: EmbeddedLog) -> int:
    return sum(log.committed(APP_ID).values())


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


async def test_a_worker_sleeps_through_appends_to_what_it_does_not_read(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    counts = attach_ordinary(app)
    put(log, 10)

    async with running(app):
        await until(lambda: sum(counts.values()) == 10)
        ear = cast(Any, app.consumer)._wakeup
        await until(lambda: ear._watched.keys() == {GROUPS, "events"})

        ear.clear()
        log.append([NewRecord("out", None, b"x"), NewRecord(CHANGELOG, b'"k"', b"1")])
        assert not ear.wait(0)
        put(log, 1)
        assert ear.wait(0)
        await until(lambda: sum(counts.values()) == 11)


async def test_a_commit_makes_room_for_the_next_batch_without_anything_being_appended(
    log: EmbeddedLog, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.log.faust_consumer.MAX_BATCH_RECORDS", 1)
    monkeypatch.setattr("recstream.log.faust_consumer._LOOK_AGAIN_S", 2 * DEADLINE_S)
    monkeypatch.setattr(Consumer, "poll_timeout_s", 2 * DEADLINE_S)
    app = new_app(url, tmp_path, store="rocksdb://?driver=rocksdict")
    attach_batches(app)
    log.append([NewRecord("events", b"k", b"%d" % n, 0) for n in range(200)])

    async with running(app):
        await until(lambda: committed(log) == 200)

    assert changelog_state(log) == {"k": 200}


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


async def test_an_agent_of_a_compacted_topic_goes_on_over_the_gaps_and_commits_behind_them(
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
        cast(Transport, app.transport).create_topic(CHANGELOG, PARTITIONS)
    cast(Transport, app.transport).close()


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


async def test_what_faust_threw_away_comes_again_though_nothing_follows_it(
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


async def test_a_worker_takes_partitions_over_before_it_gives_them_up_again(
    log: EmbeddedLog, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = new_app(url, tmp_path)
    counts = attach_ordinary(app)
    taking_over, goes_on, gives_up_again = asyncio.Event(), asyncio.Event(), asyncio.Event()
    order: list[str] = []
    begin = app.on_rebalance_start

    def on_rebalance_start() -> None:
        order.append("gives up")
        if len(order) > 1:
            gives_up_again.set()
        begin()

    monkeypatch.setattr(app, "on_rebalance_start", on_rebalance_start)

    @counts.on_recover
    async def take_over() -> None:
        taking_over.set()
        await goes_on.wait()
        order.append("has taken over")

    newcomer = Membership(log, APP_ID, "newcomer")
    starting = asyncio.create_task(app.start())  # comes to an end with the first takeover
    try:
        await until(taking_over.is_set)
        newcomer.join(b"")
        with suppress(TimeoutError):
            await asyncio.wait_for(gives_up_again.wait(), 2 * LOOK_S)
        goes_on.set()
        await starting
        await until(gives_up_again.is_set)
        newcomer.leave()
        put(log, 100)
        await until(lambda: committed(log) == 100)
    finally:
        goes_on.set()
        await app.stop()

    assert order[:3] == ["gives up", "has taken over", "gives up"]


async def test_a_worker_that_lost_its_partitions_can_not_write_effects_for_them(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    attach_ordinary(app)

    async with running(app):
        consumer = cast(Consumer, app.consumer)
        consumer.transport.appender.member = "somebody-else"
        with pytest.raises(LogFenced, match="belongs to"):
            await asyncio.wrap_future(
                consumer.transport.appender.call(
                    [NewRecord("out", b"k", b"v")], {TopicPartition("events", 0): 5}
                )
            )
        assert consumer._rebalancer is not None
        consumer.transport.appender.member = consumer._rebalancer.membership.member_id

    assert sum(log.high_watermark("out", p) for p in range(PARTITIONS)) == 0


class Worker:
    """A worker in a process of its own. What it says goes into a file: a full pipe would stop it."""

    def __init__(self, url: str, datadir: Path, kind: str) -> None:
        self._said = datadir.with_suffix(".err")
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("faust_apps.py"), url, datadir, kind],
                stdout=subprocess.DEVNULL,
                stderr=said,
            )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=DEADLINE_S)
        assert self.process.returncode == 0, self._said.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=DEADLINE_S)


@pytest.fixture
def start_worker(url: str, tmp_path: Path) -> Iterator[Callable[[str, str], Worker]]:
    """Start workers by name and kind; none outlives its test."""
    workers: list[Worker] = []

    def start(name: str, kind: str) -> Worker:
        workers.append(Worker(url, tmp_path / name, kind))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


def owners(log: EmbeddedLog) -> Counter[str]:
    with log.storage.read() as connection:
        return Counter(
            member
            for (member,) in connection.execute("SELECT member FROM owners WHERE topic='events'")
        )


def owning_processes(log: EmbeddedLog) -> set[int]:
    with log.storage.read() as connection:
        return {
            int(process.split()[1])
            for (process,) in connection.execute(
                "SELECT process FROM members JOIN owners ON owners.member = members.id"
            )
        }


def wait_until(claim: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not claim():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.01)


@pytest.mark.slow
def test_when_a_worker_is_killed_the_other_one_takes_over_and_every_effect_is_there_once(
    log: EmbeddedLog, start_worker: Callable[[str, str], Worker]
) -> None:
    workers = [start_worker("w0", "batches")]
    wait_until(lambda: sum(owners(log).values()) == PARTITIONS)
    put(log, 2_000)
    workers.append(start_worker("w1", "batches"))
    wait_until(lambda: sorted(owners(log).values()) == [2, 2])

    total = 2_000
    for round_ in range(4):
        for _ in range(10):
            put(log, 500)
            total += 500
        workers.pop(0).kill()
        workers.append(start_worker(f"again{round_}", "batches"))
        wait_until(lambda: sorted(owners(log).values()) == [2, 2])
    wait_until(lambda: committed(log) == total)
    wait_until(lambda: owning_processes(log) == {worker.process.pid for worker in workers})
    for worker in workers:
        worker.stop()

    state = changelog_state(log)
    assert sum(state.values()) == total
    assert set(state.values()) == {total // 10}


@pytest.mark.slow
def test_a_worker_that_stops_hands_its_partitions_over_at_once(
    log: EmbeddedLog, start_worker: Callable[[str, str], Worker]
) -> None:
    first = start_worker("w0", "ordinary")
    second = start_worker("w1", "ordinary")
    wait_until(lambda: sorted(owners(log).values()) == [2, 2])
    put(log, 500)
    wait_until(lambda: committed(log) == 500)

    first.stop()
    wait_until(lambda: list(owners(log).values()) == [PARTITIONS])
    put(log, 500)
    wait_until(lambda: committed(log) == 1_000)
    second.stop()

    assert changelog_state(log) == {f"k{n}": 100 for n in range(10)}
