"""Step 2 of the flow: waiting for the next append, also of another process, without polling.

Writers touch a small file beside the log after each commit; readers watch it by inotify, so an
idle reader costs nothing and a waiting one runs within a fraction of a millisecond. Where inotify
is missing (not Linux, or no instance left) the reader polls SQLite's ``data_version`` instead.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_IN_MODIFY = 0x2
_POLL_S = 0.003
_BUFFER = 64 * 1024


class Wakeup:
    """One reader's bell: rung by any writer's commit and by `wake`.

    Parameters
    ----------
    path : Path
        The file that writers touch.
    version : callable
        Returns a number that changes with each commit of any process; asked only when there is
        no inotify.
    """

    def __init__(self, path: Path, version: Callable[[], int]) -> None:
        self._version = version
        self._seen = -1
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        self._watch = _inotify(path)
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

    def clear(self) -> None:
        """Forget what rang so far; call before looking for new records."""
        for descriptor in self.descriptors:
            _drain(descriptor)
        if self._watch is None:
            self._seen = self._version()

    def wait(self, timeout_s: float) -> bool:
        """Wait until it rings; False after ``timeout_s``."""
        if self._watch is not None:
            return bool(self._poll.poll(max(0.0, timeout_s) * 1000))
        deadline = time.monotonic() + timeout_s
        while True:
            if self._version() != self._seen:
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


def _inotify(path: Path) -> int | None:
    """Return a descriptor that tells of writes to ``path``, or None where that can't be had."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        return None
    if libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_MODIFY) < 0:
        os.close(descriptor)
        return None
    return descriptor
