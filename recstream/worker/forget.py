"""Carry out erasure requests: tombstones, then erased events, then scrubbed tables.

For each `ForgetRequested` whose user is in a partition of this worker:

1. append tombstones of the user's rows and list, and `Forgotten` (`Engine.forget`);
2. wait `GRACE_MS`, so that readers delete the user by the tombstones;
3. on the embedded log, blank the user's records and the tombstones' keys
   (`recstream.erasure.erase`). Delete the partition's older checkpoints. If no event came since,
   append an empty one, so that new checkpoints get another offset. If events were pruned, request
   new checkpoints. On Kafka, delete the partition's older records (`recstream.erasure.Truncation`);
4. rewrite the table's files without the rows;
5. erase the request.

The request stands until 5, so the next worker does what a killed one left: steps 1 and 5 are done
once, the others may be repeated. On Kafka, requests wait until the oldest of a partition is
``forget_after_s`` old, or one is urgent: then all are carried out together. Step 3 takes hours
there.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, cast

from ulid import ULID

from recstream.checkpoints import Checkpoints
from recstream.control import submit
from recstream.core.records import CheckpointRequested, ForgetRequested, Forgotten
from recstream.erasure import CompactingLog, Truncation, erase, finish, forgetting
from recstream.log import (
    CONTROL,
    FORGET_REQUESTS,
    INTERACTIONS,
    EventLog,
    NewRecord,
    histories_changelog,
    partition_for,
)
from recstream.log.embedded import EmbeddedLog
from recstream.settings import Settings
from recstream.worker.engine import Engine

log = logging.getLogger(__name__)

GRACE_MS = 3_000
"""Time between tombstones and erasure; readers that are further behind start over."""
CHECKS = 8
"""How often Kafka's compaction is looked at within ``forget_after_s``."""
MOST_PAUSE_MS = 3_600_000
_NEVER_MS = 1 << 62


class Begun(NamedTuple):
    """A request whose tombstones have been appended."""

    offset: int
    user: str
    forgotten: Forgotten


class DueErasure(NamedTuple):
    """Requests of one partition whose records can be erased now."""

    partition: int
    requests: tuple[Begun, ...]


