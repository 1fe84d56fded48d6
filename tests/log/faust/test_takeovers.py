"""Partitions go from one worker to another, whose effects are all there, once."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import cast

import pytest

from recstream.errors import LogFenced, LogUnavailable
from recstream.log.embedded import EmbeddedLog, Membership
from recstream.log.faust.consumer import Consumer
from recstream.log.faust.rebalance import LOOK_S
from recstream.log.port import NewRecord, TopicPartition
from tests.log.faust.faust_apps import APP_ID, PARTITIONS, attach_ordinary, new_app, running
from tests.log.faust.transport_world import changelog_state, committed, put
from tests.waiting import DEADLINE_S, until, wait_until


@pytest.mark.slow
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
        consumer.connection.appender.member = "somebody-else"
        with pytest.raises(LogFenced, match="belongs to"):
            await asyncio.wrap_future(
                consumer.connection.appender.call(
                    [NewRecord("out", b"k", b"v")], {TopicPartition("events", 0): 5}
                )
            )
        assert consumer._rebalancer is not None
        consumer.connection.appender.member = consumer._rebalancer.membership.member_id

    assert sum(log.high_watermark("out", p) for p in range(PARTITIONS)) == 0


@pytest.mark.slow
async def test_a_worker_that_has_stopped_can_not_write_effects(
    log: EmbeddedLog, url: str, tmp_path: Path
) -> None:
    app = new_app(url, tmp_path)
    attach_ordinary(app)
    put(log, 20)
    async with running(app):
        await until(lambda: committed(log) == 20)
        consumer = cast(Consumer, app.consumer)
    before = log.committed(APP_ID)

    with pytest.raises(LogUnavailable, match="has stopped"):
        consumer.append_all([([NewRecord("out", b"k", b"v")], {TopicPartition("events", 0): 0})])

    assert log.committed(APP_ID) == before


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
