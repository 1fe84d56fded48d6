"""The thread that Faust reads Kafka in: committed records, positions, joining the group again."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, cast

import aiokafka
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from recstream.log.faust.batches import MAX_BATCH_RECORDS
from recstream.log.faust.partition_handoff import finish_takeover
from recstream.log.port import Record

TAKEOVER_S = 20.0
"""How long the group waits for a worker that is still taking earlier partitions."""
FETCH_WAIT_MS = 100
"""How long a broker holds a fetch that finds nothing; a partition that is resumed waits as long."""


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
        """Fetch records.

        Read a batch by the log's own reader if aiokafka can't decode it (a header name that is not
        UTF-8).
        """
        tps = [driver.ensure_aiokafka_TP(tp) for tp in active_partitions or ()]
        subscription = consumer._subscription.subscription  # noqa: SLF001 - `position` waits
        assigned = subscription and subscription.assignment
        before = {
            tp: state.position
            for tp in tps
            if assigned
            and tp in assigned.tps
            and (state := assigned.state_value(tp)).has_valid_position
        }
        try:
            return await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        except UnicodeDecodeError:
            return await self._fetch_by_log(consumer, before)

    async def _fetch_by_log(
        self, consumer: aiokafka.AIOKafkaConsumer, positions: Mapping[aiokafka.TopicPartition, int]
    ) -> dict[aiokafka.TopicPartition, list[Any]]:
        """Read from the given positions and seek behind them.

        After a failed batch, aiokafka's own positions are undefined.
        """
        event_log = cast(Any, self.consumer.transport).log
        found = {
            tp: await asyncio.to_thread(
                event_log.read, tp.topic, tp.partition, at, MAX_BATCH_RECORDS
            )
            for tp, at in positions.items()
        }
        kept = found.keys() & consumer.assignment()
        for tp in kept:
            consumer.seek(tp, found[tp][-1].offset + 1 if found[tp] else positions[tp])
        return {tp: [_consumed(record) for record in found[tp]] for tp in kept}

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the committed offsets, or where the app's setting says; not on changelogs."""
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
