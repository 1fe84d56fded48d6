"""Whether events are folded and lists served, role by role, with reasons if not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from recstream.bridge.views import Status
from recstream.errors import LogError
from recstream.log import INTERACTIONS, EventLog, TopicPartition

HEARTBEAT_LATE_S = 12.0
"""A worker beats every 5 s."""
STALLED_S = 15.0
"""Time without progress after which waiting events make the worker not ready."""
FRESH_S = 1.0
"""Age up to which an answer is given again: each costs calls to the log."""
MIN_FREE_BYTES = 32 << 20


class RoleHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Readiness of a role.

    Attributes
    ----------
    waits_for : tuple of str
        Reasons, empty if it is ready.
    lag : int or None
        Of the worker: events in the log that are not committed as folded.
    """

    is_ready: bool
    waits_for: tuple[str, ...] = ()
    lag: int | None = None


class Readiness:
    """Readiness of worker and bridge.

    Parameters
    ----------
    event_log : EventLog
    status : Status
        Heartbeats of workers.
    group : str
        Consumer group of the workers.
    folder : Path
        On the disk that the roles write to.
    parts : mapping of str to callable
        Returns whether a part of the bridge works, by the reason to give if not.
    now_s : callable
        A monotonic clock, seconds.
    """

    def __init__(
        self,
        event_log: EventLog,
        status: Status,
        *,
        group: str,
        folder: Path,
        parts: dict[str, Callable[[], bool]],
        now_s: Callable[[], float],
    ) -> None:
        self._log = event_log
        self._status = status
        self._group = group
        self._folder = folder
        self._parts = parts
        self._now_s = now_s
        self._mutex = threading.Lock()
        self._roles: dict[str, RoleHealth] = {}
        self._read_at_s = float("-inf")
        self._committed = -1
        self._moved_at_s = now_s()

    def roles(self) -> dict[str, RoleHealth]:
        """Return the readiness of each role, at most `FRESH_S` old."""
        with self._mutex:
            now_s = self._now_s()
            if now_s - self._read_at_s > FRESH_S:
                lag, reasons = self._lag(now_s)
                self._roles = {"worker": self._worker(lag, now_s), "bridge": self._bridge(reasons)}
                self._read_at_s = now_s
            return self._roles

    def _lag(self, now_s: float) -> tuple[int | None, Sequence[str]]:
        """Return how many events wait to be folded, or why nobody can tell."""
        try:
            committed = self._log.committed(self._group)
            lag = 0
            for partition in range(self._log.partitions(INTERACTIONS)):
                tp = TopicPartition(INTERACTIONS, partition)
                first = max(committed.get(tp, 0), self._log.earliest(*tp))
                lag += max(0, self._log.high_watermark(*tp) - first)
        except LogError:
            return None, ("log",)
        total = sum(offset for tp, offset in committed.items() if tp.topic == INTERACTIONS)
        if total != self._committed or lag == 0:
            self._committed, self._moved_at_s = total, now_s
        return lag, ()

    def _worker(self, lag: int | None, now_s: float) -> RoleHealth:
        reasons = []
        silent_s = self._status.worker_silent_s()
        if silent_s is None:
            reasons.append("worker: no heartbeat")
        elif silent_s > HEARTBEAT_LATE_S:
            reasons.append(f"worker: no heartbeat for {silent_s:.0f} s")
        stalled_s = now_s - self._moved_at_s
        if lag and stalled_s > STALLED_S:
            reasons.append(f"worker: {lag} events wait, none was folded for {stalled_s:.0f} s")
        return RoleHealth(is_ready=not reasons, waits_for=tuple(reasons), lag=lag)

    def _bridge(self, log_reasons: Sequence[str]) -> RoleHealth:
        reasons = [*log_reasons, *(reason for reason, works in self._parts.items() if not works())]
        try:
            if shutil.disk_usage(self._folder).free < MIN_FREE_BYTES:
                reasons.append("disk")
        except OSError:
            reasons.append("disk")
        return RoleHealth(is_ready=not reasons, waits_for=tuple(reasons))
