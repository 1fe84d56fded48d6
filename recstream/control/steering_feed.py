"""The newest steering document, for readers that own no partition."""

import logging
import threading
from collections.abc import Callable

import msgspec

from recstream.control.reader import default_settings, read_control
from recstream.core.history import SettingsTimeline
from recstream.core.records import SteeringSet
from recstream.core.steering import Steering
from recstream.errors import LogError
from recstream.log import ReadableLog
from recstream.process import run_in_thread

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25


class ActiveSteering(msgspec.Struct, frozen=True, kw_only=True):
    """The newest steering document.

    Attributes
    ----------
    offset : int
        On the control topic; -1 without one.
    steering : Steering
        Empty without one.
    adopted : int
        Number of partitions whose worker follows it.
    """

    offset: int
    id: str
    requested_ts: int
    steering: Steering
    adopted: int


NEVER_SET = ActiveSteering(offset=-1, id="", requested_ts=0, steering=Steering(), adopted=0)
"""Without any steering document."""


class SteeringFeed:
    """Reads the control topic on demand, at most every `LOOK_EVERY_S`; thread-safe.

    One caller at a time reads the log, which may take long. While the log is away, a background
    thread reads instead. Other callers get the newest known document, except before the first read.

    Parameters
    ----------
    now_s : callable
        A clock that never goes back.
    """

    def __init__(self, event_log: ReadableLog, *, now_s: Callable[[], float]) -> None:
        self._log = event_log
        self._now_s = now_s
        self._reading = threading.Lock()
        self._mutex = threading.Lock()
        self._timeline = SettingsTimeline(default_settings())
        self._set: dict[int, SteeringSet] = {}
        self._next_look_s = float("-inf")
        self._is_away = False

    def _look(self, *, at_once: bool = False) -> None:
        """Read what was appended since the last look; without the mutex, as the log may hang."""
        must_read = at_once or self._next_look_s == float("-inf")
        if not must_read and self._now_s() < self._next_look_s:
            return
        if not self._reading.acquire(blocking=must_read):
            return
        if self._is_away and not must_read:
            run_in_thread("steering", self._read)
        else:
            self._read()

    def _read(self) -> None:
        """Read new records. The caller has acquired ``_reading``; this method releases it."""
        is_away = False
        try:
            found = list(read_control(self._log, self._timeline.next_offset))
            with self._mutex:
                self._timeline.extend(found)
                for offset, record in found:
                    if isinstance(record, SteeringSet):
                        self._set = {offset: record}
        except LogError as error:
            is_away = True
            log.warning("steering may be stale, the log can't be read: %s", error)
        finally:
            self._is_away = is_away
            self._next_look_s = self._now_s() + LOOK_EVERY_S
            self._reading.release()

    def newest(self, *, at_once: bool = False) -> ActiveSteering:
        """Return the newest document; with ``at_once``, read the topic now."""
        self._look(at_once=at_once)
        with self._mutex:
            for offset, record in self._set.items():
                return ActiveSteering(
                    offset=offset,
                    id=record.id,
                    requested_ts=record.requested_ts,
                    steering=record.steering,
                    adopted=self._timeline.n_partitions_with(offset),
                )
            return NEVER_SET

    def steering(self) -> Steering | None:
        """Return the newest document; None without one or if it is empty."""
        steering = self.newest().steering
        return None if steering.is_empty else steering

    def document(self) -> tuple[int, Steering | None]:
        """Return the newest document and its control offset; None and -1 without one."""
        found = self.newest()
        return (-1, None) if found.steering.is_empty else (found.offset, found.steering)

    def is_current(self, control: int) -> bool:
        """Return whether the settings of a control offset include the newest document."""
        self._look()
        with self._mutex:
            adopted = self._timeline.by_control(control)
            newest = next((each.steering for each in self._set.values()), Steering())
            made_by = None if adopted is None else adopted.steering
            return (made_by or Steering()) == newest
