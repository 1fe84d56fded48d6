"""`KafkaLease`: elects one active process by assignment of a single partition."""

import logging
import time
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaException

from recstream.errors import LogFenced
from recstream.log.kafka.client import consumer_options
from recstream.log.kafka.log import KafkaLog
from recstream.log.kafka.outage import SILENT_S, ClientErrors, Pauses, has_lost_brokers
from recstream.log.port import NewRecord, Position, TopicPartition
from recstream.process import run_in_thread

log = logging.getLogger(__name__)

SESSION_TIMEOUT_MS = 6_000
_HOUR_MS = 3_600_000


class KafkaLease:
    """A lease on a topic's first partition, by membership of a consumer group.

    Records are appended in transactions of the partition's owner, so Kafka refuses those of a
    process that was declared dead.
    """

    def __init__(self, event_log: KafkaLog, group: str, tp: TopicPartition) -> None:
        self._tp = tp
        self._errors = ClientErrors()
        self._transactions = event_log.transactions(group)
        self._shared = event_log.shared
        self._group = group
        self._holds = False
        self._pauses = Pauses()
        self._next_s = 0.0
        self._probed_s = time.monotonic()
        self._consumer = self._new()

    def _new(self) -> Consumer:
        options = consumer_options(self._shared, self._group) | {
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 4,
            "max.poll.interval.ms": _HOUR_MS,
            "auto.offset.reset": "latest",
            "enable.partition.eof": False,
            "error_cb": self._errors,
        }
        consumer = Consumer(options)
        consumer.subscribe([self._tp.topic], on_revoke=self._on_revoke, on_lost=self._on_revoke)
        return consumer

    def hold(self) -> bool:
        """Return whether this process is the active one; polls the group."""
        try:
            self._consumer.poll(0.0)
            given = [(each.topic, each.partition) for each in self._consumer.assignment()]
        except KafkaException as error:
            raise self._errors.translate(error, "asking for the lease") from error
        if self._tp not in given:
            self._replace_if_brokers_lost()
            return False
        if not self._holds:
            if time.monotonic() < self._next_s:
                return False
            # The consumer is for membership alone; it reads no records.
            self._consumer.pause(self._consumer.assignment())
            self._transactions.own([self._tp])
            self._holds = True
        return True

    def append(self, records: Sequence[NewRecord]) -> list[Position]:
        """Append under the lease.

        Raises
        ------
        LogFenced
            Another process is active by now.
        """
        if not self._holds:
            raise LogFenced(f"the lease on {self._tp.topic} is another process's")
        try:
            return self._transactions.append(records, self._tp)
        except LogFenced:
            self._next_s = time.monotonic() + self._pauses.next_s()
            self._join_again()
            raise

    def release(self) -> None:
        """Leave the group, so that another process takes over at once."""
        self._holds = False
        self._consumer.close()
        self._transactions.close()

    def _replace_if_brokers_lost(self) -> None:
        if time.monotonic() - self._probed_s > SILENT_S:
            self._probed_s = time.monotonic()
            if has_lost_brokers(self._consumer, self._shared):
                log.warning("group member lost its brokers and is replaced")
                self._join_again()

    def _join_again(self) -> None:
        """Leave the group and join it with a new consumer."""
        self._holds = False
        self._transactions.release([self._tp])
        left, self._consumer = self._consumer, self._new()
        run_in_thread("kafka-close", left.close)

    def _on_revoke(self, consumer: Consumer, _: object) -> None:
        if consumer is not self._consumer:
            return  # it was replaced
        self._holds = False
        self._transactions.release([self._tp])
