"""Group membership of a Faust worker on the embedded log.

Faust's assignor decides who reads what (sticky; tables follow their sources). The group in the log
(`recstream.log.embedded.groups`) stands in for the broker's coordinator. A rebalance has the order
that Faust expects: it begins, partitions are revoked and their offsets committed, every member
reports, the leader assigns, partitions are taken.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol, cast

import msgspec
from faust.assignor.client_assignment import ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.types import TP
from mode import Service
from ulid import ULID

from recstream.errors import LogFenced, NotFound
from recstream.log.embedded import EmbeddedLog, GroupState, MemberAssignment, Membership
from recstream.log.faust.connection import LogConnection
from recstream.log.faust.partition_handoff import finish_takeover
from recstream.log.port import TopicPartition

LOOK_S = 0.5
"""How often a member looks for dead members; changes of the log are noticed at once."""
MIN_LOOK_S = 0.02


class AssignedConsumer(Protocol):
    """The consumer whose partitions a `Rebalancer` assigns and revokes."""

    app: Any
    connection: LogConnection

    def assignment(self) -> set[TP]:
        """Return the partitions of this worker."""

    def assign(self, tps: set[TP]) -> None:
        """Replace the partitions of this worker."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish with partitions that go to another worker."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start to read partitions."""


class _Subscription(NamedTuple):
    """Subscription of a member, as Faust's assignor reads it."""

    subscription: list[str]
    user_data: bytes


class _Assignment(NamedTuple):
    """Partitions of a member, as Faust's assignor writes them."""

    assignment: list[tuple[str, list[int]]]
    user_data: bytes


class _Cluster:
    """Cluster metadata, as Faust's assignor reads it."""

    def __init__(self, event_log: EmbeddedLog) -> None:
        self._event_log = event_log

    def partitions_for_topic(self, topic: str) -> set[int]:
        try:
            return set(range(self._event_log.partitions(topic)))
        except NotFound:
            return set()


class Rebalancer(Service):
    """Keeps a worker in its group, and its partitions as the group assigned them."""

    def __init__(self, consumer: AssignedConsumer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.consumer = consumer
        self.app = consumer.app
        self.assignor = cast(PartitionAssignor, self.app.assignor)
        self._topics: frozenset[str] = frozenset()
        self._must_join = True
        self._has_given_up = False
        self._generation: int | None = None
        self._changed = asyncio.Event()
        self._looked_at = 0.0
        self.membership = Membership(
            consumer.connection.log,
            self.app.conf.id,
            f"{self.app.conf.id}-{ULID()}",
            session_timeout_s=self.app.conf.broker_session_timeout,
        )

    def subscribe(self, topics: Iterable[str]) -> None:
        """Ask the group for partitions of these topics."""
        if frozenset(topics) != self._topics:
            self._topics = frozenset(topics)
            self._must_join = True
            self._changed.set()

    def ring(self) -> None:
        """Signal that group membership may have changed."""
        self._changed.set()

    async def leave(self) -> None:
        """Leave the group at once."""
        await asyncio.to_thread(self.membership.leave)

    @Service.task
    async def _live(self) -> None:
        interval = float(self.app.conf.broker_heartbeat_interval)
        while not self.should_stop:
            await self.sleep(interval)
            await asyncio.to_thread(self.membership.heartbeat)

    @Service.task
    async def _follow(self) -> None:
        while not (self.should_stop or self.app.should_stop):
            self._changed.clear()
            if await self._step():
                continue
            try:
                await asyncio.wait_for(self._changed.wait(), LOOK_S)
            except TimeoutError:
                continue
            await self.sleep(MIN_LOOK_S)

    async def _step(self) -> bool:
        """Take the next step of a rebalance; return whether there was one."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            for member_id in self.membership.remove_dead():
                self.log.info("member taken for dead id=%s", member_id)
        state = self.membership.state()
        if self._must_join or state is None:
            await self._join()
            return True
        mine = next(m for m in state.members if m.id == self.membership.member_id)
        if mine.generation != state.generation:
            await self._give_up()
            await asyncio.to_thread(self.membership.ready, state.generation, self._metadata())
            return True
        if state.assignment is not None and self._generation != state.generation:
            await self._take(state.generation, state.assignment)
            return True
        if state.assignment is None and state.leader == mine.id and state.is_ready:
            await self._settle(state)
            return True
        return False

    async def _join(self) -> None:
        """Join the group; partitions of an earlier membership are given up."""
        await self._give_up()
        self._must_join = False
        await asyncio.to_thread(self.membership.join, self._metadata())

    def _metadata(self) -> bytes:
        metadata = self.assignor.metadata(set(self._topics))
        return msgspec.msgpack.encode((sorted(self._topics), bytes(metadata.user_data)))

    async def _give_up(self) -> None:
        """Stop reading, and commit what was processed."""
        if self._has_given_up:
            return
        await finish_takeover(self.app)
        self.app.on_rebalance_start()
        await self.consumer.on_partitions_revoked(self.consumer.assignment())
        self._has_given_up = True

    async def _settle(self, state: GroupState) -> None:
        """Run Faust's assignor as the group's leader, and write its assignment."""
        decided = self.assignor.assign(
            cast(Any, _Cluster(self.consumer.connection.log)),
            {m.id: msgspec.msgpack.decode(m.metadata, type=_Subscription) for m in state.members},
        )
        changelogs = self.app.tables.changelog_topics
        taken: set[TopicPartition] = set()
        assignments: dict[str, MemberAssignment] = {}
        for member_id, given in decided.items():
            client = ClientMetadata.loads(self.assignor._decompress(given.user_data))  # noqa: SLF001
            owned = {
                TopicPartition(topic, partition)
                for topic, partitions in client.assignment.actives.items()
                if topic not in changelogs
                for partition in partitions
            }
            assignments[member_id] = MemberAssignment(
                tuple(owned - taken), msgspec.msgpack.encode((given.assignment, given.user_data))
            )
            taken |= owned
        try:
            await asyncio.to_thread(self.membership.assign, state.generation, assignments)
        except LogFenced as error:
            self.log.info("assignment not written: %s", error)

    async def _take(self, generation: int, packed: bytes) -> None:
        """Start to read the assigned partitions."""
        given = msgspec.msgpack.decode(packed, type=_Assignment)
        tps = {
            TP(topic, partition)
            for topic, partitions in given.assignment
            for partition in partitions
        }
        self.assignor.on_assignment(cast(Any, given))
        self.consumer.connection.appender.member = self.membership.member_id
        self.consumer.assign(tps)
        self._generation = generation
        self._has_given_up = False
        self.app.consumer_generation_id = generation
        await self.consumer.on_partitions_assigned(tps, generation)
        self.log.info("partitions taken generation=%d partitions=%d", generation, len(tps))
