"""Spark's few methods that a training calls, without Spark: tasks run here, one after another."""

from __future__ import annotations

from collections.abc import Callable


class InProcess:
    """Runs the tasks of a stage; `before` sees the number of each stage and its tasks, and may raise."""

    def __init__(self, before: Callable[[int, list[bytes]], object] = lambda *_: None) -> None:
        self.sparkContext = self
        self.stages = 0
        self.defaultParallelism = 3
        self._before = before

    def parallelize(self, tasks: list[bytes], _n: int) -> InProcess:
        self._tasks = tasks
        return self

    def map(self, run: Callable[[bytes], bytes]) -> InProcess:
        self._run = run
        return self

    def cancelAllJobs(self) -> None:  # noqa: N802 - Spark's name
        """Do nothing: `before` raises."""

    def collect(self) -> list[bytes]:
        self.stages += 1
        self._before(self.stages, self._tasks)
        return [self._run(task) for task in self._tasks]
