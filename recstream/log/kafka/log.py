"""Step 2 of the flow, on Kafka: `KafkaLog`, the client that bridge, trainer, importers and scripts use.

Appends wait for the acknowledgement of all in-sync replicas, from an idempotent producer: what was
acknowledged is there once and in order. Records and a group's offsets are not one transaction here:
first the records, then the offsets, so that a crash in between repeats records and never skips them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from confluent_kafka import KafkaException
from ulid import ULID

from recstream.errors import (
    InvalidInput,
    InvalidSetting,
    LogUnavailable,
    NotFound,
    OffsetOutOfRange,
)
from recstream.log.kafka.admin import KafkaAdmin
from recstream.log.kafka.client import (
    MAX_RECORD_BYTES,
    REQUEST_TIMEOUT_S,
    ClientErrors,
    bootstrap_servers,
    common_options,
)
from recstream.log.kafka.identity import (
    META,
    META_SPEC,
    Epoch,
    Meta,
    epoch_record,
    read_meta,
    topic_record,
)
from recstream.log.kafka.offset_query import OffsetQuery
from recstream.log.kafka.producer import KafkaProducer
from recstream.log.kafka.readers import Readers
from recstream.log.kafka.tail import KafkaTail
from recstream.log.kafka.transactions import PartitionTransactions
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Position, Record, TopicPartition
from recstream.log.topics import TopicSpec
from recstream.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_AWAY_S = 1.0
_OVERHEAD_BYTES = 128


class KafkaLog:
    """The `recstream.log.port.EventLog` on Kafka. Safe to share between threads.

    Parameters
    ----------
    url : str
        ``kafka://host:port``, further servers after ``;``.
    settings : Settings, optional
        Security and replication.

    Attributes
    ----------
    patience_s : float
        How long a question or a read is tried again while no broker answers, before it fails.

    Raises
    ------
    InvalidSetting
        The URL or a security setting can't be used.
    LogUnavailable
        No broker answers, or it refuses user or password.
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        self.shared = common_options(url, settings)
        self._where = bootstrap_servers(url)
        replication = 1 if settings is None else settings.kafka_replication
        self._errors = ClientErrors()
        self._partitions: dict[str, int] = {}
        self._lock = threading.Lock()
        self._readers = Readers(self.shared)
        self._is_closed = False
        self.patience_s = 0.0
        try:
            self._admin = KafkaAdmin(self.shared, self._where, self._errors, replication)
            self._offsets_of = OffsetQuery(self.shared, self._where, self._errors)
            self._producer = KafkaProducer(self.shared, self._where, self._errors)
        except (KafkaException, ValueError) as error:
            message = f"Kafka's settings can't be used: {error}; see the settings kafka_*"
            raise InvalidSetting(message) from error
        try:
            self._epoch = self._open_epoch()
        except BaseException:
            self.close()
            raise

    @property
    def epoch(self) -> str:
        """ULID of this log; another one once its topics were made again or the cluster is another."""
        return self._epoch

    # Topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create what is missing, and record each topic's id and partition count.

        Raises
        ------
        PartitionCountMismatch
            A topic has another partition count than wanted, or than recorded when it was made.
        """
        wanted = list(specs)
        for spec in wanted:
            if spec.partitions < 1:
                message = f"topic {spec.name} needs at least 1 partition, got {spec.partitions}"
                raise InvalidInput(message)
        meta = self._meta()
        there = self._admin.describe([spec.name for spec in wanted])
        for spec in wanted:
            if spec.name in there:
                meta.check_count(spec, there[spec.name], self._where)
        missing = [spec for spec in wanted if spec.name not in there]
        if missing:
            self._admin.create(missing)
            there |= self._admin.describe([spec.name for spec in missing])
            for spec in missing:
                meta.check_count(spec, there[spec.name], self._where)
        unrecorded = {
            spec.name: there[spec.name]
            for spec in wanted
            if meta.topics.get(spec.name) != there[spec.name]
        }
        self.append([topic_record(name, made) for name, made in unrecorded.items()])

    def partitions(self, topic: str) -> int:
        """Return the partition count; raises `NotFound` for an unknown topic."""
        count = self._partitions.get(topic)
        if count is None:
            count = self._admin.all_topics().get(topic)
            if count is None:
                message = f"topic {topic!r} is not on Kafka at {self._where}; create it first"
                raise NotFound(message)
            self._partitions[topic] = count
        return count

    def topics(self) -> dict[str, int]:
        """Return every topic with its partition count, Kafka's and our own inner ones left out."""
        found = self._admin.all_topics()
        return {name: found[name] for name in sorted(found) if name != META and name[:2] != "__"}

    # Appending

    def append(
        self,
        records: Sequence[NewRecord],
        *,
        group: str | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
        member: str | None = None,  # noqa: ARG002 - Kafka asks members to commit for themselves
    ) -> list[Position]:
        """Append records; once all are acknowledged, commit the offsets of a group without members.

        Raises
        ------
        LogUnavailable
            Not every record was acknowledged in time: the caller keeps them and may try again.
        LogFenced
            The records are in, but the group has members, and only they may commit offsets.
        InvalidInput
            A record is too large or its partition does not exist; nothing was appended.
        """
        if offsets and group is None:
            raise InvalidInput("offsets need a group to be committed for")
        positions = self._producer.append(records, self.assign_partitions(records))
        if offsets and group is not None:
            self._admin.commit(group, offsets)
        return positions

    def transactions(self, group: str) -> PartitionTransactions:
        """Return what a member of a consumer group appends with, for the partitions it owns."""
        return PartitionTransactions(self, self.shared, group)

    def assign_partitions(self, records: Sequence[NewRecord]) -> list[TopicPartition]:
        """Return where records go, once they are known to be ones that Kafka takes.

        Raises
        ------
        InvalidInput
            One is too large, no bytes, or for a partition that is not there.
        """
        return [self._place(index, record) for index, record in enumerate(records)]

    # Reading

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        """Return up to ``max_records`` records from ``offset`` on, without waiting for more."""
        return self._patiently(lambda: self._read(topic, partition, offset, max_records))

    def _read(self, topic: str, partition: int, offset: int, max_records: int) -> list[Record]:
        tp = self._existing(topic, partition)
        low, high = self._offsets_of.watermarks(tp)
        if not low <= offset <= high:
            message = f"offset of {topic}[{partition}] must be from {low} (the earliest kept) to {high}, got {offset}"
            raise OffsetOutOfRange(message)
        if offset == high or max_records < 1:
            return []
        reader = self._readers.borrow(tp, offset)
        try:
            records = reader.read(max_records, REQUEST_TIMEOUT_S)
        except BaseException:
            reader.close()
            self._readers.close()  # whatever this one has lost, those that rest have lost too
            raise
        self._readers.give_back(reader)
        return records

    def earliest(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record that may still be read."""
        return self._patiently(
            lambda: self._offsets_of.watermarks(self._existing(topic, partition))
        )[0]

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset that the next appended record will get."""
        return self._patiently(
            lambda: self._offsets_of.watermarks(self._existing(topic, partition))
        )[1]

    def visible_end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record that a reader will ever get from what is there.

        It lies below the high watermark where the last offsets are ends of transactions, or records
        that were compacted away.
        """
        low, high = self.earliest(topic, partition), self.high_watermark(topic, partition)
        reach = 16
        while True:
            at = max(low, high - reach)
            start, end = at, at
            while at < high and (records := self.read(topic, partition, at)):
                at = end = records[-1].offset + 1
            if end > start or start == low:
                return end
            reach *= 16

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Return the first offset whose record has this time or a later one."""
        tp = self._existing(topic, partition)
        offset = self._offsets_of.offset_for_time(tp, timestamp_ms)
        return self.high_watermark(topic, partition) if offset is None else offset

    def tail(self, positions: Mapping[TopicPartition, int]) -> KafkaTail:
        """Return a reader that starts at these offsets."""
        for tp in positions:
            self._existing(*tp)
        return KafkaTail(self.shared, positions)

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the next offsets a consumer group will read."""
        return self._patiently(lambda: self._admin.committed(group))

    def close(self) -> None:
        """Wait for what is on its way, and close all connections."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._producer.close()
        self._readers.close()
        self._offsets_of.close()

    # What the epoch is made of

    def _open_epoch(self) -> str:
        """Return the epoch that the meta topic names, after writing one where it names none."""
        if META not in self._admin.all_topics():
            self._admin.create([META_SPEC])
        cluster = self._admin.cluster()
        meta = self._meta()
        changed = meta.changed(cluster, self._admin.describe(list(meta.topics)))
        current = meta.current
        if current is None or changed or current.cluster != cluster:
            follows = "" if current is None else current.epoch
            ended = [topic_record(name, None) for name in changed]
            self.append([epoch_record(Epoch(str(ULID()), cluster, follows)), *ended])
            current = self._meta().current
        if current is None:
            message = (
                f"Kafka at {self._where} kept no epoch in {META}; check what the topic's policy is"
            )
            raise LogUnavailable(message)
        return current.epoch

    def _meta(self) -> Meta:
        records: list[Record] = []
        at, end = self.earliest(META, 0), self.high_watermark(META, 0)
        while at < end:
            batch = self.read(META, 0, at)
            if not batch:
                break
            records += batch
            at = batch[-1].offset + 1
        return read_meta(records)

    # What appends are made of

    def _place(self, index: int, record: NewRecord) -> TopicPartition:
        for what in (record.key, record.value):
            if what is not None and not isinstance(what, bytes):
                message = f"key and value must be bytes or None, got {type(what).__name__}; record {index}"
                raise InvalidInput(message)
        size = len(record.key or b"") + len(record.value or b"") + _OVERHEAD_BYTES
        if size > MAX_RECORD_BYTES:
            message = (
                f"record {index} for {record.topic} must have less than {MAX_RECORD_BYTES} bytes,"
                f" got {size}"
            )
            raise InvalidInput(message)
        count = self.partitions(record.topic)
        if record.partition is None:
            at = 0 if record.key is None else partition_for(record.key, count)
            return TopicPartition(record.topic, at)
        return self._existing(record.topic, record.partition)

    # What reads are made of

    def _existing(self, topic: str, partition: int) -> TopicPartition:
        count = self.partitions(topic)
        if not 0 <= partition < count:
            message = f"partition of {topic} must be 0 to {count - 1}, got {partition}"
            raise InvalidInput(message)
        return TopicPartition(topic, partition)

    def _patiently(self, question: Callable[[], T]) -> T:
        """Return an answer, waiting for brokers that are away as long as `patience_s` allows."""
        deadline_s = time.monotonic() + self.patience_s
        while True:
            try:
                return question()
            except LogUnavailable as error:
                if self._is_closed or time.monotonic() >= deadline_s:
                    raise
                log.warning("kafka unavailable, asking again reason=%s", error)
                time.sleep(_AWAY_S)
