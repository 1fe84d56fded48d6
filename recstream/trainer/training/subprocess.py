"""Run a training in a subprocess, for jobs that would delay the trainer's loop.

The trainer starts a process for one job, and sends the job in small messages over a socket pair
(`recstream.trainer.training.wire`). The process has no log, store or settings. It runs at low
priority, and is killed with the trainer, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback

from recstream.errors import TrainingDied, TrainingFailed
from recstream.trainer.training.job import Job, OnIteration, TrainingResult, run_job
from recstream.trainer.training.wire import (
    Failed,
    Frames,
    Progress,
    Started,
    encode_message,
    job_frames,
    read_answer,
    read_job,
    read_result,
    result_frames,
)

NICE = 10
EXIT_TIMEOUT_S = 10.0
"""Time for a process to exit after it closed its end of the socket."""
PR_SET_PDEATHSIG = 1


class TrainingProcess:
    """A training subprocess for one job, as the trainer sees it.

    Parameters
    ----------
    nice : int
        Its niceness.

    Raises
    ------
    TrainingDied
        The process can't be started.
    """

    def __init__(self, *, nice: int = NICE) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [
                        *(sys.executable, "-P", "-m", "recstream.trainer.training.subprocess"),
                        *(str(theirs.fileno()), str(nice)),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except OSError as error:
                ours.close()
                raise TrainingDied(f"the training process can't be started: {error}") from error
        self._frames = Frames(ours)
        self._dies_with_parent = self._is_paused = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def run_job(
        self, job: Job, on_iteration: OnIteration
    ) -> tuple[TrainingResult, tuple[str, bytes]]:
        """Return the result of a job, and its generation's digest and artifact; blocks.

        Raises
        ------
        TrainingDied
            The process ended early: it was killed, or ran out of memory.
        TrainingFailed
            The job failed, or the process sent an invalid message.
        ArtifactCorrupt
            The artifact does not match its digest.
        """
        try:
            for frame in job_frames(job):
                self._frames.send(frame)
            while True:
                answer = read_answer(self._frames.receive())
                if isinstance(answer, Started):
                    self._dies_with_parent = answer.dies_with_parent
                elif isinstance(answer, Progress):
                    on_iteration(answer.iteration)
                elif isinstance(answer, Failed):
                    raise TrainingFailed(answer.reason)
                else:
                    return read_result(answer, self._frames.receive)
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_TIMEOUT_S)
            self._process.kill()
            code = self._process.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise TrainingDied(
                f"the training process ended before it was done: {how}; SIGKILL usually means "
                "that memory ran out"
            ) from error
        finally:
            self.end()

    def pause(self, is_paused: bool) -> None:
        """Pause or continue the process; only if the system kills it with the trainer."""
        if self._dies_with_parent and is_paused != self._is_paused:
            self._is_paused = is_paused
            self._process.send_signal(signal.SIGSTOP if is_paused else signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process; `run_job` in another thread then raises."""
        self._process.kill()

    def end(self) -> None:
        """Kill the process and release its resources."""
        self._frames.close()
        self._process.kill()
        self._process.wait()


# In the subprocess


def main(descriptor: int, nice: int) -> None:
    """Run the job that is received, send its result, and exit."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # the trainer ends this process
    with contextlib.suppress(OSError):
        os.nice(nice)
    frames = Frames(socket.socket(fileno=descriptor))
    frames.send(encode_message(Started(_bind_to_parent())))
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                received.put(frames.receive())
        finally:
            os._exit(1)  # the trainer is gone or has cancelled the job

    listener = threading.Thread(target=listen, name="listen", daemon=True)
    listener.start()
    try:
        job = read_job(received.get)
        done = run_job(job, lambda each: frames.send(encode_message(Progress(each))))
        for frame in result_frames(done):
            frames.send(frame)
    except Exception as error:  # noqa: BLE001 - the trainer decides
        traceback.print_exc()
        with contextlib.suppress(OSError):
            frames.send(encode_message(Failed(f"{type(error).__name__}: {error}")))
    listener.join()


def _bind_to_parent() -> bool:
    """Ask the system to kill this process when its parent ends, even while it is paused."""
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    except (AttributeError, OSError):
        return False


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
