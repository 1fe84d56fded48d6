"""Thread pool for compiled kernels, which release the GIL."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from recstream.errors import InvalidInput

Task = TypeVar("Task")


class Pool:
    """Runs tasks on at most `threads` threads; with one thread, in the calling thread.

    Each task writes to rows of its own, so results do not depend on the number of threads.
    """

    def __init__(self, threads: int, executor: ThreadPoolExecutor | None) -> None:
        self.threads = threads
        self._executor = executor

    def run(self, work: Callable[[Task], object], tasks: Iterable[Task]) -> None:
        """Run `work` on every task and wait; the first error is raised after all have ended."""
        self.run_all((work, tasks))

    def run_all(self, *jobs: tuple[Callable[[Task], object], Iterable[Task]]) -> None:
        """Run several functions, each on its own tasks, and wait for all of them."""
        if self._executor is None:
            for work, tasks in jobs:
                for task in tasks:
                    work(task)
            return
        futures = [self._executor.submit(work, task) for work, tasks in jobs for task in tasks]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]


SERIAL = Pool(1, None)
"""Runs everything in the calling thread."""


@contextmanager
def open_pool(threads: int) -> Iterator[Pool]:
    """Open a pool of `threads` threads and close it at the end of the block."""
    if threads < 1:
        raise InvalidInput(f"threads must be at least 1, got {threads}")
    if threads == 1:
        yield SERIAL
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="recstream-kernel") as executor:
        yield Pool(threads, executor)
