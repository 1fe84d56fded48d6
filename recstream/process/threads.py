"""Supervised background threads: restarted after an error or fatal to their role, never silent.

No other module creates a thread or leaves a future unwatched (`tests/test_layout.py`).
"""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

from recstream.errors import RecstreamError

log = logging.getLogger(__name__)

T = TypeVar("T")

_PAUSES_S = (0.1, 0.5, 2.0, 5.0)
STEADY_S = 10.0
"""A thread that has run for this long since its last error is healthy again."""

BACKGROUND_NICE = 10
"""Niceness of work that nobody waits for."""

Fail = Callable[[BaseException], object]


class SupervisedThread(threading.Thread):
    """A daemon thread that `start_thread` has started."""

    def __init__(
        self,
        name: str,
        run: Callable[[], object],
        fail: Fail | None,
        stopping: threading.Event,
        retry: tuple[type[Exception], ...],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._run_once = run
        self._fail = fail
        self._stopping = stopping
        self._retry = retry
        self._n_failures = 0
        self._started_s = monotonic()

    @property
    def is_healthy(self) -> bool:
        """Whether it runs, and has run for `STEADY_S` since its last error."""
        is_steady = not self._n_failures or monotonic() - self._started_s >= STEADY_S
        return self.is_alive() and is_steady

    def run(self) -> None:
        """Run until stopped, and again after errors that are not fatal."""
        while not self._stopping.is_set():
            try:
                self._run_once()
                if self._stopping.is_set():
                    return
                raise RuntimeError(f"thread {self.name} returned before it was stopped")  # noqa: TRY301 - one place for all errors
            except BaseException as error:
                if self._stopping.is_set():
                    return
                if self._fail is not None and not isinstance(error, self._retry):
                    log.critical("thread %s ended: %r", self.name, error, exc_info=error)
                    self._fail(error)
                    return
                self._pause(error)

    def _pause(self, error: BaseException) -> None:
        """Log an error, and wait before the next run: longer after every error in a row."""
        if monotonic() - self._started_s >= STEADY_S:
            self._n_failures = 0
        pause_s = _PAUSES_S[min(self._n_failures, len(_PAUSES_S) - 1)]
        self._n_failures += 1
        expected = isinstance(error, (*self._retry, RecstreamError))
        log.log(
            logging.WARNING if expected else logging.ERROR,
            "thread %s starts again in %g s: %s",
            self.name,
            pause_s,
            error if expected else repr(error),
            exc_info=None if expected else error,
        )
        self._stopping.wait(pause_s)
        self._started_s = monotonic()


def start_thread(
    name: str,
    run: Callable[[], object],
    *,
    stopping: threading.Event,
    fail: Fail | None = None,
    retry: tuple[type[Exception], ...] = (),
) -> SupervisedThread:
    """Start a daemon thread that runs until it is stopped; its errors are logged with its name.

    Parameters
    ----------
    run : callable
        Returns when ``stopping`` is set; to return earlier is an error.
    stopping : threading.Event
        Errors after it is set are expected.
    fail : callable, optional
        Called in the thread with an error that ends it; it must end the role. By default ``run`` is
        called again after every error, and `SupervisedThread.is_healthy` is False meanwhile.
    retry : tuple of exception types
        With ``fail``: errors after which ``run`` is called again, such as of a log that is away.
    """
    thread = SupervisedThread(name, run, fail, stopping, retry)
    thread.start()
    return thread


class Background:
    """A part of a role with a thread of its own: it runs `_run` from `start` to `stop`.

    Subclasses define `_run`, which returns once ``_stopping`` is set, and `_wake` if it may wait for
    anything else.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._stopping = threading.Event()
        self._thread: SupervisedThread | None = None

    def _run(self) -> None:
        raise NotImplementedError

    def _wake(self) -> None:
        """Make `_run` look at ``_stopping``."""

    def start(self, fail: Fail | None = None) -> None:
        """Start the thread; see `start_thread`."""
        self._thread = start_thread(self._name, self._run, stopping=self._stopping, fail=fail)

    @property
    def is_healthy(self) -> bool:
        """Whether the thread runs without errors."""
        return self._thread is not None and self._thread.is_healthy

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._wake()
        if self._thread is not None:
            self._thread.join()


def run_in_thread(name: str, job: Callable[[], object]) -> threading.Thread:
    """Run one short job in a daemon thread; an error is logged with the thread's name."""

    def run() -> None:
        try:
            job()
        except BaseException:
            log.exception("thread %s failed", name)
            raise

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def read_ahead(parts: Iterable[T]) -> Iterator[T]:
    """Yield parts in their order, while a thread makes the next one; its error is raised in its place."""
    iterator, end = iter(parts), object()
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        coming: Future[Any] = thread.submit(next, iterator, end)
        while (part := coming.result()) is not end:
            coming = thread.submit(next, iterator, end)
            yield part


def lower_priority() -> None:
    """Let the scheduler prefer all others to the calling thread. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICE)


def watch(future: asyncio.Future[Any] | Future[Any], name: str, fail: Fail | None = None) -> None:
    """Log the error of a future that nobody waits for, and pass it to ``fail``."""

    def look(done: Any) -> None:
        try:
            error = done.exception()
        except (asyncio.CancelledError, CancelledError):
            return
        if error is not None:
            log.error("%s failed: %r", name, error, exc_info=error)
            if fail is not None:
                fail(error)

    future.add_done_callback(look)
