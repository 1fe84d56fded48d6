"""Readiness of worker, trainer and bridge with reasons: for `/health/ready`, metric and page.

It comes from heartbeats and the true lag. A thread samples the log once a second: the end of each
partition of interactions minus the offset that the workers committed. Nothing else here asks the
log, so answers never wait for it.
"""

import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from recstream.bridge.push import Pipeline, RoleName, RoleState
from recstream.bridge.views import Heartbeat, Status
from recstream.checkpoints import Checkpoints, audit_horizon
from recstream.errors import LogError
from recstream.log import CHECKPOINTS, INTERACTIONS, EventLog, TopicPartition
from recstream.metrics import CONSUMER_LAG, HEARTBEAT_AGE, HEARTBEAT_LATE_S, ROLE_READY
from recstream.process import COMPILING, LISTS_WAIT, Background

log = logging.getLogger(__name__)

STALLED_S = 15.0
"""Time without progress after which waiting events make the worker not ready."""
WINDOW_S = 30.0
"""A lag that is not below that of this long ago does not shrink."""
MAX_TRAINER_LAG = 10_000
SAMPLE_S = 1.0
MIN_FREE_BYTES = 32 << 20
MAX_ENDS = 4096


class RoleHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Readiness of a role.

    Attributes
    ----------
    state : str
        ``ready``, ``degraded`` (it works, but lists are late or not made) or ``down``.
    waits_for : tuple of str
        Reasons, empty if it is ready.
    note : str
        Why lists are slower or older than usual, such as kernels that are being compiled.
    heartbeat_age_ms : int or None
        Since the newest heartbeat of the role; None if there was none, and for the bridge itself.
    lag : int or None
        Of the worker: events in the log that are not committed as folded. Of the trainer: records
        of its topics that it has not read. None: unknown.
    """

    is_ready: bool
    state: Literal["ready", "degraded", "down"]
    waits_for: tuple[str, ...] = ()
    note: str = ""
    heartbeat_age_ms: int | None = None
    lag: int | None = None


class _Progress:
    """Progress of the workers in one partition."""

    def __init__(self) -> None:
        self.lag = 0
        self._committed = -1
        self._moved_s = 0.0
        self._ends: deque[tuple[float, int]] = deque(maxlen=MAX_ENDS)

    def update(self, committed: int, end: int, now_s: float) -> None:
        """Note the next offset to fold and the partition's end."""
        if committed != self._committed or committed >= end:
            self._committed, self._moved_s = committed, now_s
        self.lag = max(0, end - committed)
        if not self._ends or self._ends[-1][1] != end:
            self._ends.append((now_s, end))
        while self._ends and self._ends[0][1] <= committed:
            self._ends.popleft()

    def stalled_s(self, now_s: float) -> float:
        """Return how long events wait and none was folded."""
        return now_s - self._moved_s if self.lag else 0.0

    def waiting_s(self, now_s: float) -> float:
        """Return how long the oldest waiting event is known to wait."""
        return now_s - self._ends[0][0] if self._ends else 0.0


