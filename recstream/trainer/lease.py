"""Step 5 of the flow: one trainer is active, the others stand by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Protocol

from recstream.errors import LogFenced
from recstream.log import MODELS, EventLog, NewRecord, Position, TopicPartition
from recstream.log.embedded import EmbeddedLog
from recstream.log.embedded.groups import MemberAssignment, Membership

GROUP = "recstream-trainer"
HEARTBEAT_S = 3.0
SESSION_TIMEOUT_S = 15.0
_MODELS = TopicPartition(MODELS, 0)


class Lease(Protocol):
    """Who may announce models."""

    def hold(self) -> bool:
        """Return whether this process is the active one; call it about once a second."""

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append announcements, or raise `LogFenced` if another process is active by now."""

    def release(self) -> None:
        """Let another process go on at once."""


class EmbeddedLease:
    """A lease on the models topic by group membership of the embedded log: the oldest member leads.

    Announcements carry the group's offset, so the log itself refuses those of a trainer that was
    taken for dead.
    """

    def __init__(self, event_log: EmbeddedLog, member_id: str) -> None:
        self._log = event_log
        self._member = Membership(event_log, GROUP, member_id, session_timeout_s=SESSION_TIMEOUT_S)
        self._beaten = 0.0
        self._is_in = False

    def hold(self) -> bool:
        """Take part in the group, and settle it when this is the oldest member."""
        member = self._member
        member.remove_dead()
        state = member.state()
        if state is None:
            member.join(b"")
            state = member.state()
            if state is None:
                return False
        me = member.member_id
        if state.assignment is None:
            if next(m for m in state.members if m.id == me).generation != state.generation:
                member.ready(state.generation, b"")
            state = member.state()
            if state is None or state.leader != me or not state.is_ready:
                return False
            assignments = {
                each.id: MemberAssignment((_MODELS,) if each.id == me else (), b"active")
                for each in state.members
            }
            try:
                member.assign(state.generation, assignments)
            except LogFenced:
                return False
        if monotonic() - self._beaten > HEARTBEAT_S:
            self._beaten = monotonic()
            member.heartbeat()
        return state.leader == me

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append under the lease."""
        offsets: Mapping[TopicPartition, int] = {_MODELS: self._log.high_watermark(MODELS, 0)}
        return self._log.append(
            records, group=GROUP, offsets=offsets, member=self._member.member_id
        )

    def release(self) -> None:
        """Leave the group."""
        self._member.leave()


class SoleTrainer:
    """No lease: for logs without membership, where an operator runs one trainer."""

    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log

    def hold(self) -> bool:
        """Return True."""
        return True

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append."""
        return self._log.append(records)

    def release(self) -> None:
        """Do nothing."""


def lease_for(event_log: EventLog, member_id: str) -> Lease:
    """Return the lease that a log allows."""
    if isinstance(event_log, EmbeddedLog):
        return EmbeddedLease(event_log, member_id)
    from recstream.log.kafka import KafkaLog  # noqa: PLC0415 - an extra that may be missing
    from recstream.log.kafka.lease import KafkaLease  # noqa: PLC0415

    if isinstance(event_log, KafkaLog):
        return KafkaLease(event_log, GROUP, _MODELS)
    return SoleTrainer(event_log)
