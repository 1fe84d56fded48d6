"""Producers and operators that are not recstream's, on its topics of a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from recstream.core.history import table_rows
from recstream.errors import InvalidSetting, LogRecreated
from recstream.log.kafka import KafkaLog
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import CONTROL, INTERACTIONS, TopicSpec, histories_changelog
from tests.integration.roles import Role, until
from tests.waiting import wait_until

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


ODD_HEADERS = """
import asyncio, sys, aiokafka

class Odd(str):
    def encode(self, *_):
        return b"\\xff"

async def main(servers, topic, value):
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for headers in ([(Odd("x"), b"1")], [("recstream-forgotten", None)]):
            await producer.send_and_wait(topic, value.encode(), b"odd", 0, headers=headers)

asyncio.run(main(*sys.argv[1:]))
"""
"""Header names that are no UTF-8, and header values of null: Kafka checks neither."""


def test_headers_of_any_bytes_stop_no_reader(
    broker: Server, log: KafkaLog, tmp_path: Path, roles: list[Role]
) -> None:
    worker = start_worker(broker, tmp_path / "worker", roles)
    names = [f"e{number}" for number in range(3)]
    log.append([NewRecord(INTERACTIONS, b"u", event(names[0], "u"), 0)])
    place = f"127.0.0.1:{broker.port}", INTERACTIONS, event(names[1], "u").decode()
    subprocess.run(
        [sys.executable, "-c", ODD_HEADERS, *place],
        check=True,
        env=os.environ | {"AIOKAFKA_NO_EXTENSIONS": "1"},  # its own Python code builds the record
        timeout=60,
    )
    log.append([NewRecord(INTERACTIONS, b"u", event(names[2], "u"), 0)])

    wait_until_folded(log, roles)

    records = log.read(INTERACTIONS, 0, 0)
    assert [record.headers for record in records] == [(), (), (("recstream-forgotten", b""),), ()]
    rows = log.read(histories_changelog(GROUP), 0, 0)
    history = table_rows.load("u", {each.key: each.value for each in rows}.get)
    assert history is not None
    assert history.n_ids == len(names)
    assert worker.end() == 0


def configure(broker: Server, topic: str, name: str, value: str) -> None:
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{broker.port}"})
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([change]).values():
        future.result(30)


def test_a_worker_whose_rows_a_topic_does_not_take_says_why_and_tries_again_now_and_then(
    broker: Server, log: KafkaLog, tmp_path: Path, roles: list[Role]
) -> None:
    worker = start_worker(broker, tmp_path / "worker", roles)
    configure(broker, histories_changelog(GROUP), "max.message.bytes", "100")
    log.append([NewRecord(INTERACTIONS, b"u", event("e", "u"), 0)])
    until(lambda: "joining the group again" in worker.said(), "the first attempt", roles)
    begun_s = time.monotonic()

    until(lambda: worker.said().count("joining the group again") >= 5, "five attempts", roles)

    assert time.monotonic() - begun_s > 5.5  # pauses of 0.5, 1.5 and 3.5 s
    said = f"appending to {histories_changelog(GROUP)}: Broker: Message size too large"
    assert f"{said}; set max.message.bytes=16777216" in worker.said()
    configure(broker, histories_changelog(GROUP), "max.message.bytes", "16777216")
    wait_until_folded(log, roles)
    assert worker.end() == 0


def start_all(broker: Server, folder: Path, roles: list[Role]) -> None:
    """Start a worker, a trainer and a bridge, and wait until they run."""
    start_worker(broker, folder / "worker", roles)
    options = ("--broker", broker.kafka_url, "--set", "partitions=1")
    trainer = Role("trainer", folder / "trainer", *options)
    bridge = Role("bridge", folder / "bridge", *options, "--port", "0")
    roles += [trainer, bridge]
    until(bridge.url, "the bridge's start", roles)
    until(lambda: "model published" in trainer.said(), "the trainer's start", roles)


def make_again(broker: Server, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{broker.port}"})
    for future in admin.delete_topics(list(topics)).values():
        future.result(30)
    wait_until(lambda: not admin.list_topics().topics.keys() & set(topics), "the end of topics")
    for topic in topics:
        (future,) = admin.create_topics([NewTopic(topic, 1, 1)]).values()
        future.result(30)


def test_no_role_takes_the_events_of_a_topic_that_was_made_again_for_old_ones(
    broker: Server, log: KafkaLog, tmp_path: Path, roles: list[Role]
) -> None:
    start_all(broker, tmp_path, roles)
    log.append([NewRecord(INTERACTIONS, b"u", event(f"e{n}", "u"), 0) for n in range(9)])
    wait_until_folded(log, roles)

    make_again(broker, INTERACTIONS)

    for role in tuple(roles):
        until(lambda role=role: role.process.poll(), "an end with an error", roles)
        assert f"topic {INTERACTIONS} on Kafka" in role.said()
        assert "was deleted or created again" in role.said()
    changelog = histories_changelog(GROUP)
    for _ in range(2):
        with pytest.raises(
            LogRecreated, match=f"rows with offsets of the old topic are still in {changelog}"
        ):
            KafkaLog(broker.kafka_url)
    make_again(broker, changelog)
    configure(broker, changelog, "cleanup.policy", "compact")
    with closing(KafkaLog(broker.kafka_url)) as new:
        new.append([NewRecord(INTERACTIONS, b"u", event("e0", "u"), 0)])
        start_worker(broker, tmp_path / "worker2", roles)
        until(
            lambda: any(r.key == b"u" for r in new.read(changelog, 0, 0)), "a folded event", roles
        )


def test_roles_end_by_name_when_the_control_topic_alone_is_deleted(
    broker: Server, log: KafkaLog, tmp_path: Path, roles: list[Role]
) -> None:
    start_all(broker, tmp_path, roles)
    log.append([NewRecord(INTERACTIONS, b"u", event("e", "u"), 0)])
    wait_until_folded(log, roles)
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{broker.port}"})

    admin.delete_topics([CONTROL])[CONTROL].result(30)

    for role in tuple(roles):
        until(lambda role=role: role.process.poll(), "an end with an error", roles)
        assert f"topic {CONTROL} on Kafka" in role.said()
        assert "not stopped" not in role.said()


@pytest.mark.parametrize(("is_compacted", "policy"), [(False, "compact"), (True, "delete")])
def test_a_topic_whose_cleanup_would_delete_needed_records_is_refused(
    kafka_server: Server, is_compacted: bool, policy: str
) -> None:
    spec = TopicSpec(f"foreign-{policy}", 1, is_compacted)
    with closing(KafkaLog(kafka_server.kafka_url)) as log:
        log.create_topics([spec])
        configure(kafka_server, spec.name, "retention.ms", "86400000")
        log.check_topics()
        configure(kafka_server, spec.name, "cleanup.policy", policy)
        with pytest.raises(InvalidSetting, match=r"cleanup\.policy"):
            log.create_topics([spec])
        with pytest.raises(InvalidSetting, match=r"cleanup\.policy"):
            log.check_topics()


def test_a_topic_that_keeps_everything_is_used_and_warned_of(
    kafka_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    spec = TopicSpec("foreign-kept", 1, compacted=True)
    with closing(KafkaLog(kafka_server.kafka_url)) as log:
        log.create_topics([spec])
        configure(kafka_server, spec.name, "cleanup.policy", "delete")
        log.create_topics([spec])
    assert "cleanup.policy=compact, has delete" in caplog.messages[0]


def test_other_limits_of_a_topic_are_warned_of(
    kafka_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    spec = TopicSpec("foreign-limits", 1)
    with closing(KafkaLog(kafka_server.kafka_url)) as log:
        log.create_topics([spec])
        log.create_topics([spec])
        assert caplog.messages == []
        configure(kafka_server, spec.name, "retention.ms", "1000")
        configure(kafka_server, spec.name, "max.message.bytes", "100")
        log.create_topics([spec])
    assert ["retention.ms" in caplog.messages[0], "max.message.bytes" in caplog.messages[1]] == [
        True,
        True,
    ]
