"""How `WorkerLoop` shares its thread between folding and lists."""

import asyncio
import contextlib
import time

from recstream.worker import loop
from recstream.worker.engine import LIVE_LAG
from recstream.worker.loop import WorkerLoop
from tests.worker.installation import eventually

LIST_S = 0.002


class Engine:
    """Makes lists for users who wait, and has records that wait too."""

    generation = object()
    n_to_refresh = 0

    def __init__(self, n_pending: int, lag: int) -> None:
        self.n_pending = n_pending
        self.lag = lag
        self.made_s: list[float] = []

    def list_pending(self, _limit: int) -> None:
        time.sleep(LIST_S)
        self.n_pending -= 1
        self.made_s.append(time.monotonic())

    def n_made_is(self, n: int) -> bool:
        return len(self.made_s) >= n


@contextlib.asynccontextmanager
async def making_lists(engine: Engine):
    worker_loop = WorkerLoop(
        engine, None, None, None, forgetter=None, clock_ms=lambda: 0, name="worker"
    )
    worker_loop._has_lists_to_make.set()
    task = asyncio.create_task(worker_loop.rank_waiting_lists())
    try:
        yield worker_loop
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        worker_loop._thread.shutdown()


async def test_lists_go_on_as_soon_as_no_records_wait(monkeypatch):
    monkeypatch.setattr(loop, "FOLDING_SHARE", 1e6)
    monkeypatch.setattr(loop, "LONGEST_FOLDING_S", 1e6)
    engine = Engine(n_pending=3, lag=LIVE_LAG + 1)
    async with making_lists(engine) as worker_loop:
        await eventually(lambda: engine.n_made_is(1))
        engine.lag = 0
        worker_loop._has_lists_to_make.set()  # as after records were folded
        await eventually(lambda: engine.n_made_is(3))


async def test_lists_are_made_now_and_then_however_long_records_wait(monkeypatch):
    monkeypatch.setattr(loop, "FOLDING_SHARE", 1e6)
    monkeypatch.setattr(loop, "LONGEST_FOLDING_S", 0.05)
    engine = Engine(n_pending=3, lag=LIVE_LAG + 1)
    async with making_lists(engine):
        await eventually(lambda: engine.n_made_is(3))


async def test_folding_gets_its_share_while_records_wait(monkeypatch):
    monkeypatch.setattr(loop, "FOLDING_SHARE", 50.0)
    engine = Engine(n_pending=2, lag=LIVE_LAG + 1)
    async with making_lists(engine):
        await eventually(lambda: engine.n_made_is(2))
    assert engine.made_s[1] - engine.made_s[0] >= 50 * LIST_S
