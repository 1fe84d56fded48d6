"""The roles as children of a fork server, each of which may kill itself at a chosen point.

Everything heavy is imported once, in the server, so that a life costs a fork and not a start.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import recstream.bridge.server
import recstream.trainer.process
import recstream.worker.process
from recstream.core.events import Event, encode_event, from_timestamp_ms
from recstream.log.embedded import EmbeddedLog
from recstream.log.embedded.storage import Storage
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord
from recstream.log.topics import INTERACTIONS
from recstream.models import DirectoryStore
from recstream.settings import Settings
from recstream.worker.engine import Engine
from recstream.worker.rocksdb_rows import RocksDBRows

PACE_S = 0.005
"""Between two appends, so that the others can follow."""

RUN: dict[str, Callable[[Settings], None]] = {
    "worker": recstream.worker.process.run,
    "trainer": recstream.trainer.process.run,
    "bridge": recstream.bridge.server.run,
}


def die(*_: object) -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(
    number: int, function: Callable[..., Any], *, after: bool = False
) -> Callable[..., Any]:
    """Return the function, which dies before (or after) its n-th call."""
    left = [number]

    def counted(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and not after:
            die()
        answer = function(*arguments, **options)
        if left[0] == 0:
            die()
        return answer

    return counted


def in_commit(number: int, *, after: bool) -> None:
    """Die inside the n-th transaction of the log: all written but not committed, or just committed."""
    original = Storage.write
    left = [number]

    @contextlib.contextmanager
    def write(storage: Storage) -> Iterator[sqlite3.Connection]:
        with original(storage) as connection:
            yield connection
            left[0] -= 1
            if left[0] == 0 and not after:
                die()
        if left[0] == 0:
            die()

    Storage.write = write


POINTS: dict[str, Callable[[int], None]] = {
    "before the rows are written": lambda n: setattr(
        RocksDBRows, "write", at_call(n, RocksDBRows.write)
    ),
    "after the rows are written": lambda n: setattr(
        RocksDBRows, "write", at_call(n, RocksDBRows.write, after=True)
    ),
    "inside the log's transaction": lambda n: in_commit(n, after=False),
    "after the log's transaction": lambda n: in_commit(n, after=True),
    "while an artifact is written": lambda n: setattr(os, "fsync", at_call(n, os.fsync)),
    "before an artifact is announced": lambda n: setattr(
        DirectoryStore, "put", at_call(n, DirectoryStore.put, after=True)
    ),
    "before a model is swapped in": lambda n: setattr(
        Engine, "activate", at_call(n, Engine.activate)
    ),
    "after a model is swapped in": lambda n: setattr(
        Engine, "activate", at_call(n, Engine.activate, after=True)
    ),
}
"""Where a role can be made to die: the point, with the number of the call it is reached by."""


def live(role: str, settings: Settings, point: str | None, number: int) -> None:
    """Run a role until it is killed or told to stop."""
    logging.basicConfig(filename=settings.path("roles.log"), level="WARNING")
    if point is not None:
        POINTS[point](number)
    RUN[role](settings)


def bring_in(settings: Settings, seed: int, acknowledged: Path) -> None:
    """Append events without end, single ones and envelopes, and note the ids of those acknowledged."""
    rng = np.random.default_rng(seed)
    log = EmbeddedLog(settings.path("log.db"), sync="normal")
    partitions = settings.partitions
    with acknowledged.open("a", encoding="utf-8") as notes:
        for number in range(10**9):
            events = [
                Event(
                    id=f"{seed}-{number}-{at}",
                    type=str(rng.choice(["view", "cart", "purchase", "dislike", "remove"])),
                    user=f"u{rng.integers(40)}",
                    item=f"i{rng.zipf(1.4) % 60}",
                    ts=from_timestamp_ms(1_700_000_000_000 + (seed * 10_000 + number) * 1000),
                )
                for at in range(int(rng.integers(1, 6)))
            ]
            by_partition: dict[int, list[Event]] = {}
            for event in events:
                by_partition.setdefault(partition_for(event.user.encode(), partitions), []).append(
                    event
                )
            records = [
                NewRecord(INTERACTIONS, group[0].user.encode(), encode_event(group[0]))
                if len(group) == 1
                else NewRecord(
                    INTERACTIONS, None, b"[" + b",".join(map(encode_event, group)) + b"]", partition
                )
                for partition, group in by_partition.items()
            ]
            log.append(records)
            notes.write("".join(f"{event.id}\n" for event in events))
            notes.flush()
            time.sleep(PACE_S)


class Nursery:
    """Starts and kills lives of roles."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.crash.preload"])

    def start(self, target: Callable[..., None], *arguments: Any) -> Any:
        """Return a running child."""
        child = self._context.Process(target=target, args=arguments, daemon=True)
        child.start()
        return child
