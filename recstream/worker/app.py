"""The Faust app of a worker: table, agent, timers, and what is done at a rebalance.

Faust's own command runs it, with settings from the environment::

    faust -A recstream.worker.app worker --without-web

The attribute `app` is built when it is first read; importing this module has no effect.
"""

import asyncio
import contextlib
import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import faust
from faust.tables.manager import TableManager
from faust.types import TP
from threadpoolctl import threadpool_limits

from recstream.checkpoints import CheckpointSchedule, open_checkpoints
from recstream.control import read_timeline
from recstream.errors import LogFenced
from recstream.log import (
    FORGET_REQUESTS,
    HISTORIES_TABLE,
    INTERACTIONS,
    EventLog,
    Position,
    TopicSpec,
    histories_changelog,
    open_log,
    topic_specs,
)
from recstream.log.faust import BatchTopic
from recstream.models import ModelFeed, open_store
from recstream.process import system_clock_ms, watch
from recstream.settings import Settings, load
from recstream.worker.commit import Work
from recstream.worker.engine import Engine
from recstream.worker.forget import Forgetter
from recstream.worker.loop import WorkerLoop
from recstream.worker.rocksdb_rows import ROCKSDB_OPTIONS, RocksDBRows, tables_folder

SESSION_TIMEOUT_S = 8.0
"""On the embedded log a worker that is silent for this long is taken for dead."""
CONTROL_EVERY_S = 0.25
STATUS_EVERY_S = 1.0
FORGET_EVERY_S = 1.0
CHECKPOINT_LOOK_S = 1.0
SWITCH_S = 0.0005
"""Longest time that the engine's Python code keeps the interpreter from the event loop."""


class WorkerTables(TableManager):
    """The worker's tables. They start at once: Faust waits a second for tables that are added late."""

    async def on_start(self) -> None:
        """Start the tables, as Faust does after its second."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


class WorkerApp(faust.App):
    """A Faust app that owns a `WorkerLoop`, the log and the tables' folder while it runs."""

    worker_loop: WorkerLoop
    checkpoints: CheckpointSchedule
    held: contextlib.ExitStack
    """What is released when the app has stopped."""

    async def on_start(self) -> None:
        """Start the worker's threads before the first partition is assigned."""
        sys.setswitchinterval(SWITCH_S)
        self.held.enter_context(threadpool_limits(1, user_api="blas"))  # cores are the engine's
        self.held.enter_context(_rare_collections())
        await self.worker_loop.start(self.fail)
        await super().on_start()

    async def on_stop(self) -> None:
        """Finish the records being ingested while tables and consumer are still open."""
        await self.checkpoints.close()
        await self.worker_loop.settle()
        await super().on_stop()

    async def on_shutdown(self) -> None:
        """End the engine's thread and close the log."""
        await super().on_shutdown()
        await self.worker_loop.close()
        self.held.close()

    async def revoke(self, _: Any, revoked: set[TP], **__: Any) -> None:
        """Give partitions up, before another worker takes them."""
        await self.worker_loop.revoke(_interactions(revoked))

    def fail(self, error: BaseException) -> None:
        """End the app with an error; called on the event loop."""
        self.log.error("worker stops: %r", error, exc_info=error)
        self._failing = asyncio.ensure_future(self.crash(error))
        watch(self._failing, "the end of the worker")


def build_app(settings: Settings, clock_ms: Callable[[], int] = system_clock_ms) -> WorkerApp:
    """Open the log and return the app with table, agent and timers.

    Raises
    ------
    RecstreamError
        The log or the tables' folder can't be used.
    """
    with contextlib.ExitStack() as held:
        event_log = held.enter_context(contextlib.closing(open_log(settings.broker_url, settings)))
        specs = topic_specs(settings.partitions, settings.app_id)
        if settings.broker_url.startswith("kafka://"):
            specs += (TopicSpec(FORGET_REQUESTS, 1),)
        event_log.create_topics(specs)
        tables = held.enter_context(tables_folder(settings, event_log))
        app = _faust_app(settings, tables, event_log)
        _add_table_and_agent(app, settings, event_log, tables, clock_ms)
        _add_timers(app)
        app.held = held.pop_all()
    return app


