"""Steps 2 and 3 of the flow: the embedded log as a Faust transport, ``broker="embedded:///path"``.

Any Faust app runs on it: agents, tables with changelogs, recovery, several workers that share
partitions. Pass ``--without-web`` (or ``web_enabled=False``) when several workers run on one
machine. ``?sync=normal`` in the URL is the log's own option.

For agents that must be fast and whose effects must happen once, three things go further than
Faust's own interface. They are the consumer's, and a Kafka driver with the same mix-in
(`recstream.log.batches`) offers the same:

* `BatchTopic.of(app, name)` describes a topic that is delivered in batches: each event's value is a
  list of up to 1,000 `Record`s of one partition, in offset order.
* ``await app.consumer.append(records, {tp: next_offset})`` appends to any topics and commits the
  group's offsets, in one transaction. It returns the positions once they are durable, waits while
  the log is unavailable, and raises `LogFenced` when a partition went to another worker: then
  nothing was written, and the batch must be dropped without effects. Faust's own commit never goes
  behind offsets that were committed this way.
* ``app.transport.log`` is the `EventLog` itself, for reading.

The order of effects that keeps them once::

    async def ingest(stream):
        async for event in stream.events():
            records = event.value
            tp = TopicPartition(records[0].topic, records[0].partition)
            changes = fold(records)                      # in memory; skip what was applied before
            try:
                await app.consumer.append(changelog_of(changes), {tp: records[-1].offset + 1})
            except LogFenced:
                continue                                  # the new owner does it
            write_batch(changes)                          # RocksDB, with Faust's offset key
    # leaving the loop's body acknowledges the batch
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

from faust.transport import base
from faust.transport.producer import ProducerBuffer
from faust.types import TP, ConsumerMessage, FutureMessage, HeadersArg, RecordMetadata
from faust.types.transports import ConsumerT, ProducerT
from mode import Seconds, want_seconds

from recstream.errors import LogFenced, LogUnavailable, NotFound
from recstream.log.appender import Appender
from recstream.log.batches import MAX_BATCH_RECORDS, BatchDelivery, BatchTopic
from recstream.log.embedded import EmbeddedLog, open_embedded
from recstream.log.embedded.wakeup import Wakeup
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Position, Record, TopicPartition
from recstream.log.rebalance import Rebalancer
from recstream.log.topics import TopicSpec

__all__ = ["BatchTopic", "Consumer", "Producer", "Transport"]

MAX_FETCH_BYTES = 1 << 20
"""Of one partition in one fetch."""
MAX_UNSENT = 5_000
"""Records waiting for the log before streams wait for them."""
_LOOK_AGAIN_S = 0.5


class Consumer(BatchDelivery):
    """Reads the partitions that the group gives this worker."""

    transport: "Transport"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positions: dict[TP, int] = {}
        self._assignment: set[TP] = set()
        self._highwater: dict[TP, int] = {}
        self._wakeup: Wakeup | None = None
        self._rebalancer: Rebalancer | None = None

    @property
    def event_log(self) -> EmbeddedLog:
        """The log underneath."""
        return self.transport.log

    async def on_start(self) -> None:
        """Listen for the appends of all processes."""
        self._wakeup = self.event_log.wakeup()
        for descriptor in self._wakeup.descriptors:
            self.loop.add_reader(descriptor, self._on_ring)
        await super().on_start()

    async def on_stop(self) -> None:
        """Finish what was begun, leave the group, and stop listening."""
        await super().on_stop()
        if self._rebalancer is not None:
            await self._rebalancer.leave()
        self.close()

    def close(self) -> None:
        """Stop listening."""
        if self._wakeup is not None:
            for descriptor in self._wakeup.descriptors:
                self.loop.remove_reader(descriptor)
            self._wakeup.close()
            self._wakeup = None

    def _on_ring(self) -> None:
        if self._wakeup is not None:
            self._wakeup.clear()
        self.changed.set()
        if self._rebalancer is not None:
            self._rebalancer.ring()

    # Subscription and assignment

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Read these topics from now on; the partitions come with the next generation."""
        wanted = set(topics)
        self.transport.create_missing(wanted)
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

    def assignment(self) -> set[TP]:
        """Return the partitions of this worker."""
        return set(self._assignment)

    # Reading

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - the driver interface's own
    ) -> dict[TP, list[Record]]:
        deadline = self.loop.time() + timeout
        tps = self._assignment if active_partitions is None else active_partitions
        while True:
            found = self._read(tps)
            left = deadline - self.loop.time()
            if found or left <= 0 or self.should_stop:
                return found
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.changed.wait(), min(left, _LOOK_AGAIN_S))
                return self._read(tps) if tps <= self._get_active_partitions() else {}

    def _read(self, tps: Iterable[TP]) -> dict[TP, list[Record]]:
        """Return what is there of each partition, and go on behind it."""
        found: dict[TP, list[Record]] = {}
        log = self.event_log
        self.changed.clear()
        with log.storage.read() as connection:
            for tp in tps:
                if tp not in self._assignment:
                    continue
                head = log.head(connection, tp.topic, tp.partition)
                self._highwater[tp] = head.next
                position = max(self._positions.get(tp, 0), head.low)
                if position >= head.next:
                    continue
                records: list[Record] = []
                for part in log.scan(
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
        return found

    def _record(self, tp: TP, fetched: Any) -> Record:
        del tp
        return cast(Record, fetched)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
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
        self.changed.set()
        return sought

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[partition] = offset
        self.forget_delivered([partition])
        self.changed.set()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Go to these offsets."""
        self.forget_delivered(partitions)
        for tp, offset in partitions.items():
            self._positions[tp] = offset
            if offset > 0:
                self._read_offset[tp] = offset
            else:
                self._read_offset.pop(tp, None)
        self.changed.set()

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

    def _head(self, tp: TP) -> Any:
        return self.event_log.heads()[TopicPartition(*tp)]

    # Writing

    async def append(
        self,
        records: Sequence[NewRecord],
        offsets: Mapping[TopicPartition, int] | None = None,
    ) -> list[Position]:
        """Append records and commit next offsets with them, in one transaction."""
        positions = await asyncio.wrap_future(self.transport.appender.call(records, offsets))
        if offsets:
            self.note_committed(offsets)
        return positions

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        try:
            await asyncio.wrap_future(
                self.transport.appender.call(
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
        self.transport.create_topic(topic, partitions, **options)


class _Buffer(ProducerBuffer):
    """Faust's buffer of table changes, without a task and a timer for each change."""

    producer: "Producer"

    def put(self, fut: FutureMessage) -> None:
        """Hand a change to the producer at once."""
        self.producer.hand_over(fut)

    @property
    def size(self) -> int:
        """Records that are not durable yet."""
        return self.producer.n_unsent

    async def wait_until_ebb(self) -> None:
        """Hold streams back while the log is slower than they are."""
        if self.producer.n_unsent > MAX_UNSENT:
            await self.producer.wait_until_sent(MAX_UNSENT // 2)

    async def flush(self) -> None:
        """Wait until all is durable."""
        await self.producer.wait_until_sent(0)


class _Unsent(NamedTuple):
    """A record that a future waits for."""

    record: NewRecord
    resolve: Callable[[RecordMetadata | None, BaseException | None], None]


class Producer(base.Producer):
    """Appends what streams and tables send; what is sent in one turn of the loop goes together."""

    transport: "Transport"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.n_unsent = 0
        self._gathered: list[_Unsent] = []
        self._sent = asyncio.Event()

    async def on_start(self) -> None:
        """Take the place of Faust's own buffer."""
        buffer = _Buffer(loop=self.loop, beacon=self.beacon)
        buffer.app = self.app
        buffer.producer = self
        self.buffer = buffer
        await super().on_start()

    async def on_stop(self) -> None:
        """Wait for what was sent, and let go of the log."""
        await self.flush()
        await asyncio.to_thread(self.transport.close)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Append soon; the future gives the record's position once it is durable."""
        del transactional_id
        future: asyncio.Future[RecordMetadata] = self.loop.create_future()

        def resolve(metadata: RecordMetadata | None, error: BaseException | None) -> None:
            if future.done():
                return
            if metadata is None:
                future.set_exception(error or LogUnavailable("nothing was appended"))
            else:
                future.set_result(metadata)

        self._gather(_Unsent(_record(topic, key, value, partition, timestamp, headers), resolve))
        return future

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        """Append, and wait until it is durable."""
        del transactional_id
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    def send_soon(self, fut: FutureMessage) -> None:
        """Append soon, from code that can't wait: a change of a table."""
        self.hand_over(fut)

    def hand_over(self, fut: FutureMessage) -> None:
        """Append a message that Faust prepared, and resolve it when it is durable."""
        message = fut.message
        topic = cast(Any, message.channel).get_topic_name()
        sensors = self.app.sensors
        key, value = cast("bytes | None", message.key), cast("bytes | None", message.value)
        state = sensors.on_send_initiated(self, topic, message, len(key or b""), len(value or b""))

        def resolve(metadata: RecordMetadata | None, error: BaseException | None) -> None:
            if metadata is None:
                reason = error or LogUnavailable("nothing was appended")
                fut.set_exception(reason)
                sensors.on_send_error(self, reason, state)
                return
            fut.set_result(metadata)
            if message.callback:
                message.callback(fut)
            sensors.on_send_completed(self, state, metadata)

        record = _record(topic, key, value, message.partition, message.timestamp, message.headers)
        self._gather(_Unsent(record, resolve))

    def _gather(self, unsent: _Unsent) -> None:
        self.transport.create_missing((unsent.record.topic,))
        self.n_unsent += 1
        self._sent.clear()
        self._gathered.append(unsent)
        if len(self._gathered) == 1:
            self.loop.call_soon(self._submit)

    def _submit(self) -> None:
        gathered, self._gathered = self._gathered, []

        def done(positions: list[Position] | None, error: BaseException | None) -> None:
            self.loop.call_soon_threadsafe(self._resolve, gathered, positions, error)

        self.transport.appender.submit([unsent.record for unsent in gathered], None, done)

    def _resolve(
        self,
        gathered: list[_Unsent],
        positions: list[Position] | None,
        error: BaseException | None,
    ) -> None:
        self.n_unsent -= len(gathered)
        self._sent.set()
        for index, unsent in enumerate(gathered):
            if positions is None:
                unsent.resolve(None, error)
                continue
            topic, partition, offset = positions[index]
            unsent.resolve(RecordMetadata(topic, partition, TP(topic, partition), offset), None)

    async def wait_until_sent(self, at_most: int) -> None:
        """Wait until no more than so many records are not durable yet."""
        while self.n_unsent > at_most:
            self._sent.clear()
            await self._sent.wait()

    async def flush(self) -> None:
        """Wait until all that was sent is durable."""
        await self.wait_until_sent(0)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Return the partition of a key."""
        self.transport.create_missing((topic,))
        return TP(topic, partition_for(key, self.transport.log.partitions(topic)))

    async def create_topic(
        self, topic: str, partitions: int, replication: int, **options: Any
    ) -> None:
        """Create a topic if it is missing."""
        del replication
        self.transport.create_topic(topic, partitions, **options)

    def supports_headers(self) -> bool:
        """Return True: records have headers."""
        return True


class Transport(base.Transport):
    """Opens the log when it is first needed, and closes it with the producer."""

    Consumer: ClassVar[type[ConsumerT]] = Consumer
    Producer: ClassVar[type[ProducerT]] = Producer

    default_port = 0
    driver_version = "recstream-embedded"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log: EmbeddedLog | None = None
        self._appender: Appender | None = None
        self._known: set[str] = set()

    @property
    def log(self) -> EmbeddedLog:
        """The event log underneath."""
        if self._log is None:
            self._log = open_embedded(str(self.url[0]))
        return self._log

    @property
    def appender(self) -> Appender:
        """The thread that writes."""
        if self._appender is None:
            self._appender = Appender(self.log, group=self.app.conf.id)
        return self._appender

    def create_missing(self, topics: Iterable[str]) -> None:
        """Create topics that nobody declared, as a broker does when they are first used."""
        for topic in topics:
            if topic in self._known:
                continue
            if topic not in self.log.topics():
                declared = (c.partitions for c in self.app.topics if topic in c.topics)
                partitions = next((n for n in declared if n), self.app.conf.topic_partitions)
                self.create_topic(topic, partitions)
            self._known.add(topic)

    def create_topic(
        self,
        topic: str,
        partitions: int,
        *,
        retention: Seconds | None = None,
        compacting: bool | None = None,
        **options: Any,
    ) -> None:
        """Create a topic if it is missing.

        Raises
        ------
        PartitionCountMismatch
            It is there with another partition count.
        """
        del options
        retention_ms = int(want_seconds(retention) * 1000) if retention else None
        self.log.create_topics([TopicSpec(topic, partitions, bool(compacting), retention_ms)])

    def close(self) -> None:
        """Write what is waiting, and close the log."""
        if self._appender is not None:
            self._appender.stop()
            self._appender = None
        if self._log is not None:
            self._log.close()
            self._log = None
        self._known.clear()


def _record(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    partition: int | None,
    timestamp: float | None,
    headers: HeadersArg | None,
) -> NewRecord:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    timestamp_ms = int(timestamp * 1000) if timestamp else None
    return NewRecord(
        topic, key, value, partition, timestamp_ms, tuple((k, bytes(v)) for k, v in pairs)
    )
