"""`KafkaTail`: reads assigned partitions without a consumer group."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from operator import methodcaller
from typing import Any
from uuid import uuid4

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from recstream.errors import LogUnavailable, OffsetOutOfRange
from recstream.log.kafka.client import REQUEST_TIMEOUT_S, consumer_options
from recstream.log.kafka.outage import SILENT_S, ClientErrors, has_lost_brokers, translated
from recstream.log.port import Record, TopicPartition
from recstream.process import run_in_thread

log = logging.getLogger(__name__)

_SLICE_S = 0.05
"""How soon `poll` notices a `wake`; records are noticed at once."""
# A call from C: the interpreter's own leaves an error of `headers` pending, and the next call
# fails.
_headers_of = methodcaller("headers")


class KafkaTail:
    """A `recstream.log.port.Tail` on Kafka.

    Parameters
    ----------
    positions : mapping of TopicPartition to int
        Next offset to return, by partition.
    fetch_wait_ms : int
        See `recstream.log.kafka.client.consumer_options`.
    """

    def __init__(
        self,
        shared: dict[str, Any],
        positions: Mapping[TopicPartition, int],
        fetch_wait_ms: int = 100,
    ) -> None:
        self._errors = ClientErrors()
        self._shared = shared
        self._fetch_wait_ms = fetch_wait_ms
        self._consumer = self._new()
        self._positions = dict(positions)
        self._at_end: set[TopicPartition] = set()
        self._known: set[str] = set()
        self._lock = threading.RLock()
        self._woken = threading.Event()
        self._closed = False
        self._heard_s = 0.0
        self._behind: dict[TopicPartition, int] = {}
        self._assign()

    def poll(self, timeout_s: float, max_records: int = 1000) -> list[Record]:
        """Return the next records, waiting up to ``timeout_s`` for the first; ``[]`` if none came.

        Raises
        ------
        OffsetOutOfRange
            A position is below the earliest kept offset, or above the high watermark.
        LogUnavailable
            The tail is closed, or the broker refuses to be read.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, deadline_s - time.monotonic())
            records = self._take(min(left_s, _SLICE_S), max_records)
            if records or left_s == 0.0 or self._woken.is_set():
                self._woken.clear()
                return records

    @property
    def is_at_end(self) -> bool:
        """Whether all partitions were read to their end."""
        return self._positions.keys() <= self._at_end

    def restart(self, positions: Mapping[TopicPartition, int]) -> None:
        """Replace all positions; without any the tail is idle and fetches nothing."""
        with self._lock:
            self._positions = dict(positions)
            self._assign()

    def read(self, max_records: int, timeout_s: float) -> list[Record]:
        """Return up to ``max_records``, fewer only at the end of all partitions; for one-off reads.

        Raises
        ------
        LogUnavailable
            Neither was reached in time.
        """
        deadline_s = time.monotonic() + timeout_s
        records: list[Record] = []
        while len(records) < max_records and not self.is_at_end:
            records += self._take(_SLICE_S, max_records - len(records))
            if time.monotonic() > deadline_s:
                stalled = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001 - its public spelling
                raise self._errors.translate(KafkaException(stalled), "reading")
        return records

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Continue that partition at ``offset``; a partition not tailed before is added."""
        with self._lock:
            self._positions[tp] = offset
            self._assign()

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next offset to be returned, by partition."""
        with self._lock:
            return dict(self._positions)

    def wake(self) -> None:
        """Make a `poll` that waits in another thread return within 50 ms."""
        self._woken.set()

    def close(self) -> None:
        """Close the connections; a poll that waits returns."""
        self._woken.set()
        with self._lock:
            if not self._closed:
                self._closed = True
                self._consumer.close()

    def _new(self) -> Consumer:
        options = consumer_options(self._shared, f"recstream-reader-{uuid4()}", self._fetch_wait_ms)
        return Consumer(options | {"error_cb": self._errors})

    def _probe(self) -> None:
        """Replace a consumer that has lost its brokers, or misses records that there are."""
        self._heard_s = time.monotonic()
        if not self._positions:
            return
        try:
            behind = {
                tp: position
                for tp, position in self._positions.items()
                if position < self._consumer.get_watermark_offsets(KafkaPartition(*tp), 1.0)[1]
            }
        except (KafkaException, TypeError):  # TypeError: a time-out returns None
            behind = {}
            is_lost = has_lost_brokers(self._consumer, self._shared)
        else:
            is_lost = any(self._behind.get(tp) == position for tp, position in behind.items())
        self._behind = behind
        if is_lost:
            log.warning("consumer returns no records any more and is replaced")
            lost, self._consumer = self._consumer, self._new()
            self._known.clear()
            self._assign()
            run_in_thread("kafka-close", lost.close)

    def _assign(self) -> None:
        """Assign all positions to the consumer; prefetched records are dropped."""
        self._at_end.clear()
        self._behind = {}
        self._heard_s = time.monotonic()
        for topic in {tp.topic for tp in self._positions} - self._known:
            # Without this a consumer that reads other topics needs a second to find a new topic.
            with suppress(KafkaException):
                self._consumer.list_topics(topic, REQUEST_TIMEOUT_S)
                self._known.add(topic)
        with self._translating():
            self._consumer.assign(
                [KafkaPartition(*tp, offset) for tp, offset in self._positions.items()]
            )

    def _take(self, timeout_s: float, max_records: int) -> list[Record]:
        """Return the available records, waiting only for the first."""
        with self._lock:
            if self._closed:
                raise LogUnavailable("the tail is closed")
            with self._translating():
                # `consume` waits for the full number, `poll` for one: poll first, then take the
                # rest.
                first = self._consumer.poll(timeout_s)
                if first is None:
                    if time.monotonic() - self._heard_s > SILENT_S:
                        self._probe()
                    return []
                self._heard_s = time.monotonic()
                messages = [first]
                if max_records > 1:
                    messages += self._consumer.consume(max_records - 1, 0.0)
            return [record for message in messages if (record := self._record(message))]

    def _record(self, message: Message) -> Record | None:
        """Return a message as a record and advance the position."""
        tp = TopicPartition(message.topic() or "", message.partition() or 0)
        error = message.error()
        if error is not None:
            self._handle_error(tp, message, error)
            return None
        offset: int = message.offset() or 0
        self._positions[tp] = offset + 1
        self._at_end.discard(tp)
        return Record(
            tp.topic,
            tp.partition,
            offset,
            message.timestamp()[1],
            message.key(),
            message.value(),
            _headers(message),
        )

    def _handle_error(self, tp: TopicPartition, message: Message, error: KafkaError) -> None:
        """Handle a message that is the end of a partition or an error."""
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public spelling
            self._positions[tp] = max(self._positions[tp], message.offset() or 0)
            self._at_end.add(tp)
        elif code in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
            raise OffsetOutOfRange(
                f"offset {self._positions[tp]} of {tp.topic}[{tp.partition}] is no longer kept or "
                "not written yet; start at the earliest offset"
            )
        elif error.retriable() or code < 0 or code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._errors(error)
        else:
            raise translated(error, f"reading {tp.topic}[{tp.partition}]")

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise self._errors.translate(error, "reading") from error
        except RuntimeError as error:
            raise LogUnavailable(f"the tail is closed: {error}") from error


def _headers(message: Message) -> tuple[tuple[str, bytes], ...]:
    """Return a message's headers; none if a name is no UTF-8, which Kafka does not check."""
    try:
        found = _headers_of(message)
    except (SystemError, UnicodeDecodeError):
        return ()
    return tuple((name, value or b"") for name, value in found or ())