def _faust_app(settings: Settings, tables: Path, event_log: EventLog) -> WorkerApp:
    """Return the app, configured for the settings' log."""
    is_kafka = settings.broker_url.startswith("kafka://")
    options: dict[str, Any] = {
        "broker": settings.broker_url,
        "broker_session_timeout": SESSION_TIMEOUT_S,
        "broker_heartbeat_interval": SESSION_TIMEOUT_S / 4,
    }
    if is_kafka:
        from recstream.log.faust.kafka_transport import app_options  # noqa: PLC0415 - an extra

        options = app_options(settings)
    app = WorkerApp(
        settings.app_id,
        **options,
        TableManager=WorkerTables,
        store="rocksdb://",
        datadir=tables,
        tabledir=tables,
        topic_partitions=settings.partitions,
        topic_disable_leader=True,
        table_standby_replicas=int(is_kafka),
        web_enabled=False,
        autodiscover=False,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
    )
    if is_kafka:
        cast(Any, app.transport).use(event_log)
    return app


def _add_table_and_agent(
    app: WorkerApp,
    settings: Settings,
    event_log: EventLog,
    tables: Path,
    clock_ms: Callable[[], int],
) -> None:
    """Add the histories table, the ingest agent, and what follows from a rebalance."""
    histories = app.Table(
        HISTORIES_TABLE,
        partitions=settings.partitions,
        key_type=bytes,
        value_type=bytes,
        options=dict(ROCKSDB_OPTIONS),
    )
    is_kafka = settings.broker_url.startswith("kafka://")
    checkpoints = open_checkpoints(event_log, settings)
    rows = RocksDBRows(histories, tables, deletes_others=not is_kafka)
    rows.prepare_with(event_log, checkpoints, histories_changelog(settings.app_id))

    def append(works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        rows.check()  # after an append without an answer, what is in memory may be older than the log
        try:
            done: list[list[Position] | LogFenced] = cast(Any, app.consumer).append_all(works)
        except BaseException as error:
            rows.fail(error)  # some of it may be in the log
            raise
        return done

    engine = Engine(
        event_log,
        append,
        rows,
        settings=settings,
        timeline=read_timeline(event_log),
        clock_ms=clock_ms,
    )
    app.worker_loop = WorkerLoop(
        engine,
        rows,
        ModelFeed(event_log, open_store(settings.models_url)),
        event_log,
        forgetter=Forgetter(event_log, engine, settings, clock_ms, checkpoints),
        clock_ms=clock_ms,
        name=f"{socket.gethostname()}-{os.getpid()}",
    )

    app.checkpoints = CheckpointSchedule(checkpoints, settings, rows.path, clock_ms)

    # One stream a partition: groups that wait together are folded together.
    @app.agent(
        BatchTopic.of(app, INTERACTIONS, partitions=settings.partitions),
        concurrency=settings.partitions,
    )
    async def ingest(stream: Any) -> None:
        async for event in stream.events():
            try:
                await app.worker_loop.ingest(event.value)
            except Exception as error:  # noqa: BLE001 - the app ends with it
                app.fail(error)
                # Faust would restart an agent that ends here behind this batch, and the process would
                # end after 100 restarts: wait to be cancelled.
                await asyncio.get_running_loop().create_future()

    @histories.on_recover
    async def assign_recovered() -> None:
        mine = _interactions(app.consumer.assignment())
        rows.keep_only(mine | {tp.partition for tp in app.assignor.assigned_standbys()})
        await app.worker_loop.assign(mine)

    # Signals belong to the class: a strong receiver would keep every app that a process ever built.
    app.on_partitions_revoked.connect(app.revoke, weak=True)  # type: ignore[arg-type]  # Faust passes keyword arguments


def _add_timers(app: WorkerApp) -> None:
    """Add the work that is done beside the records."""

    @app.task  # type: ignore[untyped-decorator]
    async def rank_waiting_lists() -> None:
        await app.worker_loop.rank_waiting_lists()

    @app.timer(interval=CONTROL_EVERY_S)  # type: ignore[untyped-decorator]
    async def follow_control() -> None:
        await app.worker_loop.follow_control()

    @app.timer(interval=STATUS_EVERY_S)  # type: ignore[untyped-decorator]
    async def publish_status() -> None:
        await app.worker_loop.publish_status()

    @app.timer(interval=FORGET_EVERY_S)  # type: ignore[untyped-decorator]
    async def forget_users() -> None:
        await app.worker_loop.forget_users()

    @app.timer(interval=CHECKPOINT_LOOK_S)  # type: ignore[untyped-decorator]
    async def make_checkpoints() -> None:
        await app.checkpoints.look(app.worker_loop.owned)


def _interactions(tps: set[TP]) -> set[int]:
    """Return the partitions of interactions among topic partitions."""
    return {tp.partition for tp in tps if tp.topic == INTERACTIONS}


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Run the cycle collector rarely: a pass over all cached histories stops the worker."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def __getattr__(name: str) -> WorkerApp:
    """Build `app` for Faust's command when it is first read."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = build_app(load())
    globals()["app"] = app
    return app
