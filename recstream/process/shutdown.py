"""End a process in bounded time: after a signal, or when its supervisor is gone."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from recstream.process.threads import run_in_thread

log = logging.getLogger(__name__)

END_S = 8.0
"""Deadline after a signal; shorter than the time after which supervisors kill."""
STUCK_S = 30.0
"""Deadline of a role that stops after an error."""
DRAIN_S = 10.0
"""Deadline after the supervisor is gone."""


def is_running(process_id: int) -> bool:
    """Return whether a process runs; one that has ended, but whose parent has not noticed, does not."""
    try:
        os.kill(process_id, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def end_in_time(seconds: float = END_S) -> None:
    """End this process after a time, whatever it still waits for. Call it on SIGTERM.

    A role whose broker is away may wait in a call that nothing interrupts. Its unfinished work then
    ends as by a crash: nothing acknowledged is lost, and unacknowledged records are read again.
    """

    def watch() -> None:
        time.sleep(seconds)
        log.warning("not finished %g s after the signal, work under way is dropped", seconds)
        logging.shutdown()
        os._exit(0)

    run_in_thread("end-in-time", watch)


@contextlib.contextmanager
def ended_if_stuck(seconds: float = STUCK_S) -> Iterator[None]:
    """End this process with exit code 1 if the body takes longer, whatever it waits for.

    For a role that stops after an error: one that waits for ever holds no partition, reports no end, and
    no supervisor starts it again.
    """
    done = threading.Event()

    def watch() -> None:
        if not done.wait(seconds):
            log.error("not stopped %g s after an error, the process ends", seconds)
            logging.shutdown()
            os._exit(1)

    run_in_thread("end-if-stuck", watch)
    try:
        yield
    finally:
        done.set()


@contextlib.contextmanager
def stopped_by_signals(stopping: threading.Event, *, is_bounded: bool = True) -> Iterator[None]:
    """Set an event on SIGTERM and SIGINT; if bounded, also `end_in_time`. Only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(*_: object) -> None:
        stopping.set()
        if is_bounded:
            end_in_time()

    before = {each: signal.signal(each, handle) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def follow_parent(drain_s: float = DRAIN_S) -> None:
    """Stop this process when its standard input closes: the supervisor is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):  # a pipe that can't be read is as good as closed
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(drain_s)
        os._exit(1)  # nobody is left to enforce the deadline

    run_in_thread("follow-parent", watch)


def exit_text(returncode: int) -> str:
    """Return how a child process ended, in words.

    Examples
    --------
    >>> exit_text(3)
    'ended with exit code 3'
    >>> exit_text(-9)
    'was killed by SIGKILL'
    """
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # real-time signals but two have no name
        name = f"signal {-returncode}"
    return f"was killed by {name}"
