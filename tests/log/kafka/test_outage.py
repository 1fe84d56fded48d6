"""What is said when Kafka can't be used: the reason, and not what it led to."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from recstream.errors import LogRefused, LogUnavailable
from recstream.log.kafka.outage import LONGEST_PAUSE_S, QUIET_S, ClientErrors, Pauses

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


def test_a_topic_that_takes_smaller_records_needs_an_operator_and_is_no_fault_of_the_record() -> (
    None
):
    said = ClientErrors().translate(
        KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), "appending"
    )

    assert isinstance(said, LogRefused)
    assert "max.message.bytes=16777216" in str(said)


def test_attempts_that_fail_soon_one_after_another_wait_longer_and_longer() -> None:
    now_s = [0.0]
    pauses = Pauses(lambda: now_s[0])

    def attempt(after_s: float) -> float:
        now_s[0] += after_s
        pause_s = pauses.next_s()
        now_s[0] += pause_s
        return pause_s

    assert [attempt(1.0) for _ in range(7)] == [0.0, 0.5, 1.5, 3.5, 7.5, *[LONGEST_PAUSE_S] * 2]
    assert attempt(QUIET_S) == 0.0


def test_pauses_stay_at_the_longest_one_however_long_kafka_refuses() -> None:
    pauses = Pauses(lambda: 0.0)

    assert [pauses.next_s() for _ in range(2_000)][5:] == [LONGEST_PAUSE_S] * 1_995


def test_a_user_who_may_not_use_transactions_is_named() -> None:
    refused = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    said = ClientErrors().translate(KafkaException(refused), "taking a partition over")

    assert isinstance(said, LogRefused)
    assert "permissions of this user" in str(said)
