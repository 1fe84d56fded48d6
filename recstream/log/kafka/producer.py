"""`KafkaProducer`: appends by an idempotent producer; a thread delivers the acknowledgements."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from recstream.errors import LogUnavailable
from recstream.log.kafka.client import (
    DELIVERY_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    producer_options,
    record_options,
)
from recstream.log.kafka.outage import SILENT_S, ClientErrors, has_lost_brokers, unavailable
from recstream.log.port import NewRecord, Position, TopicPartition
from recstream.process import start_thread

log = logging.getLogger(__name__)

_UNUSABLE = {KafkaError._FATAL, KafkaError._MSG_TIMED_OUT}  # noqa: SLF001 - their public spelling


class KafkaProducer:
    """Appends records and waits until they are acknowledged. Safe to share between threads.

    The producer is replaced after a fatal error, after a record that was not delivered in time, and
    when it has lost its brokers (`recstream.log.kafka.outage.has_lost_brokers`).
    """

    def __init__(self, shared: dict[str, Any], where: str, errors: ClientErrors) -> None:
        self._shared = shared
        self._doing = f"appending to {where}"
        self._errors = errors
        self._lock = threading.Lock()
        self._probing = threading.Lock()
        self._closed = threading.Event()
        self._producer = self._new()
        self._retired: list[Producer] = []
        self._poller = start_thread("kafka-acks", self._deliver, stopping=self._closed)

    def append(
        self, records: Sequence[NewRecord], placed: Sequence[TopicPartition]
    ) -> list[Position]:
        """Append records to their assigned partitions.

        Raises
        ------
        LogUnavailable
            Not every record was acknowledged in time, though some may have been.
        """
        waiting = _Acknowledgements(placed)
        producer = self._producer
        for index, (record, tp) in enumerate(zip(records, placed, strict=True)):
            self._produce(producer, record, tp.partition, partial(waiting.acknowledge, index))
        deadline_s = time.monotonic() + DELIVERY_TIMEOUT_S + REQUEST_TIMEOUT_S
        while not waiting.wait(SILENT_S) and time.monotonic() < deadline_s:
            self._probe(producer)
        if waiting.error is not None and waiting.error.code() in _UNUSABLE:
            self._replace(producer)
        return waiting.result(self._errors, self._doing)

    def close(self) -> None:
        """Wait for the records in flight, then stop."""
        if not self._closed.is_set():
            self._producer.flush(DELIVERY_TIMEOUT_S)
            self._closed.set()
            self._poller.join()

    def _new(self) -> Producer:
        return Producer(producer_options(self._shared) | {"error_cb": self._errors})

    def _produce(
        self,
        producer: Producer,
        record: NewRecord,
        partition: int,
        on_delivery: Callable[..., None],
    ) -> None:
        """Give a record to the producer; waits while its queue is full."""
        if self._closed.is_set():
            raise LogUnavailable("the log is closed")
        options = record_options(record)
        while True:
            try:
                producer.produce(
                    record.topic,
                    record.value,
                    record.key,
                    partition,
                    on_delivery=on_delivery,
                    **options,
                )
            except BufferError:
                self._closed.wait(0.002)
            except KafkaException as error:
                if error.args[0].fatal():
                    self._replace(producer)
                raise self._errors.translate(error, self._doing) from error
            else:
                return

    def _probe(self, producer: Producer) -> None:
        """Replace a producer that has lost its brokers, and purge its records."""
        if not self._probing.acquire(blocking=False):
            return
        try:
            if producer is self._producer and has_lost_brokers(producer, self._shared):
                log.warning("producer lost its brokers and is replaced")
                self._replace(producer)
                producer.purge()
        finally:
            self._probing.release()

    def _replace(self, producer: Producer) -> None:
        """Use another producer from now on; the old one finishes its records in flight."""
        with self._lock:
            if producer is self._producer:
                self._retired.append(producer)
                self._producer = self._new()

    def _deliver(self) -> None:
        """Run the delivery callbacks until the log is closed."""
        while not self._closed.is_set():
            self._producer.poll(0.1)
            for producer in list(self._retired):
                producer.poll(0)
                if not len(producer):
                    self._retired.remove(producer)


class _Acknowledgements:
    """The acknowledgements that one append waits for."""

    def __init__(self, placed: Sequence[TopicPartition]) -> None:
        self._placed = placed
        self._offsets = [0] * len(placed)
        self._left = len(placed)
        self.error: KafkaError | None = None
        self._done = threading.Event()

    def acknowledge(self, index: int, error: KafkaError | None, message: Message) -> None:
        """Take the acknowledgement or error of one record; called by one thread only."""
        if error is not None:
            self.error = self.error or error
        else:
            self._offsets[index] = message.offset() or 0
        self._left -= 1
        if not self._left:
            self._done.set()

    def wait(self, timeout_s: float) -> bool:
        """Return whether all records were answered."""
        return not self._left or self._done.wait(timeout_s)

    def result(self, errors: ClientErrors, doing: str) -> list[Position]:
        """Return the records' positions; raises if one was not acknowledged."""
        error = self.error
        if error is None and self._left:
            error = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - its public spelling
        if error is not None:
            raise unavailable(errors.translate(KafkaException(error), doing))
        return [
            Position(*tp, offset) for tp, offset in zip(self._placed, self._offsets, strict=True)
        ]
