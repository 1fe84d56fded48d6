"""Where a training runs: in this process, or in a process of its own.

A `TrainingBackend` gets a job and returns its artifact and evaluation. Another engine implements it by the
folders of `recstream.trainer.training.files`: `save_job`, its own work, `load_result`.
"""

import contextlib
import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import msgspec

from recstream.core.als import Iteration
from recstream.errors import TrainingDied, TrainingFailed
from recstream.process import BACKGROUND_NICE, exit_text, run_in_thread
from recstream.trainer.training.files import load_job, load_result, save_job, save_result
from recstream.trainer.training.job import OnIteration, TrainingJob, TrainingResult, run_job

log = logging.getLogger(__name__)

MAX_PAUSE_S = 3.0
MIN_RUN_S = 1.0
"""While the trainer is behind, the process is paused for at most MAX_PAUSE_S at a time, and then runs
for at least MIN_RUN_S."""
MAX_ATTEMPTS = 2
"""Maximum number of starts of a training process."""
EXIT_TIMEOUT_S = 10.0
"""Time for a process to exit after it closed its end of the socket."""
PR_SET_PDEATHSIG = 1
_PREFIX = "training-"


class TrainingBackend(Protocol):
    """Runs one training."""

    def run(self, job: TrainingJob, progress: OnIteration) -> TrainingResult:
        """Return the result of a job; blocks, and calls ``progress`` after every ALS iteration.

        Raises
        ------
        TrainingDied
            What runs the job ended early, or it was cancelled.
        TrainingFailed
            The job failed, or its result can't be used.
        ArtifactCorrupt
            The artifact does not match its digest.
        """

    def cancel(self) -> None:
        """Make `run` in another thread end soon; may be called at any time."""

    def pause_while_behind(self, is_behind: bool) -> None:
        """Pause the training while the trainer is behind, if the backend can."""


class InProcessBackend:
    """Runs a job in the calling thread."""

    def run(self, job: TrainingJob, progress: OnIteration) -> TrainingResult:
        """Return the result of a job."""
        return run_job(job, progress)

    def cancel(self) -> None:
        """Return at once: the job is finished first."""

    def pause_while_behind(self, is_behind: bool) -> None:
        """Return at once: this backend can't pause."""


class SubprocessBackend:
    """Runs a job in a process of its own, at low priority; it is killed with the trainer.

    Parameters
    ----------
    folder : Path
        Where the folders of jobs are made; they hold histories, and are deleted after use.
    """

    def __init__(self, folder: Path, *, nice: int = BACKGROUND_NICE) -> None:
        self._folder, self._nice = folder, nice
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._is_cancelled = self._is_paused = False
        self._turns_at = 0.0

    def run(self, job: TrainingJob, progress: OnIteration) -> TrainingResult:
        """Return the result of a job; a process that dies is started once more."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _delete_stale(self._folder)
        with tempfile.TemporaryDirectory(
            prefix=f"{_PREFIX}{os.getpid()}-", dir=self._folder
        ) as name:
            source, target = Path(name, "job"), Path(name, "result")
            source.mkdir()
            save_job(source, job)
            for left in reversed(range(MAX_ATTEMPTS)):
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir()
                with self._lock:
                    if self._is_cancelled:
                        break
                    process = self._process = _Process(source, target, self._nice)
                try:
                    process.run(progress)
                    return load_result(target)
                except TrainingDied as error:
                    if not left:
                        raise
                    if not self._is_cancelled:
                        log.warning("training started again: %s", error)
            raise TrainingDied("the training was cancelled")

    def cancel(self) -> None:
        """Kill the process, and start no other."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                self._process.kill()

    def pause_while_behind(self, is_behind: bool) -> None:
        """Pause the process while the trainer is behind, for a limited time."""
        with self._lock:
            if self._process is None or monotonic() < self._turns_at:
                return
            if self._is_paused:
                if is_behind and monotonic() < self._turns_at + MAX_PAUSE_S:
                    return
                self._turns_at = monotonic() + MIN_RUN_S
            elif not is_behind:
                return
            else:
                self._turns_at = monotonic()
            self._is_paused = not self._is_paused
            self._process.pause(self._is_paused)


def _delete_stale(folder: Path) -> None:
    """Delete the folders of trainers that were killed: they hold histories."""
    for path in folder.glob(f"{_PREFIX}*-*"):
        pid = path.name.split("-")[1]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(path, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


class _Process:
    """A training process for one job, as the trainer sees it."""

    def __init__(self, source: Path, target: Path, nice: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [
                        *(sys.executable, "-P", "-m", "recstream.trainer.training.backend"),
                        *(str(theirs.fileno()), str(nice), str(source), str(target)),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except OSError as error:
                ours.close()
                raise TrainingDied(f"the training process can't be started: {error}") from error
        self._socket, self._answers = ours, ours.makefile("r", encoding="utf-8")
        self.dies_with_parent = self._is_paused = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def run(self, progress: OnIteration) -> None:
        """Wait until the result is written."""
        try:
            while True:
                answer = self._answer()
                if "dies_with_parent" in answer:
                    self.dies_with_parent = bool(answer["dies_with_parent"])
                elif "iteration" in answer:
                    progress(msgspec.convert(answer["iteration"], Iteration))
                elif "failed" in answer:
                    raise TrainingFailed(str(answer["failed"]))
                elif "done" in answer:
                    return
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_TIMEOUT_S)
            self._process.kill()
            raise TrainingDied(
                f"the training process ended before it was done: it {exit_text(self._process.wait())}; SIGKILL usually means "
                "that memory ran out"
            ) from error
        finally:
            self.end()

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line.endswith("\n"):
            raise EOFError("the training process closed its end of the socket")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise TrainingFailed(f"the training process must send JSON objects, got {line[:80]!r}")
        return answer

    def pause(self, is_paused: bool) -> None:
        """Pause or continue the process; only if the system kills it with the trainer."""
        if self.dies_with_parent and is_paused != self._is_paused:
            self._is_paused = is_paused
            self._process.send_signal(signal.SIGSTOP if is_paused else signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process; `run` in another thread then raises."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process and release its resources."""
        self._answers.close()
        self._socket.close()
        self._process.kill()
        self._process.wait()


# In the subprocess


def main(descriptor: int, nice: int, source: Path, target: Path) -> None:
    """Run a job, write its result, and exit when the trainer has closed its end."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # the trainer ends this process
    with contextlib.suppress(OSError):
        os.nice(nice)
    end = socket.socket(fileno=descriptor)

    def send(**answer: Any) -> None:
        end.sendall(json.dumps(answer).encode() + b"\n")

    def listen() -> None:
        try:
            end.recv(1)
        finally:
            os._exit(1)  # the trainer is gone or has cancelled the job

    send(dies_with_parent=_bind_to_parent())
    listener = run_in_thread("listen", listen)
    try:
        done = run_job(load_job(source), lambda each: send(iteration=msgspec.to_builtins(each)))
        save_result(target, done)
        send(done=True)
    except Exception as error:  # noqa: BLE001 - the trainer decides
        traceback.print_exc()
        with contextlib.suppress(OSError):
            send(failed=f"{type(error).__name__}: {error}")
    listener.join()


def _bind_to_parent() -> bool:
    """Ask the system to kill this process when its parent ends, even while it is paused."""
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    except (AttributeError, OSError):
        return False


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
