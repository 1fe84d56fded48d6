"""Appends to Kafka: an idempotent producer, and a thread that takes the brokers' acknowledgements."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from recstream.errors import LogUnavailable
from recstream.log.kafka.client import (
    DELIVERY_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    Problems,
    producer_options,
)
from recstream.log.port import NewRecord, Position, TopicPartition


class KafkaProducer:
    """Appends records and waits until they are acknowledged. Safe to share between threads.

    Parameters
    ----------
    shared : dict
        `recstream.log.kafka.client.common`.
    where : str
        The servers, for messages.
    problems : Problems
    """

    def __init__(self, shared: dict[str, Any], where: str, problems: Problems) -> None:
        self._options = producer_options(shared) | {"error_cb": problems}
        self._doing = f"appending to {where}"
        self._problems = problems
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._producer = Producer(self._options)
        self._poller = threading.Thread(target=self._deliver, name="kafka-acks", daemon=True)
        self._poller.start()

    def append(
        self, records: Sequence[NewRecord], placed: Sequence[TopicPartition]
    ) -> list[Position]:
        """Append records to the partitions chosen for them.

        Raises
        ------
        LogUnavailable
            Not every record was acknowledged in time, though some may have been.
        """
        waiting = _Acknowledgements(placed)
        for index, (record, tp) in enumerate(zip(records, placed, strict=True)):
            self._produce(record, tp.partition, partial(waiting.acknowledge, index))
        return waiting.result(self._problems, self._doing)

    def close(self) -> None:
        """Wait for what is on its way."""
        if not self._closed.is_set():
            self._producer.flush(DELIVERY_TIMEOUT_S)
            self._closed.set()
            self._poller.join()

    def _produce(self, record: NewRecord, partition: int, on_delivery: Callable[..., None]) -> None:
        """Hand a record to the producer; waits while its queue is full."""
        if self._closed.is_set():
            raise LogUnavailable("the log is closed")
        options: dict[str, Any] = {}
        if record.timestamp_ms is not None:
            options["timestamp"] = record.timestamp_ms
        if record.headers:
            options["headers"] = list(record.headers)
        while True:
            try:
                self._producer.produce(
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
                    self._renew_producer()
                raise self._problems.translate(error, self._doing) from error
            else:
                return

    def _renew_producer(self) -> None:
        """Replace a producer that has given up for good, e.g. because its sequence was broken."""
        with self._lock:
            self._producer = Producer(self._options)

    def _deliver(self) -> None:
        """Call back who waits for acknowledgements, until the log is closed."""
        while not self._closed.is_set():
            self._producer.poll(0.1)


class _Acknowledgements:
    """Those that one append waits for."""

    def __init__(self, placed: Sequence[TopicPartition]) -> None:
        self._placed = placed
        self._offsets = [0] * len(placed)
        self._left = len(placed)
        self._error: KafkaError | None = None
        self._done = threading.Event()

    def acknowledge(self, index: int, error: KafkaError | None, message: Message) -> None:
        """Take the broker's answer to one record; called by one thread only."""
        if error is not None:
            self._error = self._error or error
        else:
            self._offsets[index] = message.offset() or 0
        self._left -= 1
        if not self._left:
            self._done.set()

    def result(self, problems: Problems, doing: str) -> list[Position]:
        """Wait for all answers and return where the records are."""
        if self._left and not self._done.wait(DELIVERY_TIMEOUT_S + REQUEST_TIMEOUT_S):
            self._error = self._error or KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001
        if self._error is not None:
            raise problems.translate(KafkaException(self._error), doing)
        return [
            Position(*tp, offset) for tp, offset in zip(self._placed, self._offsets, strict=True)
        ]