class _Trend:
    """Whether a lag has shrunk in `WINDOW_S`."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, lag: int, now_s: float) -> None:
        """Note the lag; samples that are older than needed are dropped."""
        self._seen.append((now_s, lag))
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - WINDOW_S:
            self._seen.popleft()

    def is_shrinking(self) -> bool:
        """Return False if the lag is not below that of `WINDOW_S` ago."""
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        return last_s - first_s < WINDOW_S or last < first


class Readiness(Background):
    """Readiness of the roles, and the pipeline's state with it.

    Parameters
    ----------
    folder : Path
        On the disk that the roles write to.

    Attributes
    ----------
    parts : dict of str to callable
        Returns whether a part of the bridge works, by the reason to give if not.
    preparing : callable
        Returns what the bridge does before it can make lists, such as
        ``preparing 100,000 products, 40 %``; empty once it can.
    note : callable
        Returns why the bridge's lists are older than they could be; empty if they are not.
    on_change : callable
        Called in the sampling thread when a role's state or the lag has changed.
    """

    def __init__(
        self,
        event_log: EventLog,
        status: Status,
        *,
        group: str,
        folder: Path,
        now_s: Callable[[], float],
        checkpoints: Checkpoints | None = None,
    ) -> None:
        super().__init__("readiness")
        self._checkpoints = checkpoints
        self._horizon: dict[str, int] = {}
        self._horizon_seen: object = None
        self.parts: dict[str, Callable[[], bool]] = {}
        self.preparing: Callable[[], str] = lambda: ""
        self.is_compiling: Callable[[], bool] = lambda: False
        self.note: Callable[[], str] = lambda: ""
        self.on_change: Callable[[], object] = lambda: None
        self._log = event_log
        self._status = status
        self._group = group
        self._folder = folder
        self._now_s = now_s
        self._mutex = threading.Lock()
        self._progress: dict[int, _Progress] = {}
        self._worker_trend, self._trainer_trend = _Trend(), _Trend()
        self._events = 0
        self._lag: int | None = None
        self._sampled_s = now_s()
        self._reported: object = None
        self._compiling_since_s: dict[str, float] = {}

    def _run(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        """Measure the lag, set the metrics, and report changes."""
        try:
            committed = self._log.committed(self._group, INTERACTIONS)
            places = {}
            earliest = {}
            for partition in range(self._log.partitions(INTERACTIONS)):
                tp = TopicPartition(INTERACTIONS, partition)
                earliest[partition] = self._log.earliest(*tp)
                first = max(committed.get(tp, 0), earliest[partition])
                places[partition] = (first, first + self._log.n_waiting(*tp, first))
            self._measure_horizon(earliest)
        except LogError as error:
            log.debug("lag not measured reason=%s", error)
            with self._mutex:
                self._lag = None
        else:
            self._update(places)
        roles = self.roles()
        for name, role in roles.items():
            ROLE_READY.labels(name).set(role.is_ready)
            if role.heartbeat_age_ms is not None:
                HEARTBEAT_AGE.labels(name).set(role.heartbeat_age_ms / 1000)
        reported = [(role.state, role.waits_for, role.note, role.lag) for role in roles.values()]
        if reported != self._reported:
            self._reported = reported
            self.on_change()

    def _measure_horizon(self, earliest: dict[int, int]) -> None:
        """Note from which offset each pruned partition answers, when that can have changed."""
        if self._checkpoints is None or not any(earliest.values()):
            return
        seen = (tuple(earliest.values()), self._log.high_watermark(CHECKPOINTS, 0))
        if seen != self._horizon_seen:
            self._horizon = {
                str(partition): audit_horizon(self._checkpoints, partition)
                for partition, first in earliest.items()
                if first
            }
            self._horizon_seen = seen

    def _update(self, places: dict[int, tuple[int, int]]) -> None:
        """Note the next offset to fold and the end of each partition."""
        now_s = self._now_s()
        trainer_lag = self._status.trainer_beat().lag
        with self._mutex:
            for partition, (committed, end) in places.items():
                progress = self._progress.setdefault(partition, _Progress())
                progress.update(committed, end, now_s)
                CONSUMER_LAG.labels("ingest", partition).set(progress.lag)
            self._events = sum(end for _, end in places.values())
            self._lag = sum(progress.lag for progress in self._progress.values())
            self._sampled_s = now_s
            self._worker_trend.update(self._lag, now_s)
            self._trainer_trend.update(trainer_lag, now_s)

    def roles(self) -> dict[RoleName, RoleHealth]:
        """Return the readiness of each role now, without waiting for the log."""
        with self._mutex:
            return {"worker": self._worker(), "trainer": self._trainer(), "bridge": self._bridge()}

    def pipeline(self) -> Pipeline:
        """Return the state of the pipeline, without waiting for the log."""
        roles = self.roles()
        with self._mutex:
            lags = {str(partition): each.lag for partition, each in self._progress.items()}
            events, lag = self._events, self._lag
        states = tuple(
            RoleState(
                name=name,
                state=role.state,
                reason="; ".join(role.waits_for) or role.note,
                heartbeat_age_ms=role.heartbeat_age_ms,
                lag=role.lag,
            )
            for name, role in roles.items()
        )
        body = self._status.pipeline()
        return msgspec.structs.replace(
            body,
            events=events,
            lag=body.lag if lag is None else lag,
            partition_lag=lags,
            audit_horizon=self._horizon,
            roles=states,
        )

    def _worker(self) -> RoleHealth:
        now_s, lag = self._now_s(), self._lag
        beat = self._status.worker_beat()
        down = _without_heartbeat("worker", beat)
        degraded = []
        stalled = {p: s for p, each in self._progress.items() if (s := each.stalled_s(now_s)) > 0}
        if lag and max(stalled.values(), default=0.0) > STALLED_S:
            waiting = sum(self._progress[p].lag for p, s in stalled.items() if s > STALLED_S)
            down.append(
                f"worker: {waiting} events wait, none was folded for {max(stalled.values()):.0f} s"
            )
        elif lag and not self._worker_trend.is_shrinking():
            waiting_s = max(each.waiting_s(now_s) for each in self._progress.values())
            if waiting_s > STALLED_S:
                degraded.append(
                    f"worker: {lag} events wait, the oldest for {waiting_s:.0f} s, and they do not"
                    " become fewer"
                )
        text = LISTS_WAIT if beat.generation < 0 else COMPILING
        compiling = self._compiling("worker", beat.is_compiling, text)
        if not down and beat.generation < 0:
            reason = compiling or "no model is active, no lists are made"
            degraded.append(f"worker: {reason}")
        return _health(down, degraded, beat.age_ms, lag, compiling)

    def _trainer(self) -> RoleHealth:
        beat = self._status.trainer_beat()
        down = _without_heartbeat("trainer", beat)
        degraded = []
        if not down and beat.waits_for:
            degraded.append(f"trainer: {beat.waits_for}")
        elif not down and not beat.is_active:
            degraded.append("trainer: none is active")
        if beat.lag > MAX_TRAINER_LAG and not self._trainer_trend.is_shrinking():
            degraded.append(f"trainer: {beat.lag} records wait, and they do not become fewer")
        lag = None if beat.age_ms is None else beat.lag
        text = LISTS_WAIT if self._status.worker_beat().generation < 0 else COMPILING
        compiling = self._compiling("trainer", beat.is_compiling, text)
        return _health(down, degraded, beat.age_ms, lag, compiling)

    def _bridge(self) -> RoleHealth:
        down = [reason for reason, works in self.parts.items() if not works()]
        silent_s = self._now_s() - self._sampled_s
        if self._lag is None or silent_s > STALLED_S:
            down.insert(0, "bridge: the log can't be read")
        try:
            if shutil.disk_usage(self._folder).free < MIN_FREE_BYTES:
                down.append(f"bridge: less than {MIN_FREE_BYTES >> 20} MiB are free on its disk")
        except OSError:
            down.append("bridge: its disk can't be read")
        preparing = self.preparing()
        text = "lists come when the kernels are compiled" if preparing else COMPILING
        compiling = self._compiling("bridge", self.is_compiling(), text)
        degraded = [f"bridge: {each}" for each in (preparing, compiling) if preparing and each]
        return _health(down, degraded, None, None, compiling or self.note())

    def _compiling(self, role: str, is_compiling: bool, text: str) -> str:
        """Return a text with how long kernels have been compiled; empty if they are not."""
        if not is_compiling:
            self._compiling_since_s.pop(role, None)
            return ""
        now_s = self._now_s()
        seconds = now_s - self._compiling_since_s.setdefault(role, now_s)
        tens = int(seconds) // 10 * 10
        return f"{text} ({tens} s so far)" if tens else text


def _without_heartbeat(role: str, beat: Heartbeat) -> list[str]:
    """Return the reason if a role's heartbeat is missing or late."""
    if beat.age_ms is None:
        return [f"{role}: no heartbeat"]
    if beat.age_ms > HEARTBEAT_LATE_S * 1000:
        return [f"{role}: no heartbeat for {beat.age_ms / 1000:.0f} s"]
    return []


def _health(
    down: Sequence[str], degraded: Sequence[str], age_ms: int | None, lag: int | None, note: str
) -> RoleHealth:
    state: Literal["ready", "degraded", "down"]
    state = "down" if down else "degraded" if degraded else "ready"
    return RoleHealth(
        is_ready=state == "ready",
        state=state,
        waits_for=(*down, *degraded),
        note=note,
        heartbeat_age_ms=age_ms,
        lag=lag,
    )
