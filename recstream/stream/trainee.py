"""Step 5 of the flow: a training in a process of its own, for a shop whose training takes long.

The trainer starts it for one training and hands over the job in parts, so that nothing else waits
long meanwhile. It has no log, no store and no settings: a job in, what came of it out, pickled on a
socket pair that only the two of them can open; what is kept is never pickled. It yields the
processor to everything else, and ends when the trainer does, however that ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from recstream.core.gate import HeldOut
from recstream.core.records import Item
from recstream.errors import TrainingDied, TrainingFailed
from recstream.model_store import artifact_name, pack, unpack
from recstream.stream.candidate import Finished, Job, Tell, carry_out
from recstream.stream.contents import Contents
from recstream.stream.follower import UserRows
from recstream.stream.material import Snapshot
from recstream.stream.training import Trained

NICE = 10
END_S = 10.0
"""A process that has closed its end is given so long to end."""
PR_SET_PDEATHSIG = 1
PART_USERS = 1_000
PART_PRODUCTS = 500
"""Sent at once: some milliseconds in which the trainer's loop waits."""


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
                        *(sys.executable, "-m", "recstream.stream.trainee"),
                        *(str(theirs.fileno()), str(nice)),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except OSError as error:
                ours.close()
                raise TrainingDied(f"the training's process can't be started: {error}") from error
        self._connection = Connection(ours.detach())
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
            The job can't be done.
        """
        try:
            for message in _parts(job):
                self._connection.send(message)
            while True:
                kind, value = self._connection.recv()
                if kind == "bound":
                    self._is_bound = value
                elif kind == "iteration":
                    tell(value)
                elif kind == "error":
                    raise TrainingFailed(value)
                else:
                    return _unpacked(*value), (value[2], value[1])
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
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _parts(job: Job) -> Iterator[tuple[str, Any]]:
    """Yield a job, a part at a time."""
    snapshot = job.snapshot
    for users in _chunks(snapshot.users.items(), PART_USERS):
        yield "users", users
    for products in _chunks(snapshot.catalogue.values(), PART_PRODUCTS):
        yield "products", products
    parent = None if job.parent is None else pack(job.parent)
    rest = replace(snapshot, users={}, catalogue={})
    yield "job", (replace(job, snapshot=rest, parent=None), parent)


def _chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    left = iter(values)
    while chunk := list(itertools.islice(left, size)):
        yield chunk


def _packed(done: Finished) -> tuple[Finished, bytes, str]:
    """Return what is to be sent back: the generation as its artifact, the rest as it is."""
    digest, content = pack(done.trained.generation)
    nothing: Any = None
    trained = replace(
        done.trained,
        generation=nothing,
        contents=nothing,
        held=HeldOut([], done.trained.held.items),
    )
    return done._replace(trained=trained), content, digest


def _unpacked(done: Finished, content: bytes, digest: str) -> Finished:
    """Return what `_packed` was given."""
    generation = unpack(content, artifact_name(0, digest), digest)
    contents = Contents.from_arrays(generation.content_arrays, generation.n_items)
    trained: Trained = replace(done.trained, generation=generation, contents=contents)
    return done._replace(trained=trained)


# In the other process


def main(descriptor: int, nice: int) -> None:
    """Carry out the job that comes, tell of it, and end."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)  # who is stopped is the trainer; it ends this
    with contextlib.suppress(OSError):
        os.nice(nice)
    connection = Connection(descriptor)
    connection.send(("bound", _ends_with_its_parent()))
    messages: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while True:
                messages.put(connection.recv())
        except (EOFError, OSError):
            os._exit(1)  # the trainer is gone, or does not want it any more

    threading.Thread(target=listen, name="listen", daemon=True).start()
    job = _received(messages)
    try:
        done = carry_out(job, lambda each: connection.send(("iteration", each)))
        connection.send(("done", _packed(done)))
    except Exception as error:
        with contextlib.suppress(OSError):
            connection.send(("error", f"{type(error).__name__}: {error}"))
        raise
    messages.get()


def _ends_with_its_parent() -> bool:
    """Ask the system to kill this process when its parent ends, which a stopped one can't see."""
    try:
        return bool(ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    except (AttributeError, OSError):
        return False


def _received(messages: queue.SimpleQueue[tuple[str, Any]]) -> Job:
    users: dict[str, UserRows] = {}
    catalogue: dict[str, Item] = {}
    while True:
        kind, value = messages.get()
        if kind == "users":
            users |= dict(value)
        elif kind == "products":
            catalogue |= {item.item: item for item in value}
        else:
            break
    rest, packed = value
    snapshot: Snapshot = replace(rest.snapshot, users=users, catalogue=catalogue)
    parent = None if packed is None else unpack(packed[1], "the parent's artifact", packed[0])
    job: Job = replace(rest, snapshot=snapshot, parent=parent)
    return job


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
