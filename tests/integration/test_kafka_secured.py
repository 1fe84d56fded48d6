"""A worker speaks to a broker that asks for a password and shows a certificate."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recstream.log.kafka import KafkaLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import INTERACTIONS
from recstream.settings import Settings
from tests.integration.roles import Role, until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = [pytest.mark.integration, pytest.mark.slow]

EVENT = b'{"id": "e1", "type": "view", "user": "u1", "item": "p1", "ts": "2026-01-01T00:00:00Z"}'


def test_a_worker_works_over_tls_with_a_password_and_says_why_it_is_refused(
    start_server: Callable[..., Server], tmp_path: Path, roles: list[Role]
) -> None:
    password = secrets.token_hex(8)
    broker = start_server("kafka", "--tls", "--sasl", f"shop:{password}")
    given = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": "shop",
        "kafka_ssl_cafile": str(broker.directory / "tls" / "ca.pem"),
    }
    options = [f"--set={name}={value}" for name, value in given.items()]
    options += ["--set=partitions=1", f"--broker={broker.kafka_url}"]

    worker = Role("worker", tmp_path / "worker", *options, f"--set=kafka_sasl_password={password}")
    roles.append(worker)
    until(lambda: "worker started" in worker.said(), "the worker's start", roles)
    log = KafkaLog(broker.kafka_url, Settings(kafka_sasl_password=password, **given))
    log.append([NewRecord(INTERACTIONS, b"u1", EVENT)])
    until(
        lambda: log.committed("recstream-worker").get(TopicPartition(INTERACTIONS, 0)) == 1,
        "an event worked off",
        roles,
    )
    assert worker.end() == 0
    log.close()

    refused = Role("worker", tmp_path / "refused", *options, "--set=kafka_sasl_password=guessed")
    roles.append(refused)
    assert refused.process.wait(60) == 1
    assert "kafka_sasl_password" in refused.said()
    assert "guessed" not in refused.said()
