"""Schedule of a worker's checkpoints: by time, and on request by a control record."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from recstream.checkpoints.index import Checkpoints
from recstream.checkpoints.job import Job
from recstream.control import read_control
from recstream.core.records import CheckpointRequested
from recstream.errors import LogError
from recstream.process import watch
from recstream.settings import Settings, child_environ

log = logging.getLogger(__name__)


class CheckpointSchedule:
    """Starts a process that makes the checkpoints that are due; at most one at a time.

    Parameters
    ----------
    checkpoints : Checkpoints
    settings : Settings
    table_of : callable
        Returns the folder of a partition's database.
    clock_ms : callable
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        settings: Settings,
        table_of: Callable[[int], Path],
        clock_ms: Callable[[], int],
    ) -> None:
        self._checkpoints = checkpoints
        self._settings = settings
        self._table_of = table_of
        self._clock_ms = clock_ms
        self._started_ms = clock_ms()
        self._made_ms: dict[int, int] | None = None
        self._requested_ms = -1
        self._next_control = 0
        self._running: asyncio.Task[None] | None = None

    async def look(self, owned: Collection[int]) -> None:
        """Start what is due for partitions that this worker owns; returns at once."""
        if self._running is not None and not self._running.done():
            return
        try:
            due, is_requested = await asyncio.to_thread(self._due, frozenset(owned))
        except LogError as error:
            log.warning("checkpoints not made, trying again: %s", error)
            return
        if due:
            self._running = asyncio.create_task(self._make(due, is_requested=is_requested))
            watch(self._running, "checkpoints")

    async def close(self) -> None:
        """End the process."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    def _due(self, owned: frozenset[int]) -> tuple[list[int], bool]:
        """Return the partitions whose checkpoint is due, and whether somebody asked for it."""
        if self._made_ms is None:
            self._made_ms = {each.partition: each.made_ts for each in self._checkpoints.all()}
        event_log = self._checkpoints.log
        for offset, record in read_control(event_log, self._next_control):
            self._next_control = offset + 1
            if isinstance(record, CheckpointRequested):
                self._requested_ms = max(self._requested_ms, record.requested_ts)
        asked = {p for p in owned if self._made_ms.get(p, -1) < self._requested_ms}
        every_ms, now_ms = self._settings.checkpoint_every_s * 1000, self._clock_ms()
        late = {
            p
            for p in owned
            if every_ms and now_ms - self._made_ms.get(p, self._started_ms) >= every_ms
        }
        due = sorted(p for p in asked | late if self._table_of(p).is_dir())
        self._made_ms |= dict.fromkeys(due, now_ms)
        return due, bool(asked)

    async def _make(self, partitions: Collection[int], *, is_requested: bool) -> None:
        job = Job(
            settings=self._settings,
            tables={partition: str(self._table_of(partition)) for partition in partitions},
            is_requested=is_requested,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "recstream", "checkpoint", "make"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env=child_environ(self._settings),
        )
        try:
            await process.communicate(msgspec.json.encode(job))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            log.warning(
                "checkpoints not made partitions=%s exit=%d; the lines before say why, and it is "
                "tried again",
                sorted(partitions),
                process.returncode,
            )
