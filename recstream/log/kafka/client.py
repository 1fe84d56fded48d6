"""What every Kafka client here is told, and what the errors of librdkafka mean to us."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from recstream.errors import (
    InvalidInput,
    InvalidSetting,
    LogError,
    LogUnavailable,
    NotFound,
    RecstreamError,
)
from recstream.settings import Settings

log = logging.getLogger(__name__)

MAX_RECORD_BYTES = 16 << 20
"""Largest record, as topics are created and producers told; deltas of a big catalogue need it."""
DELIVERY_TIMEOUT_S = 20.0
"""How long an append tries before it gives up."""
REQUEST_TIMEOUT_S = 10.0
"""How long a question to the broker may take."""
SILENT_S = 4.0
"""A client that hears nothing for so long is asked whether it still has a connection."""
_SELF_TIMEOUT_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_QUIET_S = 10.0

_numbers = itertools.count()

_PASSWORD_CODES = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - how the library spells its own codes
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_REASONS = _PASSWORD_CODES | {KafkaError._SSL}  # noqa: SLF001

PASSING_CODES = {
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
"""What a broker says while it starts, elects or moves; the same question succeeds a moment later."""

PURGED_CODES = {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}  # noqa: SLF001 - their public spelling
"""What a producer says of records that it was told to give up."""


def bootstrap_servers(url: str) -> str:
    """Return the bootstrap servers of a broker URL, comma-separated.

    >>> bootstrap_servers("kafka://a:9092;b:9092")
    'a:9092,b:9092'

    Raises
    ------
    InvalidSetting
    """
    scheme, _, rest = url.partition("://")
    names = [name.removeprefix("kafka://") for name in rest.rstrip("/").split(";")]
    hosts = [name.rpartition(":") for name in names]
    if scheme != "kafka" or not all(host and port.isdigit() for host, _, port in hosts):
        message = f"broker must be kafka://host:port, more of them after ';', got {url!r}"
        raise InvalidSetting(message)
    return ",".join(names)


def common_options(url: str, settings: Settings | None) -> dict[str, Any]:
    """Return the options that producers, consumers and administration share, security included."""
    options: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers(url),
        "socket.nagle.disable": True,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2_000,
        "log_level": 2,
    }
    if settings is not None:
        options["security.protocol"] = settings.kafka_security_protocol
        given = {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password,
            "ssl.ca.location": settings.kafka_ssl_cafile,
        }
        options |= {option: value for option, value in given.items() if value}
    return options


class Client(Protocol):
    """What every client of librdkafka can be asked."""

    def list_topics(self, topic: str = ..., timeout: float = ...) -> Any:
        """Return the brokers and the topics that the cluster has."""


def with_client_id(shared: dict[str, Any]) -> dict[str, Any]:
    """Return options for one client, which tells the brokers a name that no other one here has."""
    return shared | {"client.id": f"recstream-{next(_numbers)}"}


def has_lost_brokers(client: Client, shared: dict[str, Any]) -> bool:
    """Return whether a client finds no broker where a new one does: it may never find one again.

    A broker that is starting or ending may answer that the cluster has no brokers. A client that was
    told so was seen to time out in every call from then on; librdkafka's issue 5301 describes one
    that forgets its brokers and does not begin anew from the bootstrap servers.
    """
    return not _finds_brokers(client, _SELF_TIMEOUT_S) and _finds_brokers(
        AdminClient(with_client_id(shared)), _PROBE_TIMEOUT_S
    )


def _finds_brokers(client: Client, timeout_s: float) -> bool:
    try:
        return bool(client.list_topics(timeout=timeout_s).brokers)
    except KafkaException:
        return False


def producer_options(shared: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a producer whose acknowledgement means: on all in-sync replicas, once."""
    return with_client_id(shared) | {
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 0.5,
        "message.max.bytes": MAX_RECORD_BYTES,
        "delivery.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
        "request.timeout.ms": 10_000,
        "retry.backoff.ms": 50,
        "retry.backoff.max.ms": 500,
        "queue.buffering.max.messages": 200_000,
    }


def consumer_options(
    shared: dict[str, Any], group: str, fetch_wait_ms: int = 100
) -> dict[str, Any]:
    """Return the options of a consumer that reads where it is told and commits nothing by itself.

    A broker holds a fetch for ``fetch_wait_ms`` when there is nothing new, and answers at once when
    there is; as long may it take until a consumer that was moved gets its first record.
    """
    return with_client_id(shared) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.message.max.bytes": 4 << 20,
        "fetch.wait.max.ms": fetch_wait_ms,
        "fetch.error.backoff.ms": 50,
        "fetch.queue.backoff.ms": 5,
        "queued.max.messages.kbytes": 32 << 10,
    }


class ClientErrors:
    """Remembers the last thing that went wrong, to say it when a time-out alone would tell nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: KafkaError | None = None
        self._told_s = -_QUIET_S

    def __call__(self, error: KafkaError) -> None:
        """Take an error that concerns no single call; told to the log at most every ten seconds."""
        now_s = time.monotonic()
        with self._lock:
            # A connection that was refused for a reason is also lost, which tells less.
            if self._last is None or self._last.code() not in _REASONS or error.code() in _REASONS:
                self._last = error
            if now_s - self._told_s < _QUIET_S:
                return
            self._told_s = now_s
        log.warning("kafka client trouble reason=%s", error.str())

    def translate(self, error: Exception, doing: str) -> RecstreamError:
        """Return our error for one of librdkafka's, with what is behind a mere time-out."""
        cause = error.args[0] if isinstance(error, KafkaException) else None
        if not isinstance(cause, KafkaError):
            return LogUnavailable(f"Kafka, {doing}: {error}")
        return translated(cause, doing, self._last)


def translated(error: KafkaError, doing: str, behind: KafkaError | None = None) -> RecstreamError:
    """Return our error for one of librdkafka's."""
    code = error.code()
    text = error.str()
    if code in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}:
        return InvalidInput(f"Kafka, {doing}: {text}; a record may have {MAX_RECORD_BYTES} bytes")
    if code in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
        return NotFound(f"Kafka, {doing}: {text}; create the topics first")
    if code in PURGED_CODES:
        text = "its connections were lost for good, and are made anew; try again"
    if behind is not None and behind.code() in _REASONS:
        code, text = behind.code(), behind.str()
    elif behind is not None and error.code() != behind.code():
        text = f"{text} ({behind.str()})"
    if code in _PASSWORD_CODES:
        return LogUnavailable(
            f"Kafka, {doing}: {text}; check the settings kafka_security_protocol, kafka_sasl_mechanism,"
            " kafka_sasl_username and kafka_sasl_password, and what this user may do"
        )
    if error.fatal() or error.retriable() or code < 0 or code in PASSING_CODES:
        return LogUnavailable(
            f"Kafka, {doing}: {text}; check that the broker runs and that the broker setting names it"
        )
    return LogError(f"Kafka, {doing}: {text}")
