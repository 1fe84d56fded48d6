"""Options of Kafka clients: servers, security, producers, consumers."""

import itertools
import logging
from typing import Any

from recstream.errors import InvalidSetting
from recstream.log.port import NewRecord
from recstream.settings import Settings

log = logging.getLogger(__name__)

MAX_RECORD_BYTES = 16 << 20
"""Largest record of topics and producers; deltas of a large catalogue need it."""
DELIVERY_TIMEOUT_S = 20.0
"""How long an append is retried."""
REQUEST_TIMEOUT_S = 10.0
"""How long a request to the broker may take."""

_client_numbers = itertools.count()


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


def with_client_id(shared: dict[str, Any]) -> dict[str, Any]:
    """Return the options of one client, with a client id that is unique in this process."""
    return shared | {"client.id": f"recstream-{next(_client_numbers)}"}


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


def record_options(record: NewRecord) -> dict[str, Any]:
    """Return the arguments of ``produce`` that not every record has."""
    options: dict[str, Any] = {}
    if record.timestamp_ms is not None:
        options["timestamp"] = record.timestamp_ms
    if record.headers:
        options["headers"] = list(record.headers)
    return options


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
