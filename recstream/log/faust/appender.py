"""Appender: a thread that appends to the embedded log, so that no event loop waits for the disk.

Work that arrives during a transaction shares the next one, in order. While the log is unavailable
(a full disk, a locked file) the appender retries: nothing is dropped, and callers wait.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import NamedTuple, TypeVar

from recstream.errors import LogFenced, LogUnavailable
from recstream.log.embedded import EmbeddedLog
from recstream.log.port import NewRecord, Position, TopicPartition
from recstream.process import start_thread

log = logging.getLogger(__name__)

T = TypeVar("T")
Done = Callable[[list[Position] | None, BaseException | None], None]

_RETRY_S = (0.05, 0.2, 1.0)
_WARN_EVERY = 10
MAX_TOGETHER = 5_000


class _Work(NamedTuple):
    records: Sequence[NewRecord]
    offsets: Mapping[TopicPartition, int]
    done: Done


class Appender:
    """Appends to an embedded log in the background, in the order of the calls.

    Parameters
    ----------
    group : str
        Consumer group whose offsets are committed.

    Attributes
    ----------
    member : str
        This worker as a member of the group; until it is set, nobody owns what offsets name, so that
        appends with offsets are refused.
    """

    def __init__(self, event_log: EmbeddedLog, *, group: str, name: str = "log-appender") -> None:
        self.event_log = event_log
        self.group = group
        self.member = ""
        self._queue: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._n_open = 0
        self._taken: list[_Work] = []
        self._stopping = threading.Event()
        self._thread = start_thread(name, self._run, stopping=self._stopping, fail=self._abort)

    @property
    def n_open(self) -> int:
        """Number of records that are not durable yet."""
        return self._n_open

    def submit(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int] | None, done: Done
    ) -> None:
        """Append in the background; ``done(positions, error)`` is called in the thread."""
        with self._changed:
            if self._stopping.is_set():
                raise LogUnavailable("the log's appender has stopped; start the worker again")
            self._queue.append(_Work(records, offsets or {}, done))
            self._n_open += len(records)
            self._changed.notify()

    def call(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int] | None = None
    ) -> Future[list[Position]]:
        """Append in the background; return a future of the positions."""
        future: Future[list[Position]] = Future()

        def done(positions: list[Position] | None, error: BaseException | None) -> None:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(positions or [])

        self.submit(records, offsets, done)
        return future

    def append_all(
        self, works: Sequence[tuple[Sequence[NewRecord], Mapping[TopicPartition, int]]]
    ) -> list[list[Position] | LogFenced]:
        """Append works with offsets in the calling thread, in one transaction.

        Each work is written or refused as a whole. Retries while the log is unavailable, until
        `stop`.
        """
        done = self._retry(
            sum(len(records) for records, _ in works),
            lambda: self.event_log.append_each(works, group=self.group, member=self.member),
        )
        for each in done:
            if isinstance(each, Exception) and not isinstance(each, LogFenced):
                raise each
        return done

    def stop(self) -> None:
        """Append what was submitted, then end the thread."""
        with self._changed:
            self._stopping.set()
            self._changed.notify()
        self._thread.join()

    def _abort(self, error: BaseException) -> None:
        """Fail all pending appends after a thread error; their callers then stop the worker."""
        with self._changed:
            self._stopping.set()
            works, self._queue = list(self._queue), deque()
        for work in (*self._taken, *works):
            with contextlib.suppress(Exception):  # one of them may be the error's cause
                work.done(None, LogUnavailable(f"the log's appender has failed: {error!r}"))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopping.is_set():
                    self._changed.wait()
                if not self._queue:
                    return
                works = self._taken = self._gather()
            self._carry_out(works)
            self._taken = []

    def _gather(self) -> list[_Work]:
        """Take the next work, and those behind it that can share its transaction."""
        works = [self._queue.popleft()]
        n_records = len(works[0].records)
        while (
            self._queue
            and bool(self._queue[0].offsets) == bool(works[0].offsets)
            and n_records + len(self._queue[0].records) <= MAX_TOGETHER
        ):
            works.append(self._queue.popleft())
            n_records += len(works[-1].records)
        return works

    def _carry_out(self, works: Sequence[_Work]) -> None:
        """Append works together, or one by one if one of them is refused."""
        n_records = sum(len(work.records) for work in works)
        done: Sequence[list[Position] | Exception]
        try:
            done = self._retry(n_records, lambda: self._append(works))
        except Exception as reason:  # noqa: BLE001 - goes to whoever waits for these records
            if len(works) > 1 and not isinstance(reason, LogUnavailable):
                for work in works:
                    self._carry_out([work])
                return
            done = [reason] * len(works)
        self._n_open -= n_records
        for work, each in zip(works, done, strict=True):
            if isinstance(each, Exception):
                work.done(None, each)
            else:
                work.done(each, None)

    def _append(self, works: Sequence[_Work]) -> Sequence[list[Position] | Exception]:
        """Append works in one transaction; those with offsets are refused each on its own."""
        if works[0].offsets:
            pairs = [(work.records, work.offsets) for work in works]
            return self.event_log.append_each(pairs, group=self.group, member=self.member)
        positions = iter(self.event_log.append([r for work in works for r in work.records]))
        return [list(islice(positions, len(work.records))) for work in works]

    def _retry(self, n_records: int, append: Callable[[], T]) -> T:
        """Call ``append``, again and again while the log is unavailable."""
        attempt = 0
        while True:
            try:
                return append()
            except LogUnavailable as error:
                if self._stopping.is_set():
                    raise
                if attempt % _WARN_EVERY == 0:
                    log.warning("log unavailable, retrying records=%d: %s", n_records, error)
                self._stopping.wait(_RETRY_S[min(attempt, len(_RETRY_S) - 1)])
                attempt += 1