class Forgetter:
    """Erasure requests of the partitions that a worker owns.

    Parameters
    ----------
    engine : Engine
        `begin` is called in its thread.

    Attributes
    ----------
    copies : set of int
        Partitions of other workers in which users were erased; the caller removes those it has
        scrubbed.
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
        self._seen: tuple[object, ...] = ()
        self._next_ms = 0
        self._finished: frozenset[str] | None = None
        self.copies: set[int] = set()
        self._first_seen_ms: dict[tuple[str, type], int] = {}
        self._after_ms = 0
        self._truncation: Truncation | None = None
        if not isinstance(event_log, EmbeddedLog) and checkpoints is not None:
            self._after_ms = int(settings.forget_after_s * 1000)
            self._truncation = Truncation(
                cast(CompactingLog, event_log),
                checkpoints,
                self._changelog,
                lag_ms=self._after_ms,
                clock_ms=clock_ms,
            )

    def begin(self, owned: Collection[int]) -> list[DueErasure]:
        """Append missing tombstones; return the erasures whose grace period is over."""
        seen, now_ms = (frozenset(owned), *self._ends()), self._clock_ms()
        if seen == self._seen and now_ms < self._next_ms:
            return []
        found = forgetting(self._log)
        if self._truncation is not None and found.finished_until:
            self._truncation.remove_finished(found.finished_until)
        known = found.finished if self._finished is None else self._finished
        self._finished = found.finished
        erased = {found.begun[each].partition for each in found.finished - known}
        self.copies |= erased.difference(owned)
        n_partitions = self._log.partitions(INTERACTIONS)
        by_partition: dict[int, list[tuple[int, ForgetRequested]]] = {}
        for offset, request in found.pending.values():
            number = partition_for(request.user.encode(), n_partitions)
            if number in owned:
                by_partition.setdefault(number, []).append((offset, request))
        due = []
        for number, requests in by_partition.items():
            new = [request for _, request in requests if request.id not in found.begun]
            if self._is_due(new, now_ms):
                for request in new:
                    found.begun[request.id] = self._engine.forget(request)
                    log.info("user's rows deleted request=%s", request.id)
            ready = tuple(
                Begun(offset, request.user, found.begun[request.id])
                for offset, request in requests
                if request.id in found.begun
                and self._waited_ms(found.begun[request.id], now_ms) >= GRACE_MS
            )
            if ready:
                due.append(DueErasure(number, ready))
        self._first_seen_ms = {
            key: at for key, at in self._first_seen_ms.items() if key[0] in found.pending
        }
        self._seen = seen
        self._next_ms = now_ms + self._pause_ms(by_partition, found.begun)
        return due

    def _pause_ms(
        self, pending: Mapping[int, Sequence[tuple[int, ForgetRequested]]], begun: Collection[str]
    ) -> int:
        """Return the time until the next look, if no topic changes before."""
        ids = {request.id for requests in pending.values() for _, request in requests}
        if not ids:
            return _NEVER_MS
        if self._truncation is None or ids & set(begun) - self._truncation.deleted.keys():
            return 0
        return min(self._after_ms // CHECKS, MOST_PAUSE_MS)

    def _ends(self) -> list[int]:
        """Return the ends of the topics that requests are on."""
        topics = [CONTROL] if self._truncation is None else [CONTROL, FORGET_REQUESTS]
        return [self._log.high_watermark(topic, 0) for topic in topics]

    def _is_due(self, requests: Collection[ForgetRequested], now_ms: int) -> bool:
        waited_ms = [self._waited_ms(each, now_ms) for each in requests]
        return (
            any(each.is_urgent for each in requests) or max(waited_ms, default=-1) >= self._after_ms
        )

    def _waited_ms(self, record: ForgetRequested | Forgotten, now_ms: int) -> int:
        """Return how long a record has waited.

        The longer of the times since its own time and since this worker first saw it: its writer's
        clock may be ahead.
        """
        if isinstance(record, ForgetRequested):
            written_ts = record.requested_ts
        else:
            written_ts = record.forgotten_ts
        first_seen_ms = self._first_seen_ms.setdefault((record.id, type(record)), now_ms)
        return now_ms - min(written_ts, first_seen_ms)

    def erase(self, due: DueErasure) -> DueErasure:
        """Erase the users' records; return the completed requests. Any thread may call it."""
        if self._truncation is not None:
            users = [(user, forgotten) for _, user, forgotten in due.requests]
            done = self._truncation.advance(due.partition, users)
            return due._replace(requests=tuple(e for e in due.requests if e.forgotten.id in done))
        by_user: dict[str, list[Forgotten]] = {}
        for each in due.requests:
            by_user.setdefault(each.user, []).append(each.forgotten)
        for user, requests in by_user.items():
            erase(cast(EmbeddedLog, self._log), self._changelog, user, requests)
        last = max((each.forgotten.at_offset for each in due.requests), default=-1)
        if self._checkpoints is not None:
            self._checkpoints.remove_erased(due.partition, last)
        if self._log.high_watermark(INTERACTIONS, due.partition) <= last:
            # A checkpoint at the offset of the erasure could be from before it: none is used.
            self._log.append([NewRecord(INTERACTIONS, None, None, due.partition)])
        if self._log.earliest(INTERACTIONS, due.partition):  # it answers from a checkpoint on alone
            asked = CheckpointRequested(id=str(ULID()), requested_ts=self._clock_ms())
            submit(self._log, asked)
        return due

    def finish(self, due: DueErasure) -> None:
        """Erase the requests, after the table was scrubbed."""
        if self._truncation is not None:
            self._truncation.finish(due.partition, [each.forgotten.id for each in due.requests])
        else:
            finish(cast(EmbeddedLog, self._log), {each.offset for each in due.requests})
        for each in due.requests:
            log.info("user forgotten request=%s", each.forgotten.id)
