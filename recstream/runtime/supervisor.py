"""Supervisor of the role processes: starts them, restarts one that dies, stops them in order.

Each role runs in its own session, so that Ctrl-C reaches the supervisor alone, which then stops the
roles in order. A role's standard input is a pipe from the supervisor: when the supervisor ends, even
by kill -9, the pipe closes and the role stops itself. Each role inherits the lock on the data
directory, so that no other supervisor starts there while one of them runs.
"""

import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recstream.errors import StartupError
from recstream.process import exit_text, is_running

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0
MAX_DOUBLINGS = 10
STEADY_S = 30.0
"""A role that ran this long is restarted with the shortest back-off."""
STARTUP_FAILURES = 3
"""Deaths in a row, each before `STEADY_S`, after which a role that never ran steadily can't start."""
DRAIN_S = 10.0
"""How long a role may take to stop before it is killed."""
MAX_LOG_BYTES = 16 * 1024 * 1024


class DirectoryLock:
    """A lock on a data directory for one supervisor and its roles.

    Parameters
    ----------
    wait_s : float
        How long roles whose supervisor has ended may take to stop.

    Raises
    ------
    StartupError
        Another supervisor or its roles run there.
    """

    def __init__(self, directory: Path, wait_s: float = DRAIN_S + 2.0) -> None:
        path = directory / "up.lock"
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + wait_s
        while not self._try():
            holder = os.pread(self.fd, 32, 0).decode(errors="replace").strip()
            is_held = holder.isdecimal() and is_running(int(holder))
            if is_held or time.monotonic() > deadline:
                os.close(self.fd)
                raise StartupError(
                    f"another `recstream up` (process {holder or 'unknown'}) runs on {directory}; "
                    "stop it first, or choose another folder with --data-dir"
                )
            time.sleep(0.1)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Release the lock here; roles that inherited it hold it until they end."""
        os.close(self.fd)


class Role:
    """A supervised process: its command, log file, restarts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_path: Path | None,
        lock_fd: int | None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.environ = environ
        self.command = list(command)
        self.log_path = log_path
        self.lock_fd = lock_fd
        self.process: subprocess.Popen[bytes] | None = None
        self.failures = 0
        self.was_steady = False
        self.started_s = 0.0
        self.restart_at_s = 0.0

    def start(self) -> None:
        """Start the process."""
        output = self._open_log()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self.command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self.environ,
                start_new_session=True,
                pass_fds=() if self.lock_fd is None else (self.lock_fd,),
            )
        finally:
            if output is not None:
                os.close(output)
        self.started_s = time.monotonic()

    def _open_log(self) -> int | None:
        if self.log_path is None:
            return None
        try:
            self.log_path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                if self.log_path.stat().st_size > MAX_LOG_BYTES:
                    self.log_path.replace(self.log_path.with_suffix(".old.log"))
            return os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            # A full disk must not end the supervisor: the role runs without its log file.
            log.warning("log file can't be opened path=%s: %s", self.log_path, error)
            return os.open(os.devnull, os.O_WRONLY)

    def log_tail(self, lines: int = 3) -> str:
        """Return the last lines of the process's log file."""
        if self.log_path is None or not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as file:
            file.seek(max(0, self.log_path.stat().st_size - 4096))
            text = file.read().decode(errors="replace")
        return "\n".join(text.strip().splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def reap(self) -> None:
        """Close the pipe of a process that has ended, and kill its remaining children."""
        if self.process is None:
            return
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Keeps the roles running until `stop`.

    Parameters
    ----------
    on_message : callable
        Called with a line for people, e.g. that a role died and when it is restarted.
    """

    def __init__(self, on_message: Callable[[str], None]) -> None:
        self.roles: list[Role] = []
        self._on_message = on_message

    def add(self, role: Role) -> None:
        """Start a role and supervise it from now on."""
        self.roles.append(role)
        self._start(role)

    def check(self) -> None:
        """Restart roles that died, after their back-off.

        Raises
        ------
        StartupError
            A role died or could not be started `STARTUP_FAILURES` times without ever having run for
            `STEADY_S`.
        """
        now = time.monotonic()
        for role in self.roles:
            process = role.process
            if process is None:
                if now >= role.restart_at_s:
                    self._start(role)
                continue
            is_steady = now - role.started_s > STEADY_S
            if process.poll() is None:
                role.was_steady |= is_steady
                continue
            role.reap()
            role.process = None
            role.failures = 0 if is_steady else role.failures
            self._back_off(role, exit_text(process.returncode))

    def _start(self, role: Role) -> None:
        try:
            role.start()
        except OSError as error:  # e.g. too many processes, or no memory
            self._back_off(role, f"was not started ({error})")

    def _back_off(self, role: Role, how: str) -> None:
        role.failures += 1
        lines = role.log_tail()
        quoted = f"; its last log lines:\n{lines}" if lines else ""
        if not role.was_steady and role.failures >= STARTUP_FAILURES:
            raise StartupError(
                f"the {role.name} can't start: it {how} {role.failures} times{quoted}"
            )
        doublings = min(role.failures - 1, MAX_DOUBLINGS)
        wait_s = min(FIRST_BACKOFF_S * 2**doublings, MAX_BACKOFF_S)
        role.restart_at_s = time.monotonic() + wait_s
        self._on_message(f"the {role.name} {how}; restarting it in {wait_s:g} s{quoted}")

    def stop(self, drain_s: float = DRAIN_S) -> None:
        """Stop the roles one after the other, in the order they were added.

        A role that takes longer than ``drain_s`` is killed; all are killed if this is interrupted.
        """
        try:
            for role in self.roles:
                role.signal(signal.SIGTERM)
                self._wait(role, drain_s)
        finally:
            for role in self.roles:
                role.signal(signal.SIGKILL)
                if role.process is not None:
                    role.process.wait()
                role.reap()
                role.process = None

    def _wait(self, role: Role, drain_s: float) -> None:
        if role.process is None:
            return
        try:
            role.process.wait(timeout=drain_s)
        except subprocess.TimeoutExpired:
            self._on_message(f"the {role.name} did not stop within {drain_s:g} s and is killed")


def role_command(role: str, flags: Sequence[str]) -> list[str]:
    """Return the command that runs a role; nothing is imported from the working directory (``-P``)."""
    return [sys.executable, "-P", "-m", "recstream", role, "--supervised", *flags]
