"""Small Faust apps for the tests; run as a program, one of them as a worker of its own process.

``python faust_apps.py URL DATADIR ordinary|batches``; SIGTERM stops it.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import faust
import rocksdict
from faust.types import StreamT

from recstream.errors import LogFenced
from recstream.log.faust import BatchTopic
from recstream.log.faust.consumer import Consumer
from recstream.log.port import NewRecord, Record, TopicPartition

DEADLINE_S = 60.0
PARTITIONS = 4
APP_ID = "demo"
CHANGELOG = f"{APP_ID}-counts-changelog"


def new_app(url: str, datadir: Path, *, store: str = "memory://") -> faust.App:
    return faust.App(
        APP_ID,
        broker=url,
        datadir=str(datadir),
        store=store,
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        web_enabled=False,
    )


def attach_ordinary(app: faust.App) -> Any:
    """Count events by key in a table, one message a record, in Faust's own way."""
    events = app.topic("events", key_type=str, value_type=bytes, value_serializer="raw")
    counts = app.Table("counts", default=int, key_type=str, value_type=int)

    @app.agent(events)
    async def count(stream: StreamT[bytes]) -> None:
        async for key, _ in stream.items():  # noqa: PERF102 - a stream, not a dict
            counts[key] = counts[key] + 1

    return counts


def attach_batches(app: faust.App) -> Any:
    """Count events by key with effects once: one append, then one RocksDB write, a batch."""
    events = BatchTopic.of(app, "events", partitions=PARTITIONS)
    counts = app.Table("counts", default=int, key_type=str, value_type=int)

    @app.agent(events)
    async def count(stream: StreamT[list[Record]]) -> None:
        async for event in stream.events():
            records: list[Record] = event.value
            partition = records[0].partition
            store: Any = counts.data
            db = store._db_for_partition(partition)
            rows: dict[bytes, bytes] = {}
            for record in records:
                assert record.key is not None
                key = b'"%s"' % record.key
                rows[key] = b"%d" % (int(rows.get(key) or db.get(key) or b"0") + 1)
            try:
                positions = await cast(Consumer, app.consumer).append(
                    [NewRecord(CHANGELOG, *row, partition) for row in rows.items()],
                    {TopicPartition("events", partition): records[-1].offset + 1},
                )
            except LogFenced:
                continue
            batch = rocksdict.WriteBatch(raw_mode=True)
            for key, value in rows.items():
                batch.put(key, value)
            batch.put(b"__faust\0offset__", b"%d" % positions[-1].offset)
            db.write(batch)

    return counts


@asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[None]:
    """Run an app in this loop, from its first assignment on."""
    await app.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            while app.rebalancing or not app.consumer.assignment():  # noqa: ASYNC110 - Faust tells nobody
                await asyncio.sleep(0.01)
        yield
    finally:
        await app.stop()


async def work(url: str, datadir: Path, kind: str) -> None:
    app = new_app(url, datadir, store="rocksdb://?driver=rocksdict")
    {"ordinary": attach_ordinary, "batches": attach_batches}[kind](app)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    async with running(app):
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
