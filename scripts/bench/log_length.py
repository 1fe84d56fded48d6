#!/usr/bin/env python3
"""Scenario `log_length`: start of each role after logs of different length, checkpoint at 90 %.

Users and items are the same in every log; only the number of events differs, with one list for ten events.
A worker folds 90 % of them, makes checkpoints, and folds the rest. Then each role starts with nothing of its
own: a worker whose tables are gone, a trainer's inputs, a bridge's views, and the first question about a
history; with ``--without`` also without the checkpoints, in the same run. Seconds are those of the
processor, which a busy machine changes least; those of the clock are printed too. ::

    scripts/bench/log_length.py                        # 1 and 10 million events, some 15 minutes
    scripts/bench/log_length.py --events 30000000      # some 20 minutes, 8 GB of disk
    scripts/kafka start && scripts/bench/log_length.py --broker kafka://127.0.0.1:9092 --events 1000000

No more than `FOLDED` events before the checkpoint are folded. Those before them are in the log, behind an
empty checkpoint, as if their users had been erased: a log of 30 million events is made in minutes. On Kafka
one length is measured at a time, on a new cluster (`scripts/kafka format`).
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

import msgspec
import numpy as np
import rocksdict
from results import Row, save

from recstream.bridge.views.lists import Views
from recstream.checkpoints import Manifest, open_checkpoints
from recstream.checkpoints.columns import write_rows
from recstream.checkpoints.manifest import file_name
from recstream.control import submit
from recstream.core.history import table_rows
from recstream.core.records import LIST_FORMAT, CheckpointRequested, ListColumns
from recstream.log import (
    INTERACTIONS,
    RECOMMENDATIONS,
    EventLog,
    NewRecord,
    TopicPartition,
    TopicSpec,
    histories_changelog,
    open_log,
    partition_for,
    topic_specs,
)
from recstream.log.embedded import EmbeddedLog, maintain
from recstream.log.kafka import KafkaLog
from recstream.settings import Settings
from recstream.time_travel import Snapshots
from recstream.trainer.inputs import Inputs
from recstream.worker import process as worker

PARTITIONS = 4
ITEMS_EACH = 20
N_ITEMS = 20_000
ENVELOPE = 500
FOLDED = 900_000
"""Most events before the checkpoint that a worker folds; enough for all entries of 50,000 users."""
WAIT_S = 3_600.0


def append_events(log: EventLog, first: int, count: int, n_users: int) -> None:
    """Append events: each user returns to the same items again and again."""
    rng = np.random.Generator(np.random.PCG64(first))
    parts: dict[int, list[bytes]] = {p: [] for p in range(PARTITIONS)}
    partitions = [partition_for(b"u%d" % user, PARTITIONS) for user in range(n_users)]
    users = rng.integers(n_users, size=count)
    which = rng.integers(ITEMS_EACH, size=count)
    records: list[NewRecord] = []
    for number, (user, item) in enumerate(zip(users.tolist(), which.tolist(), strict=True), first):
        seconds = number // 100
        part = parts[partitions[user]]
        part.append(
            b'{"id":"e%d","type":"view","user":"u%d","item":"p%d","ts":"2026-%02d-%02dT%02d:%02d:%02dZ"}'
            % (
                *(number, user, (user * 7 + item * 997) % N_ITEMS),
                *(1 + seconds // 2_419_200 % 12, 1 + seconds // 86_400 % 28),
                *(seconds // 3600 % 24, seconds // 60 % 60, seconds % 60),
            )
        )
        if len(part) == ENVELOPE:
            records.append(_envelope(part, partitions[user]))
            if len(records) == 100:
                log.append(records)
                records = []
    records += [_envelope(part, partition) for partition, part in parts.items() if part]
    log.append(records)


def _envelope(part: list[bytes], partition: int) -> NewRecord:
    record = NewRecord(INTERACTIONS, None, b"[" + b",".join(part) + b"]", partition)
    part.clear()
    return record


def append_unfolded(log: EventLog, count: int, settings: Settings) -> None:
    """Append events that no history has: an empty checkpoint and the group's offsets are behind them."""
    here = [
        b'{"id":"f%d","type":"view","user":"f%d","item":"p1","ts":"2026-01-01T00:00:00Z"}' % (n, n)
        for n in range(ENVELOPE)
    ]
    records = [_envelope(list(here), at % PARTITIONS) for at in range(100)]
    for _ in range(count // ENVELOPE // len(records)):
        log.append(records)
    checkpoints, content = open_checkpoints(log, settings), write_rows([])[0]
    changelog = histories_changelog(settings.app_id)
    for partition in range(PARTITIONS):
        end = log.high_watermark(INTERACTIONS, partition)
        row = table_rows.encode_row(table_rows.AppliedRow(end, end))
        (at,) = log.append([NewRecord(changelog, table_rows.APPLIED_KEY, row, partition)])
        digest = checkpoints.digest(content)
        manifest = Manifest(
            name=file_name(partition, end, digest), epoch=log.epoch, topic=INTERACTIONS,
            partition=partition, partitions=PARTITIONS, offset=end, listed_offset=end,
            changelog=changelog, changelog_offset=at.offset, digest=digest, size=len(content),
            n_users=0, n_entries=0, n_events=0, made_ts=0,
        )  # fmt: skip
        checkpoints.put(manifest, content)
        log.append(
            [], group=settings.app_id, offsets={TopicPartition(INTERACTIONS, partition): end}
        )


def append_lists(log: EventLog, first: int, count: int, n_users: int) -> None:
    """Append lists of 20 items without reasons, some 400 bytes each."""
    rng = np.random.Generator(np.random.PCG64(first))
    items = [f"product-{number}" for number in range(20)]
    for start in range(first, first + count, 1_000):
        log.append(
            [
                NewRecord(RECOMMENDATIONS, each.user.encode(), msgspec.msgpack.encode(each))
                for number in range(start, min(start + 1_000, first + count))
                for each in [
                    ListColumns(
                        form=LIST_FORMAT, user=f"u{number % n_users}", generation=1, delta=0,
                        control=-1, arm="", partition=0, as_of=number, source="fold-in",
                        items=tuple(items), scores=rng.bytes(80), was=(0,) * 20,
                        n_reasons=bytes(20), codes=b"", shares=b"", entries=(), events=b"",
                        ages=(), rules=(), event_id=f"e{number}", event_ts=0, appended_ts=0,
                        folded_ts=0, published_ts=0, now=0,
                    )
                ]
            ]
        )  # fmt: skip


def append_list_rows(log: EventLog, settings: Settings) -> None:
    """Append the row of the newest list of each partition, which a worker appends with it."""
    for partition in range(PARTITIONS):
        end = log.high_watermark(RECOMMENDATIONS, partition)
        if end:
            (newest,) = log.read(RECOMMENDATIONS, partition, end - 1, 1)
            row = table_rows.encode_row(table_rows.ListRow(1, 0, (), offset=newest.offset))
            key = table_rows.list_key(newest.key or b"")
            log.append([NewRecord(histories_changelog(settings.app_id), key, row, partition)])


def has_folded(log: EventLog, settings: Settings) -> bool:
    """Return whether the workers have committed all events."""
    committed = log.committed(settings.app_id)
    return all(
        committed.get(TopicPartition(INTERACTIONS, p), 0) == log.high_watermark(INTERACTIONS, p)
        for p in range(PARTITIONS)
    )


async def run_worker(log: EventLog, settings: Settings, *, checkpoint: bool = False) -> None:
    """Run a worker until it has folded everything, and made checkpoints."""
    stop = asyncio.Event()
    begun = perf_counter()
    task = asyncio.create_task(worker.serve(settings, stop=stop))
    while not (has_folded(log, settings) and _tables(log, settings)):
        await asyncio.sleep(0.1)
        if task.done() or perf_counter() - begun > WAIT_S:
            message = f"the worker did not fold the events: {task}"
            raise SystemExit(message)
    if checkpoint:
        submit(log, CheckpointRequested(id="bench", requested_ts=1))
        checkpoints = open_checkpoints(log, settings)
        while len([each for each in checkpoints.all() if each.n_users]) < PARTITIONS:  # noqa: ASYNC110 - another process makes them
            await asyncio.sleep(0.1)
    stop.set()
    await task


def _tables(log: EventLog, settings: Settings) -> bool:
    """Return whether all tables hold what the changelog holds, by the position that Faust keeps."""
    folder = settings.path("tables", settings.app_id, log.epoch)
    paths = list(folder.glob("worker-1/*.db"))
    if len(paths) < PARTITIONS:
        return False
    changelog = histories_changelog(settings.app_id)
    for path in paths:
        try:
            options = rocksdict.Options(raw_mode=True)
            database = rocksdict.Rdict(
                str(path), options, access_type=rocksdict.AccessType.read_only()
            )
        except Exception:  # noqa: BLE001 - rocksdict raises no other
            return False
        offset = database.get(b"__faust\0offset__")
        database.close()
        partition = int(path.stem.rpartition("-")[2])
        end = log.high_watermark(changelog, partition)
        if isinstance(log, KafkaLog):  # transaction markers are behind the last row
            end = log.visible_end(changelog, partition)
        if offset is None or int(offset) + 1 < end:
            return False
    return True


class Start(NamedTuple):
    """What a start took."""

    cpu_s: float
    wall_s: float


def measure_starts(log: EventLog, settings: Settings, folder: Path) -> dict[str, Start]:
    """Return what the start of each role takes with nothing of its own."""
    found = {}

    def timed(role: str, start: Any) -> None:
        begun = process_time(), perf_counter()
        start()
        found[role] = Start(process_time() - begun[0], perf_counter() - begun[1])
        print(role, found[role], file=sys.stderr)

    checkpoints = open_checkpoints(log, settings)

    def start_trainer() -> None:
        inputs = Inputs(settings, log)
        while not inputs.is_caught_up:
            inputs.poll(1.0)
        inputs.close()

    def start_bridge() -> None:
        changelog = histories_changelog(settings.app_id)
        views = Views(folder / "views", log, changelog=changelog, checkpoints=checkpoints)
        tail = log.tail(views.positions())
        ends = {tp: log.high_watermark(*tp) for tp in tail.positions()}
        while records := tail.poll(1.0, 2_000):
            views.apply(records)
            if all(at >= ends[tp] for tp, at in tail.positions().items()):
                break
        tail.close()
        views.close()

    def ask() -> None:
        snapshots = Snapshots(log, folder / "past", checkpoints=checkpoints)
        partition = snapshots.partition("u1")
        snapshots.history("u1", log.high_watermark(INTERACTIONS, partition) - 1)
        snapshots.close()

    shutil.rmtree(settings.path("tables"), ignore_errors=True)
    timed("worker", lambda: asyncio.run(run_worker(log, settings)))
    timed("trainer", start_trainer)
    timed("bridge", start_bridge)
    timed("time travel", ask)
    return found


def measure(n_events: int, n_users: int, broker: str, *, without: bool) -> dict[str, Any]:
    """Return the starts after so many events, with and without checkpoints."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(
            data_dir=name, partitions=PARTITIONS, log_level="WARNING",
            broker=broker or f"embedded://{name}/log.db?sync=normal",
        )  # fmt: skip
        log = open_log(settings.broker_url, settings)
        changelog = TopicSpec(histories_changelog(settings.app_id), PARTITIONS, compacted=True)
        log.create_topics((*topic_specs(PARTITIONS), changelog))
        begun = perf_counter()

        def say(step: str) -> None:
            print(f"{perf_counter() - begun:7.1f} s  {n_events:,} events: {step}", file=sys.stderr)

        first = n_events * 9 // 10
        n_folded = min(first, FOLDED)
        append_unfolded(log, first - n_folded, settings)
        append_events(log, 0, n_folded, n_users)
        append_lists(log, 0, first // 10, n_users)
        say("90 % of events and lists appended")
        append_list_rows(log, settings)
        asyncio.run(run_worker(log, settings, checkpoint=True))
        say("folded, checkpoints made")
        append_events(log, n_folded, n_events - first, n_users)
        append_lists(log, first // 10, (n_events - first) // 10, n_users)
        asyncio.run(run_worker(log, settings))
        say("the rest folded; starts follow")
        if isinstance(log, EmbeddedLog):
            maintain(log)
        size = sum(each.size for each in open_checkpoints(log, settings).all())
        found: dict[str, Any] = {"with": measure_starts(log, settings, folder / "a")}
        if without:
            # The announcements stay, but their files are gone: everything starts as before checkpoints.
            none = msgspec.structs.replace(settings, checkpoints=f"file://{name}/none")
            (folder / "none").mkdir()
            found["without"] = measure_starts(log, none, folder / "b")
        found["checkpoints"] = size
        log.close()
        return found


def main() -> None:
    """Run the scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--broker", default="", help="default: an embedded log in a new folder")
    parser.add_argument("--without", action="store_true", help="measure without checkpoints too")
    parser.add_argument("--save", action="store_true", help="write the result file")
    options = parser.parse_args()
    found = {}
    for n_events in options.events:
        found[n_events] = measure(n_events, options.users, options.broker, without=options.without)
        print(n_events, json.dumps(found[n_events]), file=sys.stderr)
    print(json.dumps(found, indent=2))
    if options.save:
        rows = [
            Row(
                round(found[n][how][role].cpu_s, 2),
                "s",
                f"processor time of the start of {role}, {n:,} events, {how} checkpoints",
            )
            for role in ("worker", "trainer", "bridge", "time travel")
            for how in ("with", "without")
            for n in options.events
            if how in found[n]
        ]
        where = "kafka" if options.broker else "embedded"
        title = f"Starts by the log's length, {where}: {options.users:,} users × {ITEMS_EACH} items"
        save(f"log_length-{where}" if options.broker else "log_length", title, rows)


if __name__ == "__main__":
    main()
