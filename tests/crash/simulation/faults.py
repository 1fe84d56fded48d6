"""Faults at chosen points in the order of a worker's effects, all in one process.

A point is a place that a worker reaches: a read of the log, the begin, commit and end of a
transaction, a row read or written, a model read. `Faults.arm` chooses a point and the number of
times it is reached first; `Faults.acting` counts what one worker reaches. Nothing here waits or
uses another thread, so the same seed gives the same order of effects.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

from recstream.errors import LogUnavailable, ModelStoreUnavailable
from recstream.log.embedded.storage import Storage
from recstream.log.faust import appender
from recstream.models import DirectoryStore
from recstream.worker.rocksdb_rows import RocksDBRows

SIMULATED = "simulated fault"

LOG = ["log read", "transaction begins", "transaction commits", "transaction committed"]
ROWS = ["row read", "rows not written", "rows written"]
FILES = ["file not stored", "file stored", "file not deleted"]
ELIGIBLE = {
    "crash": [*LOG, *ROWS, *FILES, "append acknowledged", "model read"],
    "crash of all": [*LOG, *ROWS, *FILES],
    "log away": ["log read", "transaction begins"],
    "unknown outcome": ["append acknowledged"],
    "takeover": ["log read", "transaction begins", "transaction committed", *ROWS],
    "rows not written": ["rows not written"],
    "rows not read": ["row read"],
    "model away": ["model read"],
    "store away": ["file not stored", "file not deleted"],
}
"""Kinds of faults, and the points at which each may happen."""


class Crash(BaseException):
    """The end of one worker, as by kill -9."""


class CrashOfAll(Crash):
    """The end of all workers and clients at once; the system's disk cache survives."""


class Faults:
    """One fault at a time, at a point that is chosen beforehand."""

    def __init__(self) -> None:
        self.take_over: Callable[[Any], None] = lambda _: None
        self.is_locked: Callable[[], bool] = lambda: False
        self.happened: Counter[str] = Counter()
        self.last = ""
        self._actor: Any = None
        self._reached: Counter[str] = Counter()
        self._kind: str | None = None
        self._point = ""
        self._left = self._repeats = 0
        self._is_writing = False

    def arm(self, rng: random.Random, kinds: Iterable[str] = tuple(ELIGIBLE)) -> None:
        """Choose a fault, a point reached since the last one, and how often it is reached first."""
        reached = {kind: [at for at in ELIGIBLE[kind] if self._reached[at]] for kind in kinds}
        self._kind = rng.choice([kind for kind, points in reached.items() if points] or [*reached])
        self._point = rng.choice(reached[self._kind] or ELIGIBLE[self._kind])
        self._left = rng.randint(1, max(1, self._reached[self._point]))
        self._repeats = rng.choice([0, 0, 1, 3])
        self._reached.clear()

    def disarm(self) -> None:
        """Let nothing happen until the next `arm`."""
        self._kind = None

    def forget(self) -> None:
        """Begin as new, except for the counts."""
        self.disarm()
        self._reached.clear()
        self.last = "nothing"

    @property
    def is_armed(self) -> bool:
        """Whether the chosen fault has yet to happen."""
        return self._kind is not None

    @contextlib.contextmanager
    def acting(self, worker: Any) -> Iterator[None]:
        """Count what happens in the block as this worker's."""
        before, self._actor = self._actor, worker
        try:
            yield
        finally:
            self._actor = before

    def reach(self, point: str) -> None:
        """Let the fault happen if it is due here."""
        if self._actor is None or threading.current_thread() is not threading.main_thread():
            return
        self._reached[point] += 1
        if self._kind is None or point != self._point:
            return
        self._left -= 1
        if self._left > 0 or (self._kind == "takeover" and self.is_locked()):
            return
        kind, self.last = self._kind, f"{self._kind} at {point!r}"
        if kind in {"log away", "model away", "store away"} and self._repeats:
            self._repeats -= 1  # also the next time
        else:
            self._kind = None
            self.happened[kind] += 1
        self._happen(kind)

    def _happen(self, kind: str) -> None:
        if kind == "takeover":
            worker = self._actor
            with self.acting(None):
                self.take_over(worker)
            return
        raise {
            "crash": Crash(),
            "crash of all": CrashOfAll(),
            "log away": LogUnavailable(SIMULATED),
            "unknown outcome": LogUnavailable(f"{SIMULATED}: no answer"),
            "rows not written": OSError(28, f"{SIMULATED}: No space left on device"),
            "rows not read": OSError(5, f"{SIMULATED}: Input/output error"),
            "model away": ModelStoreUnavailable(SIMULATED),
            "store away": ModelStoreUnavailable(SIMULATED),
        }[kind]

    def around(self, function: Callable[..., Any], before: str, after: str = "") -> Any:
        """Return a function with a point before it, and one after it."""

        def reaching(*arguments: Any, **options: Any) -> Any:
            self.reach(before)
            answer = function(*arguments, **options)
            if after:
                self.reach(after)
            return answer

        return reaching

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Put the points into the classes that reach the outside."""
        with contextlib.ExitStack() as patches:
            for owner, name, replacement in self.patches():
                patches.enter_context(mock.patch.object(owner, name, replacement))
            yield

    def patches(self) -> Iterator[tuple[Any, str, Any]]:
        """Yield owner, name and replacement of what has a point."""
        write, write_rows, database = Storage.write, RocksDBRows.write, RocksDBRows._database

        @contextlib.contextmanager
        def writing(storage: Storage) -> Iterator[sqlite3.Connection]:
            self.reach("transaction begins")
            with write(storage) as connection:
                yield connection
                self.reach("transaction commits")
            self.reach("transaction committed")

        def writing_rows(rows: RocksDBRows, *arguments: Any) -> None:
            self._is_writing = True
            write_rows(rows, *arguments)
            self.reach("rows written")

        def opening(rows: RocksDBRows, partition: int) -> Any:
            is_writing, self._is_writing = self._is_writing, False
            self.reach("rows not written" if is_writing else "row read")
            return database(rows, partition)

        yield appender, "_RETRY_S", (0.0,)
        yield Storage, "write", writing
        yield Storage, "read", self.around(Storage.read, "log read")
        yield RocksDBRows, "write", writing_rows
        yield RocksDBRows, "_database", opening
        store = DirectoryStore
        yield store, "get", self.around(store.get, "model read")
        yield store, "put", self.around(store.put, "file not stored", "file stored")
        yield store, "delete", self.around(store.delete, "file not deleted")


def is_simulated(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised for, is a simulated fault."""
    while error is not None:
        if SIMULATED in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
