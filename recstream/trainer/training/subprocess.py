"""Step 5 of the flow: a training in a process of its own, for a shop whose training takes long.

The trainer starts it for one training and hands over the job in parts (`recstream.trainer.training.wire`),
so that nothing else waits long meanwhile. It has no log, no store and no settings: a job in, what
came of it out, as checked frames on a socket pair. It yields the processor to everything else, and
ends when the trainer does, however that ended.
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
from recstream.trainer.training.job import Finished, Job, Tell, carry_out
from recstream.trainer.training.wire import (
    Bound,
    Failed,
    Frames,
    Step,
    finished_frames,
    framed,
    job_frames,
    read_answer,
    read_finished,
    read_job,
)

NICE = 10
END_S = 10.0
"""A process that has closed its end is given so long to end."""
PR_SET_PDEATHSIG = 1


class Trainee:
    """The other process, as the trainer sees it: for one job.

    Parameters
    ----------
    nice : int
        How much it yields to others.

    Raises
    ------
    TrainingDied
        It can't be started.
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
                raise TrainingDied(f"the training's process can't be started: {error}") from error
        self._frames = Frames(ours)
        self._is_bound = self._is_paused = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def carry_out(self, job: Job, tell: Tell) -> tuple[Finished, tuple[str, bytes]]:
        """Return what the job gave, and its generation packed; blocks until it is there.

        Raises
        ------
        TrainingDied
            The process ended before: it was killed, or ran out of memory.
        TrainingFailed
            The job can't be done, or what came is nothing that the process could say.
        ArtifactCorrupt
            The artifact is not what was announced.
        """
        try:
            for frame in job_frames(job):
                self._frames.send(frame)
            while True:
                answer = read_answer(self._frames.receive())
                if isinstance(answer, Bound):
                    self._is_bound = answer.is_bound
                elif isinstance(answer, Step):
                    tell(answer.iteration)
                elif isinstance(answer, Failed):
                    raise TrainingFailed(answer.reason)
                else:
                    return read_finished(answer, self._frames.receive)
        except (EOFError, OSError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
            self._process.kill()
            code = self._process.wait()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise TrainingDied(
                f"the training's process ended before it was done: {how}; SIGKILL is most often "
                "the system's answer to a lack of memory"
            ) from error
        finally:
            self.end()

    def pause(self, is_paused: bool) -> None:
        """Stop it, or let it go on; only where the system ends it with the trainer in any case."""
        if self._is_bound and is_paused != self._is_paused:
            self._is_paused = is_paused
            self._process.send_signal(signal.SIGSTOP if is_paused else signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; `carry_out`, in another thread, then raises."""
        self._process.kill()

    def end(self) -> None:
        """End it and leave nothing behind."""
        self._frames.close()
        self._process.kill()
        self._process.wait()


# In the other process


def main(descriptor: int, nice: int) -> None:
    """Carry out the job that comes, tell of it, and end."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # who is stopped is the trainer; it ends this
    with contextlib.suppress(OSError):
        os.nice(nice)
    frames = Frames(socket.socket(fileno=descriptor))
    frames.send(framed(Bound(_ends_with_its_parent())))
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                received.put(frames.receive())
        finally:
            os._exit(1)  # the trainer is gone, or does not want it any more

    listener = threading.Thread(target=listen, name="listen", daemon=True)
    listener.start()
    try:
        job = read_job(received.get)
        done = carry_out(job, lambda each: frames.send(framed(Step(each))))
        for frame in finished_frames(done):
            frames.send(frame)
    except Exception as error:  # noqa: BLE001 - the trainer says what follows
        traceback.print_exc()
        with contextlib.suppress(OSError):
            frames.send(framed(Failed(f"{type(error).__name__}: {error}")))
    listener.join()


def _ends_with_its_parent() -> bool:
    """Ask the system to kill this process when its parent ends, which a stopped one can't see."""
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    except (AttributeError, OSError):
        return False


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
