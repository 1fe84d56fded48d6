"""Leader election of trainers: one is active, the others stand by."""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Protocol

from recstream.errors import LogFenced, NotPossible
from recstream.log import MODELS, EventLog, NewRecord, Position, TopicPartition
from recstream.log.embedded import EmbeddedLog, MemberAssignment, Membership

GROUP = "recstream-trainer"
HEARTBEAT_S = 3.0
SESSION_TIMEOUT_S = 15.0
_MODELS = TopicPartition(MODELS, 0)


class Lease(Protocol):
    """The right to append to the models topic, held by one trainer at a time."""

    def hold(self) -> bool:
        """Take or keep the lease; return whether this process holds it. Call it about once a second."""

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append records; raises `LogFenced` if another process holds the lease by now."""

    def release(self) -> None:
        """Give the lease up, so that another process takes it at once."""


class EmbeddedLease:
    """A lease by group membership of the embedded log: the oldest member leads.

    Records are appended with the group's offset. So the log refuses those of a trainer whose
    membership has expired.
    """

    def __init__(self, event_log: EmbeddedLog, member_id: str) -> None:
        self._log = event_log
        self._member = Membership(event_log, GROUP, member_id, session_timeout_s=SESSION_TIMEOUT_S)
        self._heartbeat_at = 0.0
        self._is_member = False

    def hold(self) -> bool:
        """Join the group, and assign the models topic to itself as the oldest member."""
        member = self._member
        member.remove_dead()
        state = member.state()
        if state is None:
            member.join(b"")
            was_member, self._is_member = self._is_member, True
            state = member.state()
            if state is None or was_member:
                return False  # expired: another trainer may have announced models since
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
        if monotonic() - self._heartbeat_at > HEARTBEAT_S:
            self._heartbeat_at = monotonic()
            member.heartbeat()
        return state.leader == me

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append as a member of the group."""
        offsets: Mapping[TopicPartition, int] = {_MODELS: self._log.high_watermark(MODELS, 0)}
        return self._log.append(
            records, group=GROUP, offsets=offsets, member=self._member.member_id
        )

    def release(self) -> None:
        """Leave the group."""
        self._member.leave()


def lease_for(event_log: EventLog, member_id: str) -> Lease:
    """Return the lease for a kind of log."""
    if isinstance(event_log, EmbeddedLog):
        return EmbeddedLease(event_log, member_id)
    from recstream.log.kafka import KafkaLease, KafkaLog  # noqa: PLC0415 - an extra

    if isinstance(event_log, KafkaLog):
        return KafkaLease(event_log, GROUP, _MODELS)
    raise NotPossible(f"a trainer needs an embedded log or Kafka, got {type(event_log).__name__}")
