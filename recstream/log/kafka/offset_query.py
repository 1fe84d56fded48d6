"""`OffsetQuery`: earliest offset, high watermark, and the offset of a time.

A consumer asks: `AdminClient.list_offsets` took 2.4 times as long for the watermarks and four times
as long for a time (confluent-kafka 2.16, one broker).
"""

import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from recstream.errors import LogUnavailable
from recstream.log.kafka.client import REQUEST_TIMEOUT_S, consumer_options
from recstream.log.kafka.outage import TRANSIENT_CODES, ClientErrors, unavailable
from recstream.log.port import TopicPartition

T = TypeVar("T")

_RETRY_S = 0.02
_COMMITTED, _ALL = "read_committed", "read_uncommitted"
_NONE_FOUND = -1


class OffsetQuery:
    """Queries offsets of partitions. Safe to share between threads.

    Parameters
    ----------
    known : collection of str
        Topics that are there; one that the broker does not know now is unavailable.
    """

    def __init__(
        self, shared: dict[str, Any], where: str, errors: ClientErrors, known: Collection[str] = ()
    ) -> None:
        self._known = known
        self._shared = shared
        self._where = where
        self._errors = errors
        self._consumers = {_COMMITTED: self._new(_COMMITTED)}

    def watermarks(self, tp: TopicPartition, *, with_open: bool = False) -> tuple[int, int]:
        """Return the earliest offset and the high watermark.

        Parameters
        ----------
        with_open : bool
            Count records of transactions that are still open, and those behind them.
        """

        def request(consumer: Consumer) -> tuple[int, int]:
            found = consumer.get_watermark_offsets(KafkaPartition(*tp), REQUEST_TIMEOUT_S)
            if found is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            return found

        doing = f"reading the offsets of {tp.topic}[{tp.partition}]"
        return self._call(request, doing, tp.topic, _ALL if with_open else _COMMITTED)

    def offset_for_time(self, tp: TopicPartition, timestamp_ms: int) -> int | None:
        """Return the first offset with this timestamp or a later one, None if there is none."""
        moment = KafkaPartition(*tp, max(0, timestamp_ms))

        def request(consumer: Consumer) -> int:
            (found,) = consumer.offsets_for_times([moment], REQUEST_TIMEOUT_S)
            if found.error is not None:
                raise KafkaException(found.error)
            return int(found.offset)

        offset = self._call(request, "finding the offset of a time", tp.topic)
        return None if offset == _NONE_FOUND else offset

    def close(self) -> None:
        """Close the connection; calls in other threads raise `LogUnavailable`."""
        for consumer in list(self._consumers.values()):
            consumer.close()

    def _new(self, isolation: str) -> Consumer:
        own = {"isolation.level": isolation, "error_cb": self._errors}
        return Consumer(consumer_options(self._shared, "recstream-offsets") | own)

    def _call(
        self, request: Callable[[Consumer], T], doing: str, topic: str, isolation: str = _COMMITTED
    ) -> T:
        """Return a request's result, retried on transient errors."""
        deadline_s = time.monotonic() + REQUEST_TIMEOUT_S
        while True:
            consumer = self._consumers.get(isolation)
            if consumer is None:
                consumer = self._consumers[isolation] = self._new(isolation)
            try:
                return request(consumer)
            except KafkaException as error:
                is_transient = error.args[0].code() in TRANSIENT_CODES
                if not is_transient and consumer is self._consumers[isolation]:
                    self._consumers[isolation] = self._new(isolation)
                if not is_transient or time.monotonic() > deadline_s:
                    raised = self._errors.translate(error, f"{doing} at {self._where}")
                    raise (unavailable(raised) if topic in self._known else raised) from error
                time.sleep(_RETRY_S)
            except RuntimeError as error:
                raise LogUnavailable(f"the log is closed: {error}") from error
