"""Switch synthetic traffic of the demo shop's customers on and off."""

import threading
from collections.abc import Callable
from datetime import datetime

import msgspec

from recstream.core.events import timestamp_ms
from recstream.log import EventLog
from recstream.simulate import DemoTraffic


class TrafficState(msgspec.Struct, frozen=True, kw_only=True):
    """Synthetic traffic of this bridge.

    Attributes
    ----------
    rate : float
        Events a second; 0: off.
    n_sent : int
        Events since it was switched on.
    since_ts : int or None
        When it was switched on, milliseconds since 1970.
    """

    rate: float = 0.0
    n_sent: int = 0
    since_ts: int | None = None


class TrafficSwitch:
    """Sends events of the demo shop's customers to the log at a rate. Thread-safe."""

    def __init__(
        self,
        event_log: EventLog,
        *,
        seed: int,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self._log = event_log
        self._seed = seed
        self._now = now
        self._new_id = new_id
        self._mutex = threading.Lock()
        self._traffic: DemoTraffic | None = None
        self._started = TrafficState()

    def switch(self, rate: float) -> None:
        """Send so many events a second from now on; 0 for none."""
        with self._mutex:
            if self._traffic is not None:
                self._traffic.stop()
            self._traffic, self._started = None, TrafficState()
            if rate > 0:
                self._started = TrafficState(rate=rate, since_ts=timestamp_ms(self._now()))
                self._traffic = DemoTraffic(
                    self._log, seed=self._seed, rate=rate, now=self._now, new_id=self._new_id
                )
                self._traffic.start()

    def state(self) -> TrafficState:
        """Return the rate, and how many events were sent."""
        with self._mutex:
            n_sent = 0 if self._traffic is None else self._traffic.n_sent
            return msgspec.structs.replace(self._started, n_sent=n_sent)

    def stop(self) -> None:
        """End the thread."""
        self.switch(0.0)
