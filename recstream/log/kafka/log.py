"""`KafkaLog`: the event log on Kafka.

Appends use an idempotent producer and wait for all in-sync replicas: acknowledged records are in
the log once and in order. `append` does not write records and offsets in one transaction: it
commits the offsets after the records, so a crash in between repeats records and never skips them.
"""

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
    bootstrap_servers,
    common_options,
)
from recstream.log.kafka.identity import (
    META,
    META_SPEC,
    Epoch,
    Meta,
    TopicIdentity,
    epoch_record,
    read_meta,
    require_no_stale,
    require_same,
    topic_record,
)
from recstream.log.kafka.offset_query import OffsetQuery
from recstream.log.kafka.outage import ClientErrors
from recstream.log.kafka.producer import KafkaProducer
from recstream.log.kafka.readers import ReaderPool
from recstream.log.kafka.tail import KafkaTail
from recstream.log.kafka.transactions import PartitionTransactions
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Position, Record, TopicPartition, require_readable
from recstream.log.topics import TopicSpec
from recstream.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_S = 1.0
_OVERHEAD_BYTES = 128


class KafkaLog:
    """The `recstream.log.port.EventLog` on Kafka. Safe to share between threads.

    Parameters
    ----------
    url : str
        ``kafka://host:port``, further brokers after ``;``.

    Attributes
    ----------
    patience_s : float
        How long queries and reads are retried while no broker answers.

    Raises
    ------
    InvalidSetting
        The URL or a security setting can't be used.
    LogUnavailable
        No broker answers, or it rejects user or password.
    """

    def __init__(self, url: str, settings: Settings | None = None) -> None:
        self.shared = common_options(url, settings)
        self._where = bootstrap_servers(url)
        replication = 1 if settings is None else settings.kafka_replication
        self._errors = ClientErrors()
        self._partitions: dict[str, int] = {}
        self._specs: dict[str, TopicSpec] = {}
        self._identities: dict[str, TopicIdentity] = {}
        self._missing: set[str] = set()
        self._gone: set[str] = set()
        self._seen: dict[TopicPartition, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._readers = ReaderPool(self.shared)
        self._is_closed = False
        self.patience_s = 0.0
        try:
            self._admin = KafkaAdmin(self.shared, self._where, self._errors, replication)
            self._offsets = OffsetQuery(self.shared, self._where, self._errors, self._identities)
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
        """ULID of this log; changes when its topics are recreated or the cluster is another one."""
        return self._epoch

    # Topics

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        """Create missing topics, and record each topic's id and partition count.

        Raises
        ------
        PartitionCountMismatch
            A topic has another partition count than its spec or its record says.
        InvalidSetting
            A topic's ``cleanup.policy`` would delete records that are needed.
        """
        specs = list(specs)
        for spec in specs:
            if spec.partitions < 1:
                message = f"topic {spec.name} needs at least 1 partition, got {spec.partitions}"
                raise InvalidInput(message)
        meta = self._meta()
        existing = self._admin.describe([spec.name for spec in specs])
        for spec in specs:
            if spec.name in existing:
                meta.check_count(spec, existing[spec.name], self._where)
        self._admin.check_options([spec for spec in specs if spec.name in existing])
        missing = [spec for spec in specs if spec.name not in existing]
        if missing:
            self._admin.create(missing)
            existing |= self._admin.describe([spec.name for spec in missing])
            for spec in missing:
                meta.check_count(spec, existing[spec.name], self._where)
        unrecorded = {
            spec.name: existing[spec.name]
            for spec in specs
            if meta.topics.get(spec.name) != existing[spec.name]
        }
        self.append([topic_record(name, identity) for name, identity in unrecorded.items()])
        self._identities |= existing
        self._specs |= {spec.name: spec for spec in specs}

    def check_topics(self) -> None:
        """Check that the topics of `create_topics` are the same ones, and kept as they must be.

        See `recstream.log.kafka.identity.require_same`. A missing one counts when it is missing
        twice: a broker that has just started may not know it yet.
        """
        found = self._admin.describe(list(self._identities))
        missing = self._identities.keys() - found.keys()
        self._gone, self._missing = missing & self._missing, missing
        known = {name: self._identities[name] for name in found.keys() | self._gone}
        require_same(known, found, self._where)
        self._admin.check_options([spec for name, spec in self._specs.items() if name in found])

    def partitions(self, topic: str) -> int:
        """Return the partition count; raises `NotFound` for an unknown topic."""
        count = self._partitions.get(topic)
        if count is None:
            count = self._admin.all_topics().get(topic)
            if count is None:
                raise NotFound(f"topic {topic!r} is not on Kafka at {self._where}; create it first")
            self._partitions[topic] = count
        return count

    def topics(self) -> dict[str, int]:
        """Return every topic with its partition count, without internal topics."""
        found = self._admin.all_topics()
        return {name: found[name] for name in sorted(found) if name != META and name[:2] != "__"}

    # Appending

    def append(
        self,
        records: Sequence[NewRecord],
        *,
        group: str | None = None,
        offsets: Mapping[TopicPartition, int] | None = None,
        member: str | None = None,  # noqa: ARG002 - on Kafka members commit their own offsets
    ) -> list[Position]:
        """Append records; once all are acknowledged, commit the offsets of a group without members.

        Raises
        ------
        LogUnavailable
            Not every record was acknowledged in time: the caller keeps them and may try again.
        LogFenced
            The records were appended, but the group has members, and only they may commit offsets.
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
        """Return the transactions of a consumer group's member, for the partitions it owns."""
        return PartitionTransactions(self, self.shared, group)

    def assign_partitions(self, records: Sequence[NewRecord]) -> list[TopicPartition]:
        """Check records and return the partition of each.

        Raises
        ------
        InvalidInput
            A record is too large, its key or value is not bytes, or its partition does not exist.
        """
        return [self._assign_partition(index, record) for index, record in enumerate(records)]

    # Reading

    def read(
        self, topic: str, partition: int, offset: int, max_records: int = 1000
    ) -> list[Record]:
        """Return up to ``max_records`` records from ``offset`` on, without waiting for more."""
        return self._retry(lambda: self._read(topic, partition, offset, max_records))

    def _read(self, topic: str, partition: int, offset: int, max_records: int) -> list[Record]:
        tp = self._existing(topic, partition)
        low, high = self._seen.get(tp, (0, 0))
        if offset >= high:  # both only grow: below, what was seen last answers
            low, high = self._seen[tp] = self._offsets.watermarks(tp)
        if not low <= offset <= high:
            raise OffsetOutOfRange(
                f"offset of {topic}[{partition}] must be {low} to {high}, got {offset}; start at "
                "the earliest offset"
            )
        if offset == high or max_records < 1:
            return []
        reader = self._readers.borrow(tp, offset)
        try:
            records = reader.read(max_records, REQUEST_TIMEOUT_S)
        except OffsetOutOfRange:  # deleted since
            self._seen.pop(tp, None)  # another reader may have noticed it first
            reader.close()
            raise
        except BaseException:
            reader.close()
            self._readers.close()  # pooled readers have lost the same connections
            raise
        self._readers.give_back(reader)
        return records

    def earliest(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record that is still kept."""
        return self._watermarks(topic, partition)[0]

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the offset that the next appended record will get."""
        return self._watermarks(topic, partition)[1]

    def _watermarks(self, topic: str, partition: int) -> tuple[int, int]:
        return self._retry(lambda: self._offsets.watermarks(self._existing(topic, partition)))

    def n_waiting(self, topic: str, partition: int, offset: int) -> int:
        """Return the number of offsets from one to the end, 0 if only markers remain."""
        tp = self._existing(topic, partition)
        low, end = self._offsets.watermarks(tp, with_open=True)
        at = max(low, offset)
        has_open = self.high_watermark(topic, partition) < end
        return end - at if at < end and (has_open or self.read(topic, partition, at, 1)) else 0

    def visible_end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record that a reader gets.

        It is below the high watermark when the last offsets are transaction markers or compacted
        records.
        """
        low, high = self._watermarks(topic, partition)
        window = 16
        while True:
            at = max(low, high - window)
            start, end = at, at
            while at < high and (records := self.read(topic, partition, at)):
                at = end = records[-1].offset + 1
            if end > start or start == low:
                return end
            window *= 16

    def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """Return the first offset with this timestamp or a later one, else the high watermark."""
        tp = self._existing(topic, partition)
        offset = self._offsets.offset_for_time(tp, timestamp_ms)
        return self.high_watermark(topic, partition) if offset is None else offset

    def delete_before(self, topic: str, partition: int, offset: int) -> int:
        """Delete a partition's records before an offset; return the earliest offset from now on."""
        end = self.high_watermark(topic, partition)
        return self._admin.delete_before(topic, partition, min(offset, end))

    def erase_within(self, topic: str, lag_ms: int) -> None:
        """Bound how long a topic's files keep deleted records and tombstones."""
        self._admin.erase_within(topic, lag_ms)

    def tail(self, positions: Mapping[TopicPartition, int]) -> KafkaTail:
        """Return a reader that starts at these offsets."""
        for tp in positions:
            self._existing(*tp)
        return KafkaTail(self.shared, positions)

    def committed(self, group: str, *topics: str) -> dict[TopicPartition, int]:
        """Return the next offsets that a consumer group will read, of these topics; of all without any."""
        counts = {name: self.partitions(name) for name in topics or self.topics()}
        return self._retry(lambda: self._admin.committed(group, counts))

    def close(self) -> None:
        """Wait for the records in flight, and close all connections."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._producer.close()
        self._readers.close()
        self._offsets.close()

    # Epoch

    def _open_epoch(self) -> str:
        """Return the epoch in the meta topic; write a new one if there is none or it has ended."""
        if META not in self._admin.all_topics():
            self._admin.create([META_SPEC])
        cluster = self._admin.cluster()
        meta = self._meta()
        existing = self._admin.describe(list(meta.topics), is_patient=True)
        changed = meta.changed(cluster, existing)
        require_no_stale(changed, existing, self._has_records, self._where)
        current = meta.current
        if current is None or changed or current.cluster != cluster:
            follows = "" if current is None else current.epoch
            ended = [topic_record(name, None) for name in changed]
            self.append([epoch_record(Epoch(str(ULID()), cluster, follows)), *ended])
            current = self._meta().current
        if current is None:
            raise LogUnavailable(
                f"Kafka at {self._where} did not keep the epoch in {META}; check the topic's "
                "cleanup.policy and retention"
            )
        return current.epoch

    def _has_records(self, topic: str, partitions: int) -> bool:
        return any(self.high_watermark(topic, each) for each in range(partitions))

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

    # Checks

    def _assign_partition(self, index: int, record: NewRecord) -> TopicPartition:
        require_readable(record, index)
        size = len(record.key or b"") + len(record.value or b"") + _OVERHEAD_BYTES
        if size > MAX_RECORD_BYTES:
            raise InvalidInput(
                f"record {index} for {record.topic} must have less than {MAX_RECORD_BYTES} bytes,"
                f" got {size}"
            )
        count = self.partitions(record.topic)
        if record.partition is None:
            at = 0 if record.key is None else partition_for(record.key, count)
            return TopicPartition(record.topic, at)
        return self._existing(record.topic, record.partition)

    def _existing(self, topic: str, partition: int) -> TopicPartition:
        count = self.partitions(topic)
        if not 0 <= partition < count:
            raise InvalidInput(f"partition of {topic} must be 0 to {count - 1}, got {partition}")
        return TopicPartition(topic, partition)

    def _retry(self, request: Callable[[], T]) -> T:
        """Return a request's result, retried for `patience_s` while no broker answers."""
        deadline_s = time.monotonic() + self.patience_s
        while True:
            try:
                return request()
            except LogUnavailable as error:
                if self._is_closed or self._gone or time.monotonic() >= deadline_s:
                    raise
                log.warning("kafka unavailable, retrying reason=%s", error)
                time.sleep(_RETRY_S)
