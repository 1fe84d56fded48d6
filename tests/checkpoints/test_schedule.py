"""When a worker makes checkpoints: by time, on request, and again after a failure."""

import asyncio
from functools import partial
from pathlib import Path

import msgspec
import pytest

from recstream.checkpoints import CheckpointSchedule, Job, run_job
from recstream.checkpoints.schedule import RETRY_S
from recstream.control import read_control, submit
from recstream.core.records import CheckpointRequested
from recstream.settings import Settings
from tests.checkpoints.conftest import MADE_MS
from tests.worker.worker_world import GROUP

EVERY_S = 100


class Schedule(CheckpointSchedule):
    """A schedule that notes what it would make; its clocks are set by a test."""

    def __init__(self, tables, every_s: int, clock_ms: int, app_id: str = GROUP) -> None:
        self.time_s = 0.0
        self.exit_code = 0
        self.made: list[tuple[list[int], bool]] = []
        settings = Settings(checkpoint_every_s=every_s, app_id=app_id)
        super().__init__(
            tables.checkpoints, settings, lambda _: Path(), lambda: clock_ms, lambda: self.time_s
        )

    async def _run(self, partitions, *, is_requested):
        self.made.append((sorted(partitions), is_requested))
        return self.exit_code

    async def at(self, time_s: float, owned=(0,)) -> list[tuple[list[int], bool]]:
        """Look at a time; return what was made."""
        self.time_s = time_s
        self.made = []
        await self.look(owned)
        if self._running is not None:
            await asyncio.wait({self._running})
        return self.made


def request(log, requested_ts: int) -> None:
    submit(log, CheckpointRequested(id=f"r{requested_ts}", requested_ts=requested_ts))


@pytest.fixture
def schedule_of(tables):
    """Return a schedule of a log with a checkpoint of partition 0, made at `MADE_MS`."""
    tables.feed(100)
    tables.checkpoint()

    def make(*, every_s: int = EVERY_S, age_s: float = 0, app_id: str = GROUP) -> Schedule:
        return Schedule(tables, every_s, MADE_MS + round(age_s * 1000), app_id)

    return make


async def test_a_checkpoint_is_made_when_the_newest_one_is_old_enough(schedule_of):
    schedule = schedule_of(age_s=70)

    assert await schedule.at(0) == []
    assert await schedule.at(29) == []
    assert await schedule.at(30) == [([0], False)]
    assert await schedule.at(129) == []
    assert await schedule.at(130) == [([0], False)]
    assert await schedule_of(every_s=0, age_s=10**6).at(10**6) == []


@pytest.mark.parametrize("age_s", [-(10**9), 0])
async def test_a_clock_that_was_set_back_delays_a_checkpoint_by_one_period(schedule_of, age_s):
    schedule = schedule_of(age_s=age_s)

    assert await schedule.at(0) == []
    assert await schedule.at(EVERY_S - 1) == []
    assert await schedule.at(EVERY_S) == [([0], False)]


@pytest.mark.parametrize("ahead_s", [-(10**6), 10**6])
async def test_a_request_is_answered_once_whatever_the_clock_of_who_asks(
    schedule_of, tables, ahead_s
):
    schedule = schedule_of()
    assert await schedule.at(0) == []

    request(tables.log, MADE_MS + ahead_s * 1000)

    assert await schedule.at(1) == [([0], True)]
    assert await schedule.at(2) == []


@pytest.mark.parametrize("ahead_ms", [-(10**9), 10**9])
async def test_a_request_from_before_the_start_is_answered_once_whatever_the_clocks_say(
    schedule_of, tables, ahead_ms
):
    request(tables.log, MADE_MS + ahead_ms)
    (offset,) = (offset for offset, _ in read_control(tables.log))

    assert await schedule_of().at(0, owned=(0, 1)) == [([0, 1], True)]
    job = Job(
        settings=Settings(broker=f"embedded://{tables.path}/log.db", app_id=GROUP,
                          checkpoints=f"file://{tables.path}/checkpoints"),
        tables={0: str(tables.table(0))},
        is_requested=True,
        request=offset,
    )  # fmt: skip
    run_job(job, clock_ms=lambda: MADE_MS)
    assert await schedule_of().at(0) == []


