"""What is said when Kafka can't be used: the reason, and not what it led to."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from recstream.errors import LogUnavailable
from recstream.log.kafka.outage import ClientErrors

LOST = KafkaError(KafkaError._TRANSPORT, "Broker transport failure")
REASONS = [
    KafkaError(KafkaError._SSL, "certificate verify failed"),
    KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"),
]


@pytest.mark.parametrize("reason", REASONS, ids=["certificate", "password"])
def test_a_reason_is_said_also_when_the_connection_was_lost_since(reason: KafkaError) -> None:
    errors = ClientErrors()
    for error in (LOST, reason, LOST):
        errors(error)

    said = errors.translate(KafkaException(LOST), "asking for topics")

    assert isinstance(said, LogUnavailable)
    assert reason.str() in str(said)


def test_the_newest_reason_is_the_one_said() -> None:
    errors = ClientErrors()
    for error in REASONS:
        errors(error)

    assert "invalid credentials" in str(errors.translate(KafkaException(LOST), "reading"))
