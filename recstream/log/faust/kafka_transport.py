"""Faust's Kafka transport, with record batches and effects exactly once.

Agents are the same as on the embedded log (`recstream.log.faust.transport`). A `BatchTopic`
delivers lists of records. ``await app.consumer.append(records, {tp: next_offset})`` appends to any
topics in one Kafka transaction of the partition's owner (`recstream.log.kafka.transactions`).
Recovery and readers see committed records only. The group's offset follows when Faust commits what
was acknowledged, so an agent must know from its own rows, part of the transaction, what it has
applied.

`app_options` gives an app this transport for a broker ``kafka://host:port``.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, cast

import aiokafka
import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import ConsumerT

from recstream.errors import LogFenced, LogUnavailable
from recstream.log.faust.batches import BatchDelivery, Work
from recstream.log.faust.kafka_thread import ConsumerThread, RebalanceListener
from recstream.log.kafka import KafkaLog, PartitionTransactions, Pauses
from recstream.log.port import NewRecord, Position, Record, TopicPartition
from recstream.settings import Settings

SCHEME = "recstream-kafka"
"""URL scheme of this transport; ``kafka://`` is Faust's own driver, with one message per record."""
SESSION_TIMEOUT_S = 6.0
"""A worker silent for this long is taken for dead; the least that brokers allow by default."""
PATIENCE_S = 600.0
"""How long a worker waits for brokers that are away before it ends with an error."""
OWN_RETRY_S = 1.0
QUIET_S = 10.0
LOGGERS = ("aiokafka", "aiokafka.consumer.group_coordinator", "aiokafka.consumer.fetcher")


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


class Consumer(BatchDelivery, driver.Consumer):
    """Reads the partitions that Kafka's group gives this worker."""

    RebalanceListener: ClassVar[type[driver.ConsumerRebalanceListener]] = RebalanceListener
    transport: "Transport"
    poll_timeout_s = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positioning = asyncio.Lock()
        self._pauses = Pauses()
        self._joining: asyncio.Future[None] | None = None
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
                await self.sleep(OWN_RETRY_S)
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

        Faust recovers a table until it has read the record before this offset; on the changelog
        that offset itself is the end of a transaction, which no reader ever gets.
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
            self._join_again(tp, error)
            raise

    def append_all(self, works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        """Append works of several partitions, each in its own transaction, in the caller's thread.

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
        """Forget a lost partition's deliveries, and join the group again, later if repeated."""
        self.forget_delivered([TP(*tp)])  # so that its acknowledgement commits nothing
        if self._joining is None or self._joining.done():
            pause_s = self._pauses.next_s()
            self.log.warning("partition lost, joining the group again in %g s: %s", pause_s, error)
            self._joining = self.add_future(self._join_in(pause_s))

    async def _join_in(self, pause_s: float) -> None:
        await self.sleep(pause_s)
        await cast(ConsumerThread, self._thread).join_again()


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
