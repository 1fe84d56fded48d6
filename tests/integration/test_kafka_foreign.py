"""Producers and operators that are not recstream's, on its topics of a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest
from confluent_kafka import Producer

from recstream.log.kafka import KafkaLog
from recstream.log.port import TopicPartition
from recstream.log.topics import INTERACTIONS
from tests.integration.roles import Role, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import Server

pytestmark = pytest.mark.integration

GROUP = "recstream-worker"


def event(name: str, user: str) -> bytes:
    fields = {"id": name, "type": "view", "user": user, "item": "i", "ts": "2026-01-01T00:00:00Z"}
    return msgspec.json.encode(fields)


@pytest.fixture
def broker(start_server: Callable[..., Server]) -> Server:
    return start_server("kafka")


@pytest.fixture
def log(broker: Server) -> Iterator[KafkaLog]:
    with closing(KafkaLog(broker.kafka_url)) as opened:
        yield opened


def start_worker(broker: Server, folder: Path, roles: list[Role]) -> Role:
    options = ("--broker", broker.kafka_url, "--set", "partitions=1")
    worker = Role("worker", folder, *options)
    roles.append(worker)
    until(lambda: "worker started" in worker.said(), "the worker's start", roles)
    return worker


def wait_until_folded(log: KafkaLog, roles: list[Role]) -> None:
    tp = TopicPartition(INTERACTIONS, 0)
    until(lambda: log.committed(GROUP).get(tp) == log.high_watermark(*tp), "all folded", roles)


def test_batches_of_any_compression_are_folded(
    broker: Server, log: KafkaLog, tmp_path: Path, roles: list[Role]
) -> None:
    worker = start_worker(broker, tmp_path / "worker", roles)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        servers = f"127.0.0.1:{broker.port}"
        producer = Producer({"bootstrap.servers": servers, "compression.codec": codec})
        for number in range(100):
            producer.produce(INTERACTIONS, event(f"{codec}{number}", codec), codec.encode(), 0)
        assert producer.flush(30) == 0
        wait_until_folded(log, roles)
    assert worker.end() == 0
