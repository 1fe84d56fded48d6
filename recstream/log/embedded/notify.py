"""Notifications between processes: wait for the next append without polling.

Each topic has a small notification file next to the log. Writers touch it after each commit to the
topic, and readers watch it by inotify: an idle reader costs nothing, a waiting one wakes within a
fraction of a millisecond. Without inotify (not Linux, or no instance or watch left) the reader
polls the topics' next offsets every few milliseconds.
"""

import ctypes
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from urllib.parse import quote

from recstream.errors import LogUnavailable

GROUPS = ""
"""In place of a topic: changes of groups and members, and created topics."""
_IN_MODIFY = 0x2
_POLL_S = 0.003
_BUFFER = 64 * 1024
_NAME_BYTES = 160


class Notifier:
    """The writer's side: one notification file for each topic, touched after each commit.

    Parameters
    ----------
    path : Path
        The log; the notification files are in the same folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptors: dict[str, int] = {}
        self.prepare([GROUPS])

    def prepare(self, topics: Iterable[str]) -> None:
        """Open the files before the commit: nothing may fail after it."""
        for topic in topics:
            if topic not in self._descriptors:
                self._descriptors[topic] = _open(notification_path(self._path, topic))

    def notify(self, topics: Iterable[str]) -> None:
        """Wake every reader of these prepared topics, in every process."""
        for topic in topics:
            _touch(self._descriptors[topic])

    def close(self) -> None:
        """Release the descriptors."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


class Waiter:
    """The reader's side: wakes on commits of any process to the watched topics, and on `wake`.

    Parameters
    ----------
    version : callable
        Returns a number that changes with each append to the given topics. Called only when
        there is no inotify.
    """

    def __init__(self, path: Path, version: Callable[[Collection[str]], int]) -> None:
        self._path = path
        self._version = version
        self._seen = -1
        self._pipe_out, self._pipe_in = os.pipe()
        os.set_blocking(self._pipe_out, False)
        os.set_blocking(self._pipe_in, False)
        self._inotify = _inotify()
        self._watches: dict[str, int] = {}
        self._must_poll = self._inotify is None
        self._poll = select.poll()
        self._poll.register(self._pipe_out, select.POLLIN)
        if self._inotify is not None:
            self._poll.register(self._inotify, select.POLLIN)
        self._lock = threading.Lock()
        self._closed = False

    @property
    def descriptors(self) -> tuple[int, ...]:
        """File descriptors that become readable on a notification (for an event loop)."""
        return (self._pipe_out,) if self._inotify is None else (self._pipe_out, self._inotify)

    def listen(self, topics: Collection[str]) -> None:
        """Watch these topics (or `GROUPS`) and no others; call before looking for records."""
        if self._watches.keys() == set(topics):
            return
        for topic in self._watches.keys() - topics:
            self._unwatch(self._watches.pop(topic))
        for topic in topics - self._watches.keys():
            self._watches[topic] = self._watch(notification_path(self._path, topic))

    def _watch(self, path: Path) -> int:
        """Return the number of a new watch, -1 without inotify."""
        if self._inotify is None:
            return -1
        os.close(_open(path))
        number = int(_libc().inotify_add_watch(self._inotify, os.fsencode(path), _IN_MODIFY))
        self._must_poll = self._must_poll or number < 0
        return number

    def _unwatch(self, number: int) -> None:
        if self._inotify is not None and number not in {-1, *self._watches.values()}:
            _libc().inotify_rm_watch(self._inotify, number)

    def clear(self) -> None:
        """Discard the notifications so far; call before looking for new records."""
        for descriptor in self.descriptors:
            _drain(descriptor)
        if self._must_poll:
            self._seen = self._version(self._watches)

    def wait(self, timeout_s: float) -> bool:
        """Wait for a notification; False after ``timeout_s``."""
        if not self._must_poll:
            return bool(self._poll.poll(max(0.0, timeout_s) * 1000))
        deadline = time.monotonic() + timeout_s
        while True:
            if self._version(self._watches) != self._seen:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._poll.poll(min(_POLL_S, left) * 1000):
                return True

    def wake(self) -> None:
        """Notify this waiter from another thread."""
        with self._lock:
            if not self._closed:
                try:
                    os.write(self._pipe_in, b"\n")
                except BlockingIOError:
                    return  # the pipe is full of earlier notifications

    def close(self) -> None:
        """Release the descriptors."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for descriptor in (*self.descriptors, self._pipe_in):
                os.close(descriptor)


def _drain(descriptor: int) -> None:
    try:
        while len(os.read(descriptor, _BUFFER)) == _BUFFER:
            pass
    except BlockingIOError:
        return


def notification_path(path: Path, topic: str) -> Path:
    """Return a topic's notification file; long topic names with the same ending share one."""
    name = quote(topic, safe="")[-_NAME_BYTES:]
    return path.with_name(f"{path.name}-wake{name and '-'}{name}")


def _open(path: Path) -> int:
    """Open a notification file; a new one is created and written once, so that it has its block."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(descriptor).st_size == 0:
                _touch(descriptor)
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        raise LogUnavailable(
            f"{path} can't be written: {error}; make its folder writable and free some space"
        ) from error
    return descriptor


def _touch(descriptor: int) -> None:
    os.pwrite(descriptor, b"\n", 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _inotify() -> int | None:
    """Return an inotify descriptor, None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    descriptor = int(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    return None if descriptor < 0 else descriptor
