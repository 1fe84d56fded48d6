"""Carry out erasure requests: tombstones, then blanked events, then scrubbed tables.

For each `ForgetRequested` whose user is in a partition of this worker:

1. append tombstones of the user's rows and list, and `Forgotten` (`Engine.forget`);
2. wait `GRACE_MS`, so that readers delete the user by the tombstones;
3. blank the user's records in the log, the tombstones' keys too (`recstream.erasure.erase`), and
   delete the partition's checkpoints from before;
4. rewrite the table's files without the rows;
5. blank the request.

The request stands until 5, so the next worker does what a killed one left: steps 1 and 5 are done
once, the others may be repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import NamedTuple

from recstream.checkpoints import Checkpoints
from recstream.core.records import Forgotten
from recstream.erasure import erasable, erase, finish, forgetting
from recstream.log import CONTROL, INTERACTIONS, EventLog, histories_changelog, partition_for
from recstream.log.embedded import EmbeddedLog
from recstream.settings import Settings
from recstream.worker.engine import Engine

log = logging.getLogger(__name__)

GRACE_MS = 3_000
"""Time between tombstones and blanking; readers that are further behind start over."""


class DueErasure(NamedTuple):
    """A user whose tombstones have been appended, and the request's offset."""

    offset: int
    user: str
    forgotten: Forgotten


class Forgetter:
    """Erasure requests of the partitions that a worker owns.

    Parameters
    ----------
    event_log : EventLog
    engine : Engine
        `begin` is called in its thread.
    settings : Settings
    clock_ms : callable
    checkpoints : Checkpoints, optional
    """

    def __init__(
        self,
        event_log: EventLog,
        engine: Engine,
        settings: Settings,
        clock_ms: Callable[[], int],
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._log = event_log
        self._engine = engine
        self._changelog = histories_changelog(settings.app_id)
        self._clock_ms = clock_ms
        self._checkpoints = checkpoints
        self._read_until = -1
        self._owned: frozenset[int] = frozenset()
        self._has_open = True

    def begin(self, owned: Collection[int]) -> list[DueErasure]:
        """Append missing tombstones; return the erasures whose grace period is over."""
        if not isinstance(self._log, EmbeddedLog):
            return []
        mine, end = frozenset(owned), self._log.high_watermark(CONTROL, 0)
        if not self._has_open and end == self._read_until and mine == self._owned:
            return []
        self._has_open = True
        found = forgetting(self._log)
        due, n_open = [], 0
        for request_id, (offset, request) in found.pending.items():
            n_partitions = self._log.partitions(INTERACTIONS)
            if partition_for(request.user.encode(), n_partitions) not in mine:
                continue
            n_open += 1
            forgotten = found.begun.get(request_id)
            if forgotten is None:
                forgotten = self._engine.forget(request)
                log.info("user's rows deleted request=%s", request_id)
            if self._clock_ms() >= forgotten.forgotten_ts + GRACE_MS:
                due.append(DueErasure(offset, request.user, forgotten))
        self._read_until, self._owned, self._has_open = end, mine, n_open > 0
        return due

    def erase(self, due: DueErasure) -> None:
        """Blank the user's records and delete old checkpoints. Any thread may call it."""
        erase(erasable(self._log), self._changelog, due.user, due.forgotten)
        if self._checkpoints is not None:
            self._checkpoints.remove_erased(due.forgotten.partition, due.forgotten.at_offset)

    def finish(self, due: DueErasure) -> None:
        """Blank the request, after the table was scrubbed."""
        finish(erasable(self._log), due.offset)
        log.info("user forgotten request=%s", due.forgotten.id)
