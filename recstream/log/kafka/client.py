"""Configuration of Kafka clients, and translation of librdkafka's errors into `LogError`."""

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
    LogRefused,
    LogUnavailable,
    NotFound,
    RecstreamError,
)
from recstream.settings import Settings

log = logging.getLogger(__name__)

MAX_RECORD_BYTES = 16 << 20
"""Largest record of topics and producers; deltas of a large catalogue need it."""
DELIVERY_TIMEOUT_S = 20.0
"""How long an append is retried."""
REQUEST_TIMEOUT_S = 10.0
"""How long a request to the broker may take."""
SILENT_S = 4.0
"""A client that hears nothing for this long is probed for lost brokers."""
_SELF_TIMEOUT_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_WARN_EVERY_S = 10.0

_client_numbers = itertools.count()

_PASSWORD_CODES = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - how the library spells its own codes
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
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
        message = f"broker must be kafka://host:port, further brokers after ';', got {url!r}"
        raise InvalidSetting(message)
    return ",".join(names)


def common_options(url: str, settings: Settings | None) -> dict[str, Any]:
    """Return the options that all clients share, security included."""
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
    """Any client of librdkafka."""

    def list_topics(self, topic: str = ..., timeout: float = ...) -> Any:
        """Return the cluster's brokers and topics."""


def with_client_id(shared: dict[str, Any]) -> dict[str, Any]:
    """Return the options of one client, with a client id that is unique in this process."""
    return shared | {"client.id": f"recstream-{next(_client_numbers)}"}


def has_lost_brokers(client: Client, shared: dict[str, Any]) -> bool:
    """Return whether a client finds no broker while a new client does: it must be replaced.

    A starting or stopping broker may answer that the cluster has no brokers. A client that got this
    answer timed out in every call from then on; librdkafka's issue 5301 describes a client that
    forgets its brokers and does not return to the bootstrap servers.
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
    """Return the options of an idempotent producer with acknowledgement by all in-sync replicas."""
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
    """Return the options of a consumer with assigned positions and no automatic commits.

    ``fetch_wait_ms`` is how long the broker holds a fetch when there is nothing new. A consumer that
    was moved to another position may wait that long for its first record.
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
    error : KafkaError
    doing : str
        The operation, for the message: ``"appending"``.
    behind : KafkaError, optional
        The client's last error, the reason behind a time-out.
    """
    code = error.code()
    text = error.str()
    if code in {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE}:
        return InvalidInput(
            f"Kafka, {doing}: {text}; a record has at most {MAX_RECORD_BYTES} bytes"
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
