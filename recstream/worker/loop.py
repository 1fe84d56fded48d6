"""WorkerLoop: passes work from Faust's event loop to the engine's thread.

Tables, histories and the serving generation are touched by one thread, in the order of the calls.
The event loop only waits for it. Artifacts are loaded by another thread, so that a new generation
is swapped in between two groups of records.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter
from typing import Any, NamedTuple, TypeVar

import msgspec

from recstream.core.generation import Generation
from recstream.core.records import DeltaAnnounced
from recstream.errors import InvalidJson, LogError, LogFenced, ModelMismatch, ModelStoreUnavailable
from recstream.log import (
    DEAD_LETTERS,
    PIPELINE,
    EventLog,
    NewRecord,
    Record,
    dead_letter,
    watch_topics,
)
from recstream.models import ModelFeed, Unusable
from recstream.process import Kernels, start_thread, watch
from recstream.worker.engine import LIVE_LAG, LIVE_USERS, Engine
from recstream.worker.forget import DueErasure, Forgetter
from recstream.worker.rocksdb_rows import RocksDBRows

log = logging.getLogger(__name__)

REFRESH_USERS = 16
"""Users refreshed between two groups of records, which then wait about 10 ms."""
FOLDING_SHARE = 15.0
"""While records wait, folding gets this many times the time that lists get."""
LONGEST_FOLDING_S = 10.0
"""Longest time without lists while records wait. Lists are slow while kernels are compiled."""
KERNELS_S = 5.0
"""Longest wait for kernels to be loaded before records are read."""
POLL_S = 1.0
HEARTBEAT_S = 5.0
"""Longest time between two status records; readers take a worker that is silent longer for gone."""
FOLLOWER_END_S = 5.0
"""Longest wait at the end for the thread that follows models; it may be compiling kernels."""
SETTLE_S = 1.0
"""Longest wait at the end for ingested records; a log that is away may block them for ever."""

_T = TypeVar("_T")


class _Waiting(NamedTuple):
    """Records of one partition, and the future that their agent waits for."""

    records: Sequence[Record]
    done: asyncio.Future[None]


class WorkerLoop:
    """Runs an engine beside a Faust app. Methods are called on the app's event loop.

    Parameters
    ----------
    event_log : EventLog
        For status records and dead letters about models.
    name : str
        Name of this worker in its status records.
    """

    def __init__(
        self,
        engine: Engine,
        rows: RocksDBRows,
        feed: ModelFeed,
        event_log: EventLog,
        *,
        forgetter: Forgetter,
        clock_ms: Callable[[], int],
        name: str,
    ) -> None:
        self.engine = engine
        self._rows = rows
        self._feed = feed
        self._log = event_log
        self._forgetter = forgetter
        self._clock_ms = clock_ms
        self._name = name
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recstream-engine")
        self._owned: set[int] = set()
        self._prepared: set[int] = set()
        self._waiting: list[_Waiting] = []
        self._ingesting: asyncio.Task[None] | None = None
        self._has_kernels = asyncio.Event()
        self._has_lists_to_make = asyncio.Event()
        self._stopping = threading.Event()
        self._kernels = Kernels(self._stopping)
        self._follower: threading.Thread | None = None
        self._published_status: tuple[int, ...] | None = None
        self._status_s = -HEARTBEAT_S

    # Life

    async def start(self, fail: Callable[[BaseException], object]) -> None:
        """Load the kernels and start to follow the models topic.

        Where no kernels are cached, this returns while they are compiled: events are folded
        meanwhile, and lists are made by interpreted kernels.

        Parameters
        ----------
        fail : callable
            Called on the loop with an error that must end the worker.
        """
        self._loop = asyncio.get_running_loop()
        self._fail = fail

        def fail_on_loop(error: BaseException) -> None:
            self._loop.call_soon_threadsafe(fail, error)

        self._follower = start_thread(
            "recstream-models",
            self._follow_models,
            stopping=self._stopping,
            fail=fail_on_loop,
            retry=(LogError, ModelStoreUnavailable, OSError),
        )
        watch_topics(self._log, self._stopping, fail_on_loop)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_kernels.wait(), KERNELS_S)

    async def settle(self) -> None:
        """Stop following models, and finish the records being ingested; tables are still open."""
        self._stopping.set()
        self._feed.wake()
        if self._follower is not None:
            await asyncio.to_thread(self._follower.join, FOLLOWER_END_S)
        if self._ingesting is not None and not self._ingesting.done():
            await asyncio.wait({self._ingesting}, timeout=SETTLE_S)

    async def close(self) -> None:
        """Finish the work of the engine's thread and end it."""
        await asyncio.to_thread(self._thread.shutdown)
        self._feed.close()

    async def _run(self, function: Callable[..., _T], *args: Any) -> _T:
        """Call a function in the engine's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # Partitions

    async def assign(self, partitions: Iterable[int]) -> None:
        """Take partitions whose tables have been recovered."""
        self._owned.update(partitions)
        for partition in sorted(self._owned - self._prepared):
            await self._run(self._prepare, partition)
        self._has_lists_to_make.set()

    async def revoke(self, partitions: Iterable[int]) -> None:
        """Give partitions up: after this nothing reads or writes their tables."""
        gone = set(partitions)
        self._owned -= gone
        await self._run(self._discard, gone)

    def _prepare(self, partition: int) -> bool:
        """Return whether this worker owns a partition, prepared for its first records.

        It may have been revoked while this waited for the thread. Opening its table then would lock
        out the new owner.
        """
        if partition not in self._owned:
            return False
        if partition not in self._prepared:
            try:
                self.engine.assign(partition)
            except LogFenced as error:
                log.info("partition not taken, another worker owns it: %s", error)
                return False
            self._prepared.add(partition)
        return True

    def _discard(self, partitions: set[int]) -> None:
        self.engine.revoke(sorted(partitions))
        self._prepared -= partitions

    # Records

    async def ingest(self, records: Sequence[Record]) -> None:
        """Fold records of one partition and publish the lists that follow; durable on return.

        Groups that wait of several partitions are ingested together. Records of a partition that
        another worker owns now are dropped: they are delivered to that worker.
        """
        waiting = _Waiting(records, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._ingesting is None or self._ingesting.done():
            self._ingesting = asyncio.create_task(self._ingest_waiting())
            watch(self._ingesting, "ingest", self._fail)
        await waiting.done

    async def _ingest_waiting(self) -> None:
        """Ingest all that waits, one group per partition at a time."""
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
            except Exception as reason:  # noqa: BLE001 - goes to the agents that wait
                error = reason
            for each in taken.values():
                if each.done.done():
                    continue
                if error is None:
                    each.done.set_result(None)
                else:
                    each.done.set_exception(error)
            self._has_lists_to_make.set()

    def _ingest(self, groups: Sequence[Sequence[Record]]) -> None:
        owned = [records for records in groups if self._prepare(records[0].partition)]
        for refused in self.engine.ingest(owned):
            if refused is not None:
                log.info("records dropped, another worker owns the partition: %s", refused)

    # Lists apart from records

    async def rank_waiting_lists(self) -> None:
        """Rank pending lists and refreshes whenever there are any, until cancelled."""
        while True:
            await self._has_lists_to_make.wait()
            self._has_lists_to_make.clear()
            engine = self.engine
            while engine.generation is not None and (engine.n_pending or engine.n_to_refresh):
                took_s = await self._run(self._make_some_lists)
                await self._leave_time_to_fold(min(FOLDING_SHARE * took_s, LONGEST_FOLDING_S))

    def _make_some_lists(self) -> float:
        """Return how many seconds it took."""
        begun = perf_counter()
        if self.engine.n_pending:
            self.engine.list_pending(LIVE_USERS)
        else:
            self.engine.refresh(REFRESH_USERS)
        return perf_counter() - begun

    async def _leave_time_to_fold(self, longest_s: float) -> None:
        """Wait while many records wait, but not longer than this."""
        end = monotonic() + longest_s
        while self.engine.lag > LIVE_LAG and (left := end - monotonic()) > 0.0:
            self._has_lists_to_make.clear()  # set after each group that is folded
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_lists_to_make.wait(), left)

    # Models

    def _follow_models(self) -> None:
        """Follow the models topic until the end, in a thread of its own.

        Where no kernels are cached, the first lists come from interpreted ones (`Kernels`).
        """
        self._kernels.start()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._has_kernels.set)
        generation = self._feed.newest()
        if generation is not None:
            self._activate(generation)
        while not self._stopping.is_set():
            for step in self._feed.poll(POLL_S):
                if isinstance(step, Unusable):
                    self._write_dead_letter(step)
                elif isinstance(step, Generation):
                    self._activate(step)
                else:
                    self._in_engine(self._apply_delta, step)

    def _activate(self, generation: Generation) -> None:
        """Activate a generation; one with factors waits for compiled kernels."""
        if generation.model is not None:
            self._kernels.wait()
        self._in_engine(self.engine.activate, generation)

    def _in_engine(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the engine's thread, wait for it, and have lists made."""
        self._thread.submit(function, *args).result()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._has_lists_to_make.set)

    def _apply_delta(self, delta: DeltaAnnounced) -> None:
        try:
            self.engine.apply_delta(delta)
        except ModelMismatch as error:
            log.warning("model read again: %s", error)
            generation = self._feed.newest()
            if generation is not None:
                self.engine.activate(generation)

    def _write_dead_letter(self, unusable: Unusable) -> None:
        record = unusable.record
        error = InvalidJson(str(unusable.error), code="unusable-model")
        letter = dead_letter(record, record.value or b"", error)
        self._log.append([NewRecord(DEAD_LETTERS, None, msgspec.json.encode(letter), 0)])

    # Periodic work

    @property
    def owned(self) -> set[int]:
        """Partitions whose tables are this worker's and ready."""
        return self._owned & self._prepared

    async def follow_control(self) -> None:
        """Activate a new steering document; make lists anew when times of items have passed."""
        try:
            is_new = await self._run(self.engine.follow_control)
            if await self._run(self.engine.follow_times) or is_new:
                self._has_lists_to_make.set()
        except LogError as error:
            log.warning("control topic not followed, trying again: %s", error)

    async def publish_status(self) -> None:
        """Append the status record: when it has changed, and as a heartbeat."""
        try:
            record = await self._run(self._status_record)
            if record is not None:
                await asyncio.to_thread(self._log.append, [record])
        except LogError as error:
            log.warning("status not published: %s", error)

    def _status_record(self) -> NewRecord | None:
        engine = self.engine
        is_due = monotonic() - self._status_s >= HEARTBEAT_S
        if is_due:
            engine.measure_lag()
        status = engine.status.record(
            self._name, engine.generation, self._clock_ms(), is_compiling=self._kernels.is_compiling
        )
        done = (
            status.events,
            status.published,
            status.dead_letters,
            status.generation,
            status.is_compiling,
        )
        if done == self._published_status and not is_due:
            return None
        self._published_status, self._status_s = done, monotonic()
        return NewRecord(PIPELINE, b"worker", msgspec.json.encode(status))

    async def forget_users(self) -> None:
        """Carry out erasure requests that are due."""
        try:
            for due in await self._run(self._begin_erasures):
                await self._erase(due)
        except LogError as error:
            log.warning("erasure not finished, trying again: %s", error)

    def _begin_erasures(self) -> list[DueErasure]:
        due = self._forgetter.begin(self.owned)
        for partition in sorted(self._forgetter.copies):
            self._rows.scrub_copy(partition)
            self._forgetter.copies.discard(partition)
        return due

    async def _erase(self, due: DueErasure) -> None:
        """Erase records beside the folding; the next worker finishes what a stop interrupts."""
        job = asyncio.ensure_future(asyncio.to_thread(self._forgetter.erase, due))
        try:
            erased = await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.gather(job, return_exceptions=True)
            raise
        if not erased.requests:
            return
        if await self._run(self._scrub, due.partition):
            await asyncio.to_thread(self._forgetter.finish, erased)

    def _scrub(self, partition: int) -> bool:
        """Remove deleted rows from a table's files; return False if another worker owns it."""
        if partition not in self._owned:
            return False
        self._rows.scrub(partition)
        return True
