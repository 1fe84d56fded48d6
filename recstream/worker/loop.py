"""Steps 3 and 6 to 8 of the flow: the engine's thread, and what feeds it beside the ingest agent.

Everything that touches tables, histories or the serving generation runs in one thread, in the
order in which it was asked for; the event loop only waits. Artifacts are loaded in another thread,
so that a new generation is swapped in between two groups of records, without a pause.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from recstream.core.generation import Generation
from recstream.core.records import DeadLetter, DeltaAnnounced, PipelineRecord, WorkerStatus
from recstream.erasure import Due, Forgetter
from recstream.errors import LogError, ModelMismatch
from recstream.log import DEAD_LETTERS, PIPELINE, EventLog, NewRecord, Record
from recstream.metrics import CONSUMER_LAG
from recstream.models import ModelFeed, Unusable
from recstream.worker.engine import LIVE_LAG, LIVE_USERS, Engine

log = logging.getLogger(__name__)

REFRESH_USERS = 16
"""Users refreshed between two groups of records: some 10 ms in which an event may wait."""
FOLDING_SHARE = 4.0
"""While records wait, folding gets this many times the time that lists get."""
STATUS_EVERY_S = 1.0
CONTROL_EVERY_S = 0.25
FORGET_EVERY_S = 1.0
POLL_S = 1.0
SETTLE_S = 1.0
"""How long the end waits for records being ingested; a log that is away may keep them for ever."""

_T = TypeVar("_T")


class _Waiting(NamedTuple):
    """Records that an agent waits for."""

    records: Sequence[Record]
    done: asyncio.Future[None]


_encode = msgspec.json.Encoder().encode


class Runner:
    """Runs an engine beside a Faust app. Made and used on the app's event loop.

    Parameters
    ----------
    engine : Engine
    feed : ModelFeed
    event_log : EventLog
        For status and dead letters about models.
    forgetter : Forgetter
    prepare : callable
        Called in the engine's thread for each partition before its first records.
    clock_ms : callable
    name : str
        Of the worker, for people.
    """

    def __init__(
        self,
        engine: Engine,
        feed: ModelFeed,
        event_log: EventLog,
        *,
        forgetter: Forgetter,
        prepare: Callable[[int], None],
        clock_ms: Callable[[], int],
        name: str,
    ) -> None:
        self.engine = engine
        self._feed = feed
        self._log = event_log
        self._forgetter = forgetter
        self._prepare = prepare
        self._clock_ms = clock_ms
        self._name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recstream-engine")
        self._owned: set[int] = set()
        self._prepared: set[int] = set()
        self._waiting: list[_Waiting] = []
        self._ingesting: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self._stopping = threading.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._follower: threading.Thread | None = None
        self._loop = asyncio.get_running_loop()

    async def start(self, fail: Callable[[BaseException], Any]) -> None:
        """Begin to follow models, make lists and tell the status.

        Parameters
        ----------
        fail : callable
            Called on the loop with an exception that nobody expected.
        """
        await self._run(_warm_up)
        self._follower = threading.Thread(
            target=self._follow, args=(fail,), name="recstream-models", daemon=True
        )
        self._follower.start()
        for work in (self._make_lists, self._follow_control, self._tell_status, self._forget_users):
            task = asyncio.create_task(work())
            task.add_done_callback(lambda done: _report(done, fail))
            self._tasks.append(task)

    async def settle(self) -> None:
        """Stop following models and making lists, and finish what is being ingested.

        First half of the end: tables are still open, appends are still carried out.
        """
        self._stopping.set()
        self._feed.wake()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._follower is not None:
            await asyncio.to_thread(self._follower.join)
        if self._ingesting is not None and not self._ingesting.done():
            await asyncio.wait({self._ingesting}, timeout=SETTLE_S)

    async def close(self) -> None:
        """Finish what is under way and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)
        self._feed.close()

    async def own(self, partitions: Iterable[int]) -> None:
        """Take partitions over: their tables are recovered and theirs to write."""
        self._owned.update(partitions)
        for partition in sorted(self._owned - self._prepared):
            await self._run(self._ready, partition)
        self._work.set()

    async def revoke(self, partitions: Iterable[int]) -> None:
        """Let go of partitions: after this nothing reads or writes their tables."""
        gone = set(partitions)
        self._owned -= gone
        await self._run(self._forget, gone)

    async def ingest(self, records: Sequence[Record]) -> None:
        """Fold records of one partition and publish what follows; durable on return.

        What several partitions wait for is done together. Records of a partition that went to another
        worker are dropped: its new owner has them.
        """
        waiting = _Waiting(records, self._loop.create_future())
        self._waiting.append(waiting)
        if self._ingesting is None or self._ingesting.done():
            self._ingesting = asyncio.create_task(self._ingest_waiting())
        await waiting.done

    async def _ingest_waiting(self) -> None:
        """Work off what waits, a group of every partition at a time."""
        while self._waiting:
            taken: dict[int, _Waiting] = {}
            for each in self._waiting:
                if not each.done.cancelled():
                    taken.setdefault(each.records[0].partition, each)
            self._waiting = [
                each
                for each in self._waiting
                if not each.done.cancelled() and taken[each.records[0].partition] is not each
            ]
            error: BaseException | None = None
            try:
                await self._run(self._ingest, [each.records for each in taken.values()])
            except Exception as reason:  # noqa: BLE001 - goes to those who wait for these records
                error = reason
            for each in taken.values():
                if each.done.done():
                    continue
                if error is None:
                    each.done.set_result(None)
                else:
                    each.done.set_exception(error)
            self._work.set()

    def _ingest(self, groups: Sequence[Sequence[Record]]) -> None:
        owned = [records for records in groups if records[0].partition in self._owned]
        for records in owned:
            self._ready(records[0].partition)
        for refused in self.engine.ingest_all(owned):
            if refused is not None:
                log.info("records dropped, another worker has them: %s", refused)

    def _forget(self, partitions: set[int]) -> None:
        self.engine.revoke(sorted(partitions))
        self._prepared -= partitions

    def _ready(self, partition: int) -> None:
        # It may have been revoked while this waited for the thread: opening its table now would
        # lock out the new owner.
        if partition in self._owned and partition not in self._prepared:
            self._prepare(partition)
            self._prepared.add(partition)

    async def _run(self, function: Callable[..., _T], *args: Any) -> _T:
        return await self._loop.run_in_executor(self._thread, function, *args)

    # Lists that wait

    async def _make_lists(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self.engine.generation is not None and (
                self.engine.n_open or self.engine.n_to_refresh
            ):
                begun = perf_counter()
                await self._run(self._some_lists)
                if self.engine.lag > LIVE_LAG:
                    await asyncio.sleep(FOLDING_SHARE * (perf_counter() - begun))

    def _some_lists(self) -> None:
        if self.engine.n_open:
            self.engine.list_open(LIVE_USERS)
        else:
            self.engine.refresh(REFRESH_USERS)

    # Models

    def _follow(self, fail: Callable[[BaseException], Any]) -> None:
        """Follow the models topic until the end; runs in a thread of its own."""
        try:
            self._resume_models()
            while not self._stopping.is_set():
                for step in self._feed.poll(POLL_S):
                    if isinstance(step, Unusable):
                        self._bury(step)
                    else:
                        self._thread.submit(self._step, step).result()
                        self._wake()
        except Exception as error:  # noqa: BLE001 - handed to the loop, which stops the worker
            if not self._stopping.is_set():
                self._loop.call_soon_threadsafe(fail, error)

    def _resume_models(self) -> None:
        generation = self._feed.newest()
        if generation is not None:
            self._thread.submit(self.engine.adopt, generation).result()
            self._wake()

    def _step(self, step: Generation | DeltaAnnounced) -> None:
        if isinstance(step, Generation):
            self.engine.adopt(step)
            return
        try:
            self.engine.move(step)
        except ModelMismatch as error:
            log.warning("model read again: %s", error)
            generation = self._feed.newest()
            if generation is not None:
                self.engine.adopt(generation)

    def _bury(self, unusable: Unusable) -> None:
        record = unusable.record
        letter = DeadLetter(
            reason="unusable-model",
            detail=str(unusable.error),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            value=(record.value or b"").decode(errors="replace"),
        )
        self._log.append([NewRecord(DEAD_LETTERS, None, _encode(letter), 0)])

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._work.set)

    # Steering

    async def _follow_control(self) -> None:
        while True:
            await asyncio.sleep(CONTROL_EVERY_S)
            try:
                if await self._run(self.engine.follow_control):
                    self._work.set()
            except LogError as error:
                log.warning("control topic not followed, trying again: %s", error)

    # Forgetting

    async def _forget_users(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            try:
                for due in await self._run(self._begin_forgetting):
                    await self._finish_forgetting(due)
            except LogError as error:
                log.warning("forgetting not finished, trying again: %s", error)

    def _begin_forgetting(self) -> list[Due]:
        return self._forgetter.begin(self._owned & self._prepared)

    async def _finish_forgetting(self, due: Due) -> None:
        """Blank records beside the folding; what a stop interrupts is done by the next worker."""
        job = asyncio.ensure_future(asyncio.to_thread(self._forgetter.erase, due))
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.gather(job, return_exceptions=True)
            raise
        if await self._run(self._scrub, due.forgotten.partition):
            await asyncio.to_thread(self._forgetter.finish, due)

    def _scrub(self, partition: int) -> bool:
        """Rewrite a table without what was deleted; False if another worker has it by now."""
        if partition not in self._owned:
            return False
        self._forgetter.scrub(partition)
        return True

    # Status

    async def _tell_status(self) -> None:
        told = None
        while True:
            await asyncio.sleep(STATUS_EVERY_S)
            status = await self._run(self._status)
            for partition, lag in status.lag.items():
                CONSUMER_LAG.labels("ingest", partition).set(lag)
            done = (status.events, status.published, status.dead_letters, status.generation)
            if done != told:
                told = done
                record = NewRecord(PIPELINE, b"worker", encode_pipeline(status))
                try:
                    await asyncio.to_thread(self._log.append, [record])
                except LogError as error:
                    log.warning("status not told: %s", error)

    def _status(self) -> WorkerStatus:
        engine = self.engine
        status, generation = engine.status, engine.generation
        fold_in_ms = _percentiles([1000.0 * each for each in status.fold_in_s])
        freshness_ms = _percentiles(list(status.freshness_ms))
        return WorkerStatus(
            worker=self._name,
            events=status.events,
            published=status.published,
            dead_letters=status.dead_letters,
            lag={str(partition): lag for partition, lag in status.lag.items()},
            generation=-1 if generation is None else generation.number,
            delta=0 if generation is None else generation.delta,
            fold_in_ms_p50=fold_in_ms[0],
            fold_in_ms_p99=fold_in_ms[1],
            freshness_ms_p50=freshness_ms[0],
            freshness_ms_p99=freshness_ms[1],
            prequential=status.scores.recent(),
            clicks=status.scores.clicks(),
            ts=self._clock_ms(),
        )


def encode_pipeline(record: PipelineRecord) -> bytes:
    """Return a record of the pipeline topic as JSON."""
    return _encode(record)


def _percentiles(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return 0.0, 0.0
    p50, p99 = np.percentile(np.array(values, np.float64), [50, 99]).tolist()
    return round(p50, 3), round(p99, 3)


def _report(task: asyncio.Task[None], fail: Callable[[BaseException], Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        fail(error)


def _warm_up() -> None:
    """Load the compiled kernels before the first event waits for them."""
    from recstream.worker.warmup import warm_up  # noqa: PLC0415 - it compiles

    warm_up()
