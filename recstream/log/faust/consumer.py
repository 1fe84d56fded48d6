"""Faust consumer of the embedded log."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from faust.transport import base
from faust.types import TP, ConsumerMessage

from recstream.errors import LogFenced, LogUnavailable, NotFound
from recstream.log.embedded import GROUPS, EmbeddedLog, Head, Waiter, find_head, scan
from recstream.log.faust.batches import MAX_BATCH_RECORDS, BatchDelivery, Work
from recstream.log.faust.connection import LogConnection
from recstream.log.faust.rebalance import Rebalancer
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Position, Record, TopicPartition

MAX_FETCH_BYTES = 1 << 20
"""Size limit of one fetch of one partition."""
NO_KEY = b"\0"
"""Of a changelog record without one: no row has it, and its value of None deletes nothing."""
_LOOK_AGAIN_S = 0.5


class Driver(base.Consumer):
    """The interface of a Faust consumer, over the embedded log."""

    changed: asyncio.Event
    """Set when there may be more to read; the mix-in makes it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.connection: LogConnection = cast(Any, self.transport).connection
        self._positions: dict[TP, int] = {}
        self._assignment: set[TP] = set()
        self._highwater: dict[TP, int] = {}
        self._at_end: frozenset[TP] = frozenset()
        self._waiters: tuple[Waiter, ...] = ()
        self._rebalancer: Rebalancer | None = None

    @property
    def event_log(self) -> EmbeddedLog:
        """The log underneath."""
        return self.connection.log

    async def on_start(self) -> None:
        """Listen for appends of all processes, and for changes of groups."""
        records, groups = self._waiters = self.event_log.waiter(), self.event_log.waiter()
        groups.listen({GROUPS})
        for waiter, react in ((records, self._look_again), (groups, self._look_at_group)):
            for descriptor in waiter.descriptors:
                self.loop.add_reader(descriptor, self._on_ring, waiter, react)
        await super().on_start()

    async def on_stop(self) -> None:
        """Finish what was begun, leave the group, and stop listening."""
        await super().on_stop()
        if self._rebalancer is not None:
            await self._rebalancer.leave()
        self.close()

    def close(self) -> None:
        """Stop listening."""
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            for descriptor in waiter.descriptors:
                self.loop.remove_reader(descriptor)
            waiter.close()

    def _on_ring(self, waiter: Waiter, react: Callable[[], None]) -> None:
        if self._waiters:
            waiter.clear()
        react()

    def _look_at_group(self) -> None:
        if self._rebalancer is not None:
            self._rebalancer.ring()

    def _look_again(self) -> None:
        """Read the log at the next fetch, and fetch soon."""
        self._at_end = frozenset()
        self.changed.set()

    # Subscription and assignment

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Read these topics from now on; the partitions come with the next generation."""
        wanted = set(topics)
        self.connection.create_missing(wanted)
        if self.app.client_only:
            self.assign({TP(topic, 0) for topic in wanted})
            self._positions = {tp: self._head(tp).next for tp in self._assignment}
            return
        if self._rebalancer is None:
            self._rebalancer = Rebalancer(self, loop=self.loop, beacon=self.beacon)
            self._rebalancer.subscribe(wanted)
            await self.add_runtime_dependency(self._rebalancer)
        else:
            self._rebalancer.subscribe(wanted)

    def assign(self, tps: set[TP]) -> None:
        """Take over an assignment; reading begins where Faust seeks to."""
        self._assignment = set(tps)
        self._positions = {tp: at for tp, at in self._positions.items() if tp in tps}
        self._at_end = frozenset()

    def assignment(self) -> set[TP]:
        """Return the partitions of this worker."""
        return set(self._assignment)

    # Reading

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - the driver interface's own
    ) -> dict[TP, list[Record]]:
        tps = self._assignment if active_partitions is None else active_partitions
        if self._waiters:
            self._waiters[0].listen({tp.topic for tp in tps})
        found = {} if self._at_end.issuperset(tps) else self._read(tps)
        if not found:
            # A writer may have died before it notified anybody.
            look_again = self.loop.call_later(min(timeout, _LOOK_AGAIN_S), self._look_again)
            try:
                await self.changed.wait()
            finally:
                look_again.cancel()
        return found

    def _read(self, tps: Iterable[TP]) -> dict[TP, list[Record]]:
        """Return the next records of each partition, and advance behind them."""
        found: dict[TP, list[Record]] = {}
        at_end: list[TP] = []
        log = self.event_log
        self.changed.clear()
        with log.storage.read() as connection:
            for tp in tps:
                if tp not in self._assignment:
                    continue
                head = find_head(connection, tp.topic, tp.partition)
                self._highwater[tp] = head.next
                position = max(self._positions.get(tp, 0), head.low)
                if position >= head.next:
                    at_end.append(tp)
                    continue
                records: list[Record] = []
                for part in scan(
                    connection, tp.topic, tp.partition, head, position, max_bytes=MAX_FETCH_BYTES
                ):
                    records += part
                    if len(records) >= MAX_BATCH_RECORDS:
                        break
                del records[MAX_BATCH_RECORDS:]
                if records:
                    found[tp] = records
                    self._positions[tp] = records[-1].offset + 1
                else:
                    self._positions[tp] = head.next
                if self._positions[tp] >= head.next:
                    at_end.append(tp)
        self._at_end = frozenset(at_end)
        return found

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if record.key is None and self._is_changelog_tp(tp):
            # Kafka refuses such a record; Faust's recovery would end at it.
            record = record._replace(key=NO_KEY, value=None)
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms / 1000.0,
            0,
            list(record.headers),
            record.key,
            record.value,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    # Positions

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to the committed offsets; changelog positions are the recovery's."""
        committed = self.event_log.committed(self.app.conf.id)
        sought: dict[TP, int] = {}
        for tp in self._assignment:
            if self._is_changelog_tp(tp):
                continue
            at = committed.get(TopicPartition(*tp))
            if at is None:
                # aiokafka's auto_offset_reset, by Faust's own setting.
                is_latest = self.app.conf.consumer_auto_offset_reset == "latest"
                at = self._head(tp).next if is_latest else self._head(tp).low
            self._positions[tp] = at
            sought[tp] = at
        self._look_again()
        return sought

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[partition] = offset
        self._look_again()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Go to these offsets."""
        for tp, offset in partitions.items():
            self._positions[tp] = offset
            if offset > 0:
                self._read_offset[tp] = offset
            else:
                self._read_offset.pop(tp, None)
        self._look_again()

    async def seek_to_beginning(self, *partitions: TP) -> None:
        """Go to the earliest offsets."""
        await self.seek_wait({tp: self._head(tp).low for tp in partitions})

    async def position(self, tp: TP) -> int | None:
        """Return the next offset to be read."""
        return self._positions.get(tp)

    def highwater(self, tp: TP) -> int:
        """Return the next offset that will be written, as of the last read."""
        return self._highwater.get(tp, 0)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the next offsets that will be written."""
        return {tp: self._head(tp).next for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the earliest offsets that are kept."""
        return {tp: self._head(tp).low for tp in partitions}

    def _head(self, tp: TP) -> Head:
        return self.event_log.heads()[TopicPartition(*tp)]

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        try:
            await asyncio.wrap_future(
                self.connection.appender.call(
                    [], {TopicPartition(*tp): offset for tp, offset in offsets.items()}
                )
            )
        except (LogFenced, LogUnavailable) as error:
            self.log.warning("offsets not committed: %s", error)
            return False
        return True

    # Topics

    def topic_partitions(self, topic: str) -> int | None:
        """Return a topic's partition count."""
        try:
            return self.event_log.partitions(topic)
        except NotFound:
            return None

    def key_partition(
        self, topic: str, key: bytes | None, partition: int | None = None
    ) -> int | None:
        """Return the partition of a key."""
        count = self.topic_partitions(topic)
        if count is None or partition is not None:
            return partition
        return 0 if key is None else partition_for(key, count)

    async def create_topic(
        self, topic: str, partitions: int, replication: int, **options: Any
    ) -> None:
        """Create a topic if it is missing."""
        del replication
        self.connection.create_topic(topic, partitions, **options)


class Consumer(BatchDelivery, Driver):
    """Reads the partitions assigned to this worker, in batches where a topic asks for them."""

    async def _append(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int]
    ) -> list[Position]:
        return await asyncio.wrap_future(self.connection.appender.call(records, offsets))

    def append_all(self, works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        """Append works of several partitions in one transaction, from a thread of the caller.

        Returns
        -------
        list of (list of Position or LogFenced)
            Each work is durable, or was refused as a whole.
        """
        done = self.connection.appender.append_all(works)
        self.loop.call_soon_threadsafe(self._note_appended, works, done)
        return done

    def _note_appended(
        self, works: Sequence[Work], done: Sequence[list[Position] | LogFenced]
    ) -> None:
        for (_, offsets), each in zip(works, done, strict=True):
            if isinstance(each, LogFenced):
                self.forget_delivered(TP(*tp) for tp in offsets)
            else:
                self.note_committed(offsets)

    def _record(self, tp: TP, fetched: Any) -> Record:
        del tp
        return cast(Record, fetched)
