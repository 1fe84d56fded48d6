"""What happens while Kafka is away: errors that pass, and clients that never find a broker again.

librdkafka repeats requests by itself. What it gives up becomes a `LogError` (`ClientErrors.translate`):

* `LogUnavailable`, if the same request can succeed later. The bridge answers 503; worker and trainer
  wait and try again.
* `LogRefused`, if Kafka refuses the user, a permission or the size of a record. An operator must act.

A client can end in a state without any broker, although brokers are back. Clients that have received
nothing for `SILENT_S` are checked by `has_lost_brokers`; their owners (`producer`, `tail`, `lease`,
`transactions`) then replace them.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from recstream.errors import LogError, LogRefused, LogUnavailable, NotFound, RecstreamError
from recstream.log.kafka.client import MAX_RECORD_BYTES, with_client_id

log = logging.getLogger(__name__)

SILENT_S = 4.0
"""A client that has received nothing for this long is checked for lost brokers."""
LONGEST_PAUSE_S = 15.0
QUIET_S = 60.0
"""After this long without an attempt, the next one does not wait."""
_SELF_TIMEOUT_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_WARN_EVERY_S = 10.0

_PASSWORD_CODES = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - how the library spells its own codes
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}
_REASONS = _PASSWORD_CODES | {KafkaError._SSL}  # noqa: SLF001

TRANSIENT_CODES = {
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.CONCURRENT_TRANSACTIONS,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
}
"""Transient errors of a broker that starts, elects or moves; the same request succeeds later."""

PURGED_CODES = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # noqa: SLF001 - their public spelling
"""Errors of records that were purged from a producer's queue."""


class KafkaClient(Protocol):
    """Any client of librdkafka."""

    def list_topics(self, topic: str = ..., timeout: float = ...) -> Any:
        """Return the cluster's brokers and topics."""


def has_lost_brokers(client: KafkaClient, shared: dict[str, Any]) -> bool:
    """Return whether a client finds no broker while a new client does: it must be replaced.

    A starting or stopping broker may answer that the cluster has no brokers. A client that got this
    answer timed out in every call from then on (librdkafka's issue 5301). Its own way back to the
    bootstrap servers does not always help: docs/explanation/research/fewer-lines.md.
    """
    return not _finds_brokers(client, _SELF_TIMEOUT_S) and _finds_brokers(
        AdminClient(with_client_id(shared)), _PROBE_TIMEOUT_S
    )


def _finds_brokers(client: KafkaClient, timeout_s: float) -> bool:
    try:
        return bool(client.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def unavailable(error: RecstreamError) -> RecstreamError:
    """Return the error of a request to a topic that was there before.

    One that is unknown now was deleted, or the broker has just started and does not know it yet:
    `recstream.log.watch` ends a role whose topic stays away.
    """
    if not isinstance(error, NotFound):
        return error
    return LogUnavailable(f"{error}; it was there before: deleted, or not known to the broker yet")


class Pauses:
    """Pauses before attempts: none after a quiet time, else longer and longer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._n = 0
        self._last_s = -QUIET_S

    def next_s(self) -> float:
        """Return how long to wait before the next attempt."""
        if self._clock() - self._last_s >= QUIET_S:
            self._n = 0
        pause_s = min(LONGEST_PAUSE_S, 0.5 * (2.0**self._n - 1.0))
        self._n += pause_s < LONGEST_PAUSE_S
        self._last_s = self._clock() + pause_s
        return pause_s


class ClientErrors:
    """Keeps a client's last error, the reason behind later time-outs; an ``error_cb``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: KafkaError | None = None
        self._warned_s = -_WARN_EVERY_S

    def __call__(self, error: KafkaError) -> None:
        """Take an error that belongs to no call; logged at most every ten seconds."""
        now_s = time.monotonic()
        with self._lock:
            # A refused connection is then reported as lost too; the refusal says more.
            if self._last is None or self._last.code() not in _REASONS or error.code() in _REASONS:
                self._last = error
            if now_s - self._warned_s < _WARN_EVERY_S:
                return
            self._warned_s = now_s
        log.warning("kafka client error reason=%s", error.str())

    def translate(self, error: Exception, doing: str) -> RecstreamError:
        """Return the `LogError` for an error of librdkafka, with the reason behind a time-out."""
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if not isinstance(cause, KafkaError):
            return LogUnavailable(f"Kafka, {doing}: {error}")
        return translated(cause, doing, self._last)


def translated(error: KafkaError, doing: str, behind: KafkaError | None = None) -> RecstreamError:
    """Return the `RecstreamError` for an error of librdkafka.

    Parameters
    ----------
    doing : str
        The operation, for the message: ``"appending"``.
    behind : KafkaError, optional
        The client's last error, the reason behind a time-out.
    """
    code = error.code()
    text = error.str()
    if code in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}:
        return LogRefused(
            f"Kafka, {doing}: {text}; set max.message.bytes={MAX_RECORD_BYTES} of the topic with"
            " kafka-configs.sh; a larger record is refused whatever the topic says"
        )
    if code in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
        return NotFound(f"Kafka, {doing}: {text}; create the topics first")
    if code in PURGED_CODES:
        text = "the client lost its brokers and was replaced; try again"
    if behind is not None and behind.code() in _REASONS:
        code, text = behind.code(), behind.str()
    elif behind is not None and error.code() != behind.code():
        text = f"{text} ({behind.str()})"
    if code in _PASSWORD_CODES:
        return LogRefused(
            f"Kafka, {doing}: {text}; check the settings kafka_security_protocol, kafka_sasl_mechanism,"
            " kafka_sasl_username and kafka_sasl_password, and the permissions of this user"
        )
    if error.fatal() or error.retriable() or code < 0 or code in TRANSIENT_CODES:
        return LogUnavailable(
            f"Kafka, {doing}: {text}; check that the broker runs and that the broker setting names it"
        )
    return LogError(f"Kafka, {doing}: {text}")
