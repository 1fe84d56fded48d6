"""Questions about partitions: where they begin and end, and what offset a time has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from recstream.errors import LogUnavailable
from recstream.log.kafka.client import (
    PASSING_CODES,
    REQUEST_TIMEOUT_S,
    ClientErrors,
    consumer_options,
)
from recstream.log.port import TopicPartition

T = TypeVar("T")

_AGAIN_S = 0.02
_END = -1


class OffsetQuery:
    """Asks the brokers about partitions. Safe to share between threads.

    Parameters
    ----------
    shared : dict
        `recstream.log.kafka.client.common_options`.
    where : str
        The servers, for messages.
    errors : ClientErrors
    """

    def __init__(self, shared: dict[str, Any], where: str, errors: ClientErrors) -> None:
        self._shared = shared
        self._where = where
        self._errors = errors
        self._consumer = self._new()

    def watermarks(self, tp: TopicPartition) -> tuple[int, int]:
        """Return the offsets of the first record and after the last one."""

        def ask(consumer: Consumer) -> tuple[int, int]:
            answer = consumer.get_watermark_offsets(KafkaPartition(*tp), REQUEST_TIMEOUT_S)
            if answer is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            return answer

        return self._ask(ask, f"asking for the offsets of {tp.topic}[{tp.partition}]")

    def offset_for_time(self, tp: TopicPartition, timestamp_ms: int) -> int | None:
        """Return the first offset whose record has this time or a later one, None if none has."""
        asked = KafkaPartition(*tp, max(0, timestamp_ms))
        found = self._ask(
            lambda consumer: consumer.offsets_for_times([asked], REQUEST_TIMEOUT_S),
            "asking for a time",
        )
        offset: int = found[0].offset
        return None if offset == _END else offset

    def close(self) -> None:
        """Close the connection; who still asks is told that the log is closed."""
        self._consumer.close()

    def _new(self) -> Consumer:
        options = consumer_options(self._shared, "recstream-asker")
        return Consumer(options | {"error_cb": self._errors})

    def _ask(self, question: Callable[[Consumer], T], doing: str) -> T:
        """Return the answer of a call to the brokers, asked again while one is starting.

        A client that got no answer may never get one again (`recstream.log.kafka.client.has_lost_brokers`):
        another one asks next.
        """
        deadline_s = time.monotonic() + REQUEST_TIMEOUT_S
        while True:
            consumer = self._consumer
            try:
                return question(consumer)
            except KafkaException as error:
                is_passing = error.args[0].code() in PASSING_CODES
                if not is_passing and consumer is self._consumer:
                    self._consumer = self._new()
                if not is_passing or time.monotonic() > deadline_s:
                    raise self._errors.translate(error, f"{doing} at {self._where}") from error
                time.sleep(_AGAIN_S)
            except RuntimeError as error:
                raise LogUnavailable(f"the log is closed: {error}") from error
