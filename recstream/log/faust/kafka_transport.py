"""Faust's Kafka transport, with record batches and effects exactly once.

Agents are the same as on the embedded log (`recstream.log.faust.transport`). A `BatchTopic` delivers
lists of records. ``await app.consumer.append(records, {tp: next_offset})`` appends to any topics in
one Kafka transaction of the partition's owner (`recstream.log.kafka.transactions`). Recovery and
readers see committed records only. The group's offset follows when Faust commits what was
acknowledged, so an agent must know from its own rows, part of the transaction, what it has applied.

`app_options` gives an app this transport for a broker ``kafka://host:port``.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, cast

import aiokafka
import faust
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import ConsumerT

from recstream.errors import LogFenced, LogUnavailable
from recstream.log.faust.batches import MAX_BATCH_RECORDS, BatchDelivery, Work
from recstream.log.faust.partition_handoff import finish_takeover
from recstream.log.kafka import KafkaLog, PartitionTransactions
from recstream.log.port import NewRecord, Position, Record, TopicPartition
from recstream.settings import Settings

SCHEME = "recstream-kafka"
"""URL scheme of this transport; ``kafka://`` is Faust's own driver, with one message per record."""
SESSION_TIMEOUT_S = 6.0
"""A worker that is silent for this long is taken for dead; the least that brokers allow by default."""
PATIENCE_S = 600.0
"""How long a worker waits for brokers that are away before it ends with an error."""
TAKEOVER_S = 20.0
"""How long the group waits for a worker that is still taking earlier partitions."""
QUIET_S = 10.0
LOGGERS = ("aiokafka", "aiokafka.consumer.group_coordinator", "aiokafka.consumer.fetcher")
FETCH_WAIT_MS = 100
"""How long a broker holds a fetch that finds nothing; a partition that is resumed waits as long."""


class Quieter(logging.Filter):
    """Limits each aiokafka log message to one per 10 s; an absent broker logs ten a second."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this message was not logged in the last ten seconds."""
        if record.levelno < logging.WARNING:
            return True
        now_s = time.monotonic()
        if now_s - self._logged_s.get(str(record.msg), -QUIET_S) < QUIET_S:
            return False
        self._logged_s[str(record.msg)] = now_s
        return True


