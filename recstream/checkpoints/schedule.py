"""Schedule of a worker's checkpoints: by time, and on request by a control record."""

import asyncio
import logging
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from time import monotonic

import msgspec

from recstream.checkpoints.index import Checkpoints
from recstream.checkpoints.job import Job
from recstream.checkpoints.manifest import Manifest
from recstream.control import read_control
from recstream.core.records import CheckpointRequested
from recstream.errors import LogError
from recstream.log import histories_changelog
from recstream.process import watch
from recstream.settings import Settings, child_environ

log = logging.getLogger(__name__)

RETRY_S = 60
"""Seconds after which a process that failed is started again."""
DEADLINE_S = 6 * 3600.0
"""Seconds after which a process is ended: a store or disk may never answer."""


class CheckpointSchedule:
    """Starts a process that makes the checkpoints that are due; at most one at a time.

    Times are counted from the newest checkpoints of this worker's table at the start, and then by a clock that never jumps.

    Parameters
    ----------
    table_of : callable
        Returns the folder of a partition's database.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        settings: Settings,
        table_of: Callable[[int], Path],
        clock_ms: Callable[[], int],
        now_s: Callable[[], float] = monotonic,
    ) -> None:
        self._checkpoints = checkpoints
        self._settings = settings
        self._table_of = table_of
        self._clock_ms = clock_ms
        self._now_s = now_s
        self._started_ms = clock_ms()
        self._due_s: dict[int, float] = {}
        self._made: dict[int, Manifest] | None = None
        self._request = -1
        self._answered: dict[int, int] = {}
        self._next_control = 0
        self._retry_s = 0.0
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
        self._follow_requests()
        now_s, every_s = self._now_s(), self._settings.checkpoint_every_s
        if now_s < self._retry_s:
            return [], False
        asked = {p for p in owned if self._answered.get(p, -1) < self._request}
        late = {p for p in owned if every_s and now_s >= self._first_due_s(p, now_s, every_s)}
        return sorted(p for p in asked | late if self._table_of(p).is_dir()), bool(asked)

    def _follow_requests(self) -> None:
        """Read new requests. At the start, those that a checkpoint answers are known."""
        event_log, is_start = self._checkpoints.log, self._made is None
        if self._made is None:
            self._made = self._newest()
        for offset, record in read_control(event_log, self._next_control):
            self._next_control = offset + 1
            if isinstance(record, CheckpointRequested):
                self._request = offset
                if is_start:
                    done = [p for p, each in self._made.items() if _answers(each, offset, record)]
                    self._answered |= dict.fromkeys(done, offset)

    def _newest(self) -> dict[int, Manifest]:
        """Return the newest checkpoint of this worker's table by partition."""
        changelog = histories_changelog(self._settings.app_id)
        return {e.partition: e for e in self._checkpoints.all() if e.changelog == changelog}

    def _announcements(self) -> set[tuple[int, tuple[object, ...]]]:
        """Return by partition what each newest checkpoint has of its own; empty without the log."""
        try:
            return {(p, (e.name, e.made_ts, e.request)) for p, e in self._newest().items()}
        except LogError as error:
            log.warning("checkpoints can't be read: %s", error)
            return set()

    def _first_due_s(self, partition: int, now_s: float, every_s: float) -> float:
        """Return when a partition is due; the first time by the age of its newest checkpoint."""
        if partition not in self._due_s:
            made = (self._made or {}).get(partition)
            made_ms = self._started_ms if made is None else made.made_ts
            age_s = (self._clock_ms() - made_ms) / 1000
            self._due_s[partition] = now_s + every_s - min(max(age_s, 0.0), every_s)
        return self._due_s[partition]

    async def _make(self, partitions: Collection[int], *, is_requested: bool) -> None:
        request = self._request
        before = await asyncio.to_thread(self._announcements)
        exit_code = await self._run(partitions, is_requested=is_requested)
        now_s, made = self._now_s(), set(partitions)
        if exit_code:
            self._retry_s = now_s + RETRY_S
            made &= {p for p, _ in await asyncio.to_thread(self._announcements) - before}
            log.warning(
                "checkpoints not made partitions=%s exit=%d; the lines before say why, and it is tried "
                "again in %d s",
                sorted(set(partitions) - made),
                exit_code,
                RETRY_S,
            )
        self._answered |= dict.fromkeys(made, request)
        self._due_s |= dict.fromkeys(made, now_s + self._settings.checkpoint_every_s)

    async def _run(self, partitions: Collection[int], *, is_requested: bool) -> int:
        """Run the process, and return its exit code."""
        job = Job(
            settings=self._settings,
            tables={partition: str(self._table_of(partition)) for partition in partitions},
            is_requested=is_requested,
            request=self._request,
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "recstream", "checkpoint", "make"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            env=child_environ(self._settings),
        )
        try:
            await asyncio.wait_for(process.communicate(msgspec.json.encode(job)), DEADLINE_S)
        except TimeoutError:
            log.warning(
                "the process that makes checkpoints must end within %g s, and did not: it is killed; "
                "check that the store of the setting `checkpoints` answers",
                DEADLINE_S,
            )
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0


def _answers(made: Manifest, offset: int, request: CheckpointRequested) -> bool:
    """Return whether a checkpoint answers a request; of those of older versions two clocks are compared."""
    if made.request is None:
        return made.made_ts >= request.requested_ts
    return made.request >= offset
