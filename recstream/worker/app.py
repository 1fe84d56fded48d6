"""Step 3 of the flow: the Faust app of a worker, built in a function and never at import."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import faust
from faust.types import TP

from recstream.control import read_control, read_timeline
from recstream.erasure import Forgetter
from recstream.erasure import erasure as forgetting
from recstream.errors import LogFenced
from recstream.log import (
    HISTORIES_TABLE,
    INTERACTIONS,
    EventLog,
    Position,
    TopicPartition,
    histories_changelog,
)
from recstream.log.faust.batch_topic import BatchTopic
from recstream.models import ModelFeed, ModelStore
from recstream.settings import Settings
from recstream.worker import rules
from recstream.worker.commit import Append, Work
from recstream.worker.engine import Engine
from recstream.worker.loop import Runner
from recstream.worker.store import ROCKSDB_OPTIONS, FaustRows


class Topology(NamedTuple):
    """What a worker runs."""

    app: faust.App
    histories: Any
    ingest: Any
    runner: Runner


def build_app(settings: Settings, tables: Path) -> faust.App:
    """Return the Faust app, without topics, tables or agents.

    Parameters
    ----------
    tables : Path
        Folder of the RocksDB files, of this log's epoch alone.
    """
    return faust.App(
        settings.app_id,
        **_broker_options(settings),
        store="rocksdb://",
        datadir=tables,
        tabledir=tables,
        topic_partitions=settings.partitions,
        topic_disable_leader=True,
        # On the embedded log the workers share the tables' folder, and find the rows there.
        table_standby_replicas=int(is_kafka(settings)),
        web_enabled=False,
        autodiscover=False,
        logging_config={"version": 1, "disable_existing_loggers": False},
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
    )


def is_kafka(settings: Settings) -> bool:
    """Return whether the log is Kafka: then workers keep tables for each other."""
    return settings.broker_url.startswith("kafka://")


def _broker_options(settings: Settings) -> dict[str, Any]:
    """Return what the app is told about its broker."""
    if is_kafka(settings):
        from recstream.log.faust.kafka_transport import app_options  # noqa: PLC0415 - an extra

        return app_options(settings)
    return {"broker": settings.broker_url}


def build_topology(
    app: faust.App,
    settings: Settings,
    *,
    event_log: EventLog,
    store: ModelStore,
    clock_ms: Callable[[], int],
    fail: Callable[[BaseException], Any],
    name: str,
) -> Topology:
    """Attach table, agent and runner to an app. Called on its event loop.

    Parameters
    ----------
    event_log : EventLog
        The same log as the app's broker, for reading.
    fail : callable
        Called with an error that must stop the worker: an event would be lost otherwise.
    """
    if is_kafka(settings):
        cast(Any, app.transport).use(event_log)
    histories = app.Table(
        HISTORIES_TABLE,
        partitions=settings.partitions,
        key_type=bytes,
        value_type=bytes,
        options=dict(ROCKSDB_OPTIONS),
    )
    timeline = read_timeline(event_log)

    rows = FaustRows(histories)
    engine = Engine(
        event_log,
        _append_through(app),
        rows,
        changelog=histories_changelog(settings.app_id),
        timeline=timeline,
        n_lately=settings.refresh_users,
        clock_ms=clock_ms,
    )

    def prepare(partition: int) -> None:
        timeline.extend(read_control(event_log))
        committed = event_log.committed(settings.app_id)
        # What was folded before is folded by the rules of then; only what follows by new ones.
        engine.recall(partition, committed.get(TopicPartition(INTERACTIONS, partition), 0))
        rules.adopt(
            event_log,
            timeline,
            settings,
            partition=partition,
            from_offset=engine.state(partition).next_offset,
            now_ms=clock_ms(),
        )

    runner = Runner(
        engine,
        ModelFeed(event_log, store),
        event_log,
        forgetter=Forgetter(
            event_log,
            histories_changelog(settings.app_id),
            forget=engine.forget,
            scrub=rows.scrub,
            clock_ms=clock_ms,
            grace_ms=forgetting.GRACE_MS,
        ),
        prepare=prepare,
        clock_ms=clock_ms,
        name=name,
    )

    # As many at a time as there are partitions: what waits together is folded together.
    @app.agent(
        BatchTopic.of(app, INTERACTIONS, partitions=settings.partitions),
        concurrency=settings.partitions,
    )
    async def ingest(stream: Any) -> None:
        async for event in stream.events():
            try:
                await runner.ingest(event.value)
            except Exception as error:
                # Faust would start the agent again behind this batch, and its events were lost.
                fail(error)
                raise

    @histories.on_recover
    async def take_over() -> None:
        mine = _mine(app.consumer.assignment())
        rows.keep_only(mine | {tp.partition for tp in app.assignor.assigned_standbys()})
        await runner.own(mine)

    @app.on_partitions_revoked.connect  # type: ignore[arg-type]  # Faust passes what it says
    async def let_go(_: Any, revoked: set[TP], **__: Any) -> None:
        await runner.revoke(_mine(revoked))

    return Topology(app, histories, ingest, runner)


def _mine(tps: set[TP]) -> set[int]:
    """Return the partitions of interactions among an assignment."""
    return {tp.partition for tp in tps if tp.topic == INTERACTIONS}


def _append_through(app: faust.App) -> Append:
    """Return how the engine's thread appends: by the app's consumer, which knows the group."""

    async def append_each(works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        consumer: Any = app.consumer
        done: list[list[Position] | LogFenced] = []
        for each in await asyncio.gather(
            *(consumer.append(records, offsets) for records, offsets in works),
            return_exceptions=True,
        ):
            if isinstance(each, BaseException) and not isinstance(each, LogFenced):
                raise each
            done.append(each)
        return done

    def append(works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        return asyncio.run_coroutine_threadsafe(append_each(works), app.loop).result()

    return append