async def test_of_checkpoints_that_older_versions_made_the_time_counts(schedule_of, tables):
    make = schedule_of
    (made,) = tables.checkpoints.all(0)
    tables.checkpoints.announce(msgspec.structs.replace(made, request=None))
    request(tables.log, MADE_MS - 1)
    assert await make().at(0) == []
    request(tables.log, MADE_MS + 1)
    assert await make().at(0, owned=(0, 1)) == [([0, 1], True)]


async def test_checkpoints_of_workers_with_another_app_id_do_not_count(schedule_of, tables):
    schedule = schedule_of(age_s=70, app_id="other")

    assert await schedule.at(0) == []
    assert await schedule.at(EVERY_S - 1) == []
    assert await schedule.at(EVERY_S) == [([0], False)]
    (made,) = tables.checkpoints.all(0)
    request(tables.log, MADE_MS)
    tables.checkpoints.announce(msgspec.structs.replace(made, request=10**6))
    assert await schedule_of().at(0) == []
    assert await schedule_of(app_id="other").at(0) == [([0], True)]


async def test_after_a_failure_it_is_tried_again_later(schedule_of, tables, caplog):
    schedule = schedule_of(every_s=0)
    request(tables.log, MADE_MS + 1)
    schedule.exit_code = 1

    assert await schedule.at(0) == [([0], True)]
    assert "again in" in caplog.text
    assert await schedule.at(RETRY_S - 1) == []
    schedule.exit_code = 0
    assert await schedule.at(RETRY_S) == [([0], True)]
    assert await schedule.at(2 * RETRY_S) == []


async def test_only_partitions_that_failed_are_tried_again(
    schedule_of, tables, monkeypatch, caplog
):
    schedule = schedule_of()
    run = schedule._run

    async def run_and_fail(partitions, *, is_requested):
        (made,) = tables.checkpoints.all(0)
        tables.checkpoints.announce(
            msgspec.structs.replace(made, made_ts=MADE_MS + 1, request=schedule._request)
        )
        await run(partitions, is_requested=is_requested)
        return 1

    monkeypatch.setattr(schedule, "_run", run_and_fail)
    request(tables.log, MADE_MS + 1)

    assert await schedule.at(0, owned=(0, 1)) == [([0, 1], True)]
    assert "partitions=[1]" in caplog.text
    assert await schedule.at(RETRY_S, owned=(0, 1)) == [([1], True)]
    assert await schedule.at(2 * RETRY_S, owned=(0, 1)) == [([0, 1], True)]


class HungProcess:
    """A process that waits for its store for ever."""

    returncode: int | None = None

    async def communicate(self, _: bytes) -> None:
        await asyncio.Event().wait()

    def kill(self) -> None:
        self.returncode = -9

    async def wait(self) -> None:
        assert self.returncode == -9


async def test_a_process_that_hangs_is_killed_and_started_again_later(
    schedule_of, tables, caplog, monkeypatch
):
    schedule, started = schedule_of(every_s=0), []

    async def start(*_, **__):
        started.append(HungProcess())
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    monkeypatch.setattr(schedule, "_run", partial(CheckpointSchedule._run, schedule))
    monkeypatch.setattr("recstream.checkpoints.schedule.DEADLINE_S", 0.01)
    request(tables.log, MADE_MS + 1)

    async with asyncio.timeout(30):
        await schedule.at(0)
        assert "must end within" in caplog.text
        await schedule.at(RETRY_S - 1)
        assert [each.returncode for each in started] == [-9]
        await schedule.at(RETRY_S)
    assert [each.returncode for each in started] == [-9, -9]