def app_options(settings: Settings) -> dict[str, Any]:
    """Return the options of `faust.App` for these settings' broker."""
    options: dict[str, Any] = {
        "broker": settings.broker_url.replace("kafka://", f"{SCHEME}://"),
        "broker_session_timeout": SESSION_TIMEOUT_S,
        "broker_heartbeat_interval": SESSION_TIMEOUT_S / 4,
    }
    protocol = settings.kafka_security_protocol
    context = None
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
    if protocol.startswith("SASL"):
        options["broker_credentials"] = faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password,
            mechanism=settings.kafka_sasl_mechanism or "PLAIN",
            ssl_context=context,
        )
    elif context is not None:
        options["broker_credentials"] = faust.SSLCredentials(context)
    return options


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that Faust reads Kafka in."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no settings for these; the consumer takes them when it starts.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001
        consumer._max_poll_records = MAX_BATCH_RECORDS  # noqa: SLF001
        return consumer

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's own
        max_records: int | None = None,
    ) -> Any:
        """Fetch; a batch that aiokafka can't read, as a header's name is no UTF-8, by the log's reader."""
        tps = [driver.ensure_aiokafka_TP(tp) for tp in active_partitions or ()]
        assigned = consumer._subscription.subscription.assignment  # noqa: SLF001 - `position` waits
        before = {
            tp: state.position
            for tp in tps
            if tp in assigned.tps and (state := assigned.state_value(tp)).has_valid_position
        }
        try:
            return await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except UnicodeDecodeError:
            return await self._fetch_by_log(consumer, before)

    async def _fetch_by_log(
        self, consumer: aiokafka.AIOKafkaConsumer, positions: Mapping[aiokafka.TopicPartition, int]
    ) -> dict[aiokafka.TopicPartition, list[Any]]:
        """Read from these positions, which an unreadable batch leaves undefined, and go on behind them."""
        event_log = cast(Transport, self.consumer.transport).log
        found = {
            tp: await asyncio.to_thread(event_log.read, *tp, at, MAX_BATCH_RECORDS)
            for tp, at in positions.items()
        }
        kept = found.keys() & consumer.assignment()
        for tp in kept:
            consumer.seek(tp, found[tp][-1].offset + 1 if found[tp] else positions[tp])
        return {tp: [_consumed(record) for record in found[tp]] for tp in kept}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to the committed offsets, or where the app's setting says; changelogs are left alone."""
        found: Mapping[TP, int] = await self.call_thread(self._seek_to_committed)
        return found

    async def _seek_to_committed(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        sought: dict[TP, int] = {}
        for tp in consumer.assignment():
            if tp.topic in self.app.tables.changelog_topics:
                continue
            offset = await consumer.committed(tp)
            if offset is None:
                is_latest = self.app.conf.consumer_auto_offset_reset == "latest"
                ask = consumer.end_offsets if is_latest else consumer.beginning_offsets
                offset = (await ask([tp]))[tp]
            consumer.seek(tp, offset)
            sought[TP(*tp)] = offset
        return sought

    async def join_again(self) -> None:
        """Join the group again: partitions are revoked, assigned, and recovered."""
        await self.call_thread(self._join_again)

    async def _join_again(self) -> None:
        self._ensure_consumer()._coordinator.request_rejoin()  # noqa: SLF001 - the consumer offers none

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        wanted = {
            driver.ensure_aiokafka_TP(tp): aiokafka.structs.OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in self.assignment()
        }
        try:
            await self._ensure_consumer().commit(wanted)
        except KafkaError as error:
            # Faust's own thread would end the worker. What is not committed comes again.
            self.log.warning("offsets not committed: %r", error)
            return False
        return True


def _consumed(record: Record) -> Any:
    """Return a record as aiokafka gives it."""
    topic, partition, offset, timestamp_ms, key, value, headers = record
    sizes = tuple(-1 if each is None else len(each) for each in (key, value))
    place = topic, partition, offset, timestamp_ms, 0
    return aiokafka.ConsumerRecord(*place, key, value, None, *sizes, headers)


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Is notified of partitions that Kafka's group assigns and revokes."""

    async def on_partitions_revoked(self, revoked: Iterable[aiokafka.TopicPartition]) -> None:
        """Finish taking new partitions before revoked ones are given up."""
        await finish_takeover(self._thread.app, within_s=TAKEOVER_S)
        await super().on_partitions_revoked(revoked)


class Consumer(BatchDelivery, driver.Consumer):
    """Reads the partitions that Kafka's group gives this worker."""

    RebalanceListener: ClassVar[type[driver.ConsumerRebalanceListener]] = RebalanceListener
    transport: "Transport"
    poll_timeout_s = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positioning = asyncio.Lock()
        self._pool = ThreadPoolExecutor(thread_name_prefix="kafka-append")

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_stop(self) -> None:
        """Finish what was begun, leave the group, and close the writers."""
        await super().on_stop()
        await asyncio.to_thread(self.transport.close)
        self._pool.shutdown(wait=False)

    # Assigned and revoked partitions

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take partitions: their last owner is fenced before their tables are recovered."""
        batch_topics = self.topics_in_batches()
        tps = [TopicPartition(*tp) for tp in assigned if tp.topic in batch_topics]
        while not self.should_stop:
            try:
                await asyncio.to_thread(self.transport.transactions.own, tps)
                break
            except LogUnavailable as error:
                self.log.warning("partitions not taken yet, trying again: %s", error)
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish with partitions that go to another worker."""
        await super().on_partitions_revoked(revoked)
        self.transport.transactions.release([TopicPartition(*tp) for tp in revoked])

    # Reading

    def _record(self, tp: TP, fetched: Any) -> Record:
        return Record(
            tp.topic,
            tp.partition,
            fetched.offset,
            fetched.timestamp,
            fetched.key,
            fetched.value,
            tuple((name, value or b"") for name, value in fetched.headers),
        )

    async def _getmany(
        self,
        active_partitions: set[TP] | None,
        timeout: float,  # noqa: ASYNC109 - the driver interface's own
    ) -> Any:
        """Fetch, but not during a seek.

        Faust lets streams read before it has moved them to the committed offsets. Records fetched
        during a seek would be lost or come twice.
        """
        n_seeks = self._n_seeks
        async with self._positioning:
            if n_seeks != self._n_seeks:
                return {}
            return await super()._getmany(active_partitions, timeout)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to the committed offsets."""
        async with self._positioning:
            self.forget_delivered(list(self._delivered))
            return await super().seek_to_committed()

    async def _seek(self, partition: TP, offset: int) -> None:
        async with self._positioning:
            self.forget_delivered([partition])
            await super()._seek(partition, offset)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Go to these offsets."""
        async with self._positioning:
            self.forget_delivered(partitions)
            await super().seek_wait(partitions)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the offsets after the last records that can be read.

        Faust recovers a table until it has read the record before this offset; on the changelog that
        offset itself is the end of a transaction, which no reader ever gets.
        """
        ends = await asyncio.to_thread(
            lambda: [self.transport.log.visible_end(*tp) for tp in partitions]
        )
        return dict(zip(partitions, ends, strict=True))

    # Writing

    async def append(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int] | None = None
    ) -> list[Position]:
        """Append records in one transaction, as the owner of the partition whose offset is given.

        Raises
        ------
        LogFenced
            The partition's producer is fenced or lost, or its records were taken back from the
            streams: drop the work. The worker joins the group again; whoever has the partition then
            recovers its table and reads again.
        """
        if not offsets:
            return await asyncio.to_thread(self.transport.log.append, records)
        await self._check_order(offsets)
        (tp,) = offsets
        try:
            return await asyncio.to_thread(self.transport.transactions.append, records, tp)
        except LogFenced as error:
            self._drop_delivered(tp, error)
            await cast(ConsumerThread, self._thread).join_again()
            raise

    def append_all(self, works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        """Append works of several partitions, each in its own transaction, from the caller's thread.

        Returns
        -------
        list of (list of Position or LogFenced)
            Each work is durable, or was refused as a whole.
        """
        if len(works) == 1:
            return [self._append_one(works[0])]
        return list(self._pool.map(self._append_one, works))

    def _append_one(self, work: Work) -> list[Position] | LogFenced:
        records, offsets = work
        (tp,) = offsets
        try:
            return self.transport.transactions.append(records, tp)
        except LogFenced as error:
            self.loop.call_soon_threadsafe(self._join_again, tp, error)
            return error

    def _join_again(self, tp: TopicPartition, error: LogFenced) -> None:
        self._drop_delivered(tp, error)
        self.add_future(cast(ConsumerThread, self._thread).join_again())

    def _drop_delivered(self, tp: TopicPartition, error: LogFenced) -> None:
        """Forget what was delivered of a lost partition, so that its acknowledgement commits nothing."""
        self.log.warning("partition lost, joining the group again: %s", error)
        self.forget_delivered([TP(*tp)])


class Transport(driver.Transport):
    """Faust's Kafka transport, and an `EventLog` of the same brokers.

    Attributes
    ----------
    log : KafkaLog
        The event log. Give the worker's own with `use` where the broker asks for a password.
    """

    Consumer: ClassVar[type[ConsumerT]] = Consumer
    driver_version = f"recstream on aiokafka={aiokafka.__version__}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log: KafkaLog | None = None
        self._is_own = False
        self._transactions: PartitionTransactions | None = None
        for name in LOGGERS:
            logger = logging.getLogger(name)
            if not any(isinstance(each, Quieter) for each in logger.filters):
                logger.addFilter(Quieter())

    def use(self, log: KafkaLog) -> None:
        """Write through an open log; its owner closes it.

        Its reads wait for brokers that are away, so that the worker does not end.
        """
        self._log = log
        log.patience_s = PATIENCE_S

    @property
    def log(self) -> KafkaLog:
        """The event log underneath."""
        if self._log is None:
            self._log = KafkaLog(f"kafka://{';'.join(driver.server_list(self.url, 9092))}")
            self._is_own = True
        return self._log

    @property
    def transactions(self) -> PartitionTransactions:
        """What appends for the partitions of this worker."""
        if self._transactions is None:
            self._transactions = self.log.transactions(self.app.conf.id)
        return self._transactions

    def close(self) -> None:
        """Close the writers, and the log if it was opened here."""
        if self._transactions is not None:
            self._transactions.close()
            self._transactions = None
        if self._log is not None and self._is_own:
            self._log.close()
            self._log = None
