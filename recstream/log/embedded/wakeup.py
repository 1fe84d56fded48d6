"""Step 2 of the flow: waiting for the next append, also of another process, without polling.

Each topic has a bell: a small file beside the log that writers touch after a commit to that topic.
Readers watch the bells of what they read by inotify, so an idle reader costs nothing, whatever is
written elsewhere, and a waiting one runs within a fraction of a millisecond. Where inotify is
missing (not Linux, or no instance or watch left) the reader asks for the topics' next offsets
every few milliseconds instead.
"""

from __future__ import annotations

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
"""The bell of what is no topic: groups and their members, and topics that were made."""
_IN_MODIFY = 0x2
_POLL_S = 0.003
_BUFFER = 64 * 1024
_NAME_BYTES = 160


class Bells:
    """The writers' side: one small file for each topic, touched after each commit to it.

    Parameters
    ----------
    path : Path
        The log; the bells lie beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptors: dict[str, int] = {}
        self.prepare([GROUPS])

    def prepare(self, topics: Iterable[str]) -> None:
        """Open what will be rung, before the commit: afterwards nothing may fail."""
        for topic in topics:
            if topic not in self._descriptors:
                self._descriptors[topic] = _opened(bell_path(self._path, topic))

    def ring(self, topics: Iterable[str]) -> None:
        """Wake every reader of these topics, in every process; they were prepared."""
        for topic in topics:
            _touch(self._descriptors[topic])

    def close(self) -> None:
        """Release the descriptors."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


class Wakeup:
    """One reader's ear: it hears commits of any process to what it listens to, and `wake`.

    Parameters
    ----------
    path : Path
        The log.
    version : callable
        Returns a number that changes with each append to the topics given, by any process; asked
        only when there is no inotify.
    """

    def __init__(self, path: Path, version: Callable[[Collection[str]], int]) -> None:
        self._path = path
        self._version = version
        self._seen = -1
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        self._watch = _inotify()
        self._watched: dict[str, int] = {}
        self._is_deaf = self._watch is None
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        if self._watch is not None:
            self._poll.register(self._watch, select.POLLIN)
        self._lock = threading.Lock()
        self._closed = False

    @property
    def descriptors(self) -> tuple[int, ...]:
        """File descriptors that become readable when the bell rings (for an event loop)."""
        return (self._bell,) if self._watch is None else (self._bell, self._watch)

    def listen(self, topics: Collection[str]) -> None:
        """Listen to these topics (or `GROUPS`), and to no others; call before looking for records."""
        if self._watched.keys() == set(topics):
            return
        for topic in self._watched.keys() - topics:
            self._unwatch(self._watched.pop(topic))
        for topic in topics - self._watched.keys():
            self._watched[topic] = self._watch_file(bell_path(self._path, topic))

    def _watch_file(self, path: Path) -> int:
        """Return the number of a new watch; without inotify there is none, and it is -1."""
        if self._watch is None:
            return -1
        os.close(_opened(path))
        number = int(_libc().inotify_add_watch(self._watch, os.fsencode(path), _IN_MODIFY))
        self._is_deaf = self._is_deaf or number < 0
        return number

    def _unwatch(self, number: int) -> None:
        if self._watch is not None and number not in {-1, *self._watched.values()}:
            _libc().inotify_rm_watch(self._watch, number)

    def clear(self) -> None:
        """Forget what rang so far; call before looking for new records."""
        for descriptor in self.descriptors:
            _drain(descriptor)
        if self._is_deaf:
            self._seen = self._version(self._watched)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it rings; False after ``timeout_s``."""
        if not self._is_deaf:
            return bool(self._poll.poll(max(0.0, timeout_s) * 1000))
        deadline = time.monotonic() + timeout_s
        while True:
            if self._version(self._watched) != self._seen:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._poll.poll(min(_POLL_S, left) * 1000):
                return True

    def wake(self) -> None:
        """Ring from another thread."""
        with self._lock:
            if not self._closed:
                try:
                    os.write(self._ring, b"\n")
                except BlockingIOError:
                    return  # the pipe is full of earlier rings

    def close(self) -> None:
        """Release the descriptors."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for descriptor in (*self.descriptors, self._ring):
                os.close(descriptor)


def _drain(descriptor: int) -> None:
    try:
        while len(os.read(descriptor, _BUFFER)) == _BUFFER:
            pass
    except BlockingIOError:
        return


def bell_path(path: Path, topic: str) -> Path:
    """Return a topic's bell beside a log; topics whose long names end alike share one."""
    name = quote(topic, safe="")[-_NAME_BYTES:]
    return path.with_name(f"{path.name}-wake{name and '-'}{name}")


def _opened(path: Path) -> int:
    """Open a bell for ringing; made, and rung once so that its block is there, if it is new."""
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
    """Return a descriptor for watches, or None where that can't be had."""
    if not sys.platform.startswith("linux"):
        return None
    descriptor = int(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    return None if descriptor < 0 else descriptor
