"""Leadership of a trainer: it keeps the lease, and publishes heartbeats."""

import contextlib
from collections.abc import Callable
from time import monotonic

from recstream.core.records import TrainerStatus
from recstream.errors import LogError
from recstream.trainer.deltas import Publisher
from recstream.trainer.inputs import Inputs
from recstream.trainer.lease import Lease

LEASE_EVERY_S = 1.0
HEARTBEAT_S = 5.0
"""Time between two heartbeats; readers take a trainer that is silent longer for gone."""


class Leadership:
    """Whether this trainer is the active one, by the newest answer of the lease.

    Parameters
    ----------
    inputs : Inputs
        Heartbeats say how far it is behind.
    is_compiling : callable
        Returns whether kernels are being compiled.
    """

    def __init__(
        self,
        lease: Lease,
        publisher: Publisher,
        inputs: Inputs,
        name: str,
        is_compiling: Callable[[], bool],
    ) -> None:
        self._lease = lease
        self._publisher = publisher
        self._inputs = inputs
        self._name = name
        self._is_compiling = is_compiling
        self._beaten: tuple[bool, bool, str] | None = None
        self._next_heartbeat = 0.0
        self.next_lease = 0.0
        self.is_active = False

    def hold(self) -> bool:
        """Take or keep the lease when it is due; return whether this trainer is active."""
        if monotonic() >= self.next_lease:
            self.next_lease = monotonic() + LEASE_EVERY_S
            self.is_active = self._lease.hold()
        return self.is_active

    def lose(self) -> None:
        """Stand by until the lease is taken again."""
        self.is_active = False

    def beat(self, waits_for: str) -> None:
        """Publish a heartbeat when it is due, or when it says something new."""
        is_compiling = self._is_compiling()
        state = (self.is_active, is_compiling, waits_for)
        if state == self._beaten and monotonic() < self._next_heartbeat:
            return
        self._beaten = state
        self._next_heartbeat = monotonic() + HEARTBEAT_S
        with contextlib.suppress(LogError):
            status = TrainerStatus(
                trainer=self._name,
                is_active=self.is_active,
                lag=self._inputs.lag(),
                waits_for=waits_for,
                is_compiling=is_compiling,
            )
            self._publisher.publish_status(status)

    def release(self) -> None:
        """Give the lease up."""
        with contextlib.suppress(LogError):
            self._lease.release()
