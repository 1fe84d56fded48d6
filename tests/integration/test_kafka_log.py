"""What only a real broker shows: restarts, refused passwords, topics made again, full groups."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from recstream.errors import (
    InvalidInput,
    InvalidSetting,
    LogFenced,
    LogUnavailable,
    OffsetOutOfRange,
    PartitionCountMismatch,
)
from recstream.log.kafka import KafkaLog
from recstream.log.kafka.client import MAX_RECORD_BYTES
from recstream.log.port import NewRecord, TopicPartition
from recstream.log.topics import TopicSpec
from recstream.settings import Settings
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import Server

pytestmark = pytest.mark.integration

_names = itertools.count()


@pytest.fixture
def log(kafka_url: str) -> Iterator[KafkaLog]:
    opened = KafkaLog(kafka_url)
    yield opened
    opened.close()


@pytest.fixture
def topic(log: KafkaLog) -> str:
    name = f"kafka-log-{next(_names)}"
    log.create_topics([TopicSpec(name, 2)])
    return name


@pytest.fixture
def admin(kafka_server: Server) -> AdminClient:
    return AdminClient({"bootstrap.servers": f"127.0.0.1:{kafka_server.port}"})


@pytest.fixture
def broker(start_server: Callable[..., Server]) -> Server:
    return start_server("kafka")


def test_the_epoch_is_the_same_for_everybody_and_after_reopening(
    log: KafkaLog, kafka_url: str
) -> None:
    others: list[str] = []

    def open_too() -> None:
        other = KafkaLog(kafka_url)
        others.append(other.epoch)
        other.close()

    threads = [threading.Thread(target=open_too) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert others == [log.epoch] * 3


def test_roles_that_start_at_once_on_a_new_cluster_agree_on_one_epoch(broker: Server) -> None:
    epochs: list[str] = []

    def open_one() -> None:
        opened = KafkaLog(broker.kafka_url)
        epochs.append(opened.epoch)
        opened.close()

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(epochs) == 4
    assert len(set(epochs)) == 1


def test_markers_of_transactions_do_not_wait_but_open_transactions_do(
    log: KafkaLog, topic: str, kafka_url: str
) -> None:
    servers = kafka_url.removeprefix("kafka://")
    foreign = Producer({"bootstrap.servers": servers, "transactional.id": topic})
    foreign.init_transactions(30)

    def begin() -> None:
        foreign.begin_transaction()
        foreign.produce(topic, b"x", b"k", 0)
        assert foreign.flush(30) == 0

    begin()
    log.append([NewRecord(topic, b"k", b"behind", 0)])
    assert log.read(topic, 0, 0) == []
    assert log.n_waiting(topic, 0, 0) == 2

    foreign.commit_transaction(30)
    begin()
    foreign.commit_transaction(30)

    # offsets: x, behind, marker, x, marker
    wait_until(lambda: log.high_watermark(topic, 0) == 5, "the end of the transaction")
    assert [log.n_waiting(topic, 0, offset) for offset in (0, 3, 4, 5)] == [5, 2, 0, 0]


def test_the_epoch_ends_when_a_topic_is_made_again(
    log: KafkaLog, topic: str, kafka_url: str, admin: AdminClient
) -> None:
    admin.delete_topics([topic])[topic].result(10)
    wait_until(lambda: topic not in log.topics(), "the end of the topic")

    again = KafkaLog(kafka_url)
    again.create_topics([TopicSpec(topic, 2)])
    after = KafkaLog(kafka_url)

    assert again.epoch != log.epoch
    assert after.epoch == again.epoch
    again.close()
    after.close()


def test_partitions_that_somebody_added_are_refused(
    log: KafkaLog, topic: str, admin: AdminClient
) -> None:
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(10)
    wait_until(lambda: log.topics()[topic] == 3, "the third partition")

    with pytest.raises(PartitionCountMismatch, match=r"must have 2 partitions, has 3 on Kafka"):
        log.create_topics([TopicSpec(topic, 2)])
    with pytest.raises(PartitionCountMismatch, match=r"must have 2 partitions, has 3 on Kafka"):
        log.create_topics([TopicSpec(topic, 3)])


def test_compaction_and_retention_are_set_on_the_broker(log: KafkaLog, admin: AdminClient) -> None:
    from confluent_kafka.admin import ConfigResource, ResourceType  # noqa: PLC0415 - only here

    log.create_topics(
        [
            TopicSpec("kept-newest", 1, compacted=True),
            TopicSpec("kept-a-day", 1, retention_ms=86_400_000),
        ]
    )

    def options(name: str) -> dict[str, str]:
        resource = ConfigResource(ResourceType.TOPIC, name)
        found = admin.describe_configs([resource])[resource].result(10)
        return {entry.name: entry.value for entry in found.values()}

    assert options("kept-newest")["cleanup.policy"] == "compact"
    assert options("kept-a-day")["cleanup.policy"] == "delete"
    assert options("kept-a-day")["retention.ms"] == "86400000"


def test_a_broker_that_is_away_at_the_start_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(
            LogUnavailable, match=rf"127\.0\.0\.1:{port}.*check that the broker runs"
        ):
            KafkaLog(f"kafka://127.0.0.1:{port}")


@pytest.mark.parametrize("bad", ["kafka://", "kafka://host", "kafka://host:x", "kafka://a:1;b"])
def test_a_broker_url_without_host_or_port_is_refused(bad: str) -> None:
    with pytest.raises(InvalidSetting, match="broker must be kafka://host:port"):
        KafkaLog(bad)


def test_a_security_setting_that_kafka_does_not_know_is_refused(kafka_url: str) -> None:
    with pytest.raises(InvalidSetting, match="kafka_"):
        KafkaLog(kafka_url, Settings(kafka_security_protocol="MAGIC"))


def test_a_record_too_large_is_refused_before_any_is_appended(log: KafkaLog, topic: str) -> None:
    small = NewRecord(topic, None, b"x", 0)
    large = NewRecord(topic, None, bytes(MAX_RECORD_BYTES), 0)

    with pytest.raises(InvalidInput, match=r"record 1 .* must have less than"):
        log.append([small, large])

    assert log.high_watermark(topic, 0) == 0


def test_a_record_of_many_megabytes_goes_through(log: KafkaLog, topic: str) -> None:
    value = bytes(10 << 20)

    log.append([NewRecord(topic, None, value, 0)])

    assert log.read(topic, 0, 0)[0].value == value


def test_only_members_commit_for_a_group_that_has_some(
    log: KafkaLog, topic: str, kafka_server: Server
) -> None:
    member = Consumer(
        {"bootstrap.servers": f"127.0.0.1:{kafka_server.port}", "group.id": f"group-of-{topic}"}
    )
    member.subscribe([topic])
    wait_until(lambda: member.poll(0.05) is None and bool(member.assignment()), "the assignment")

    with pytest.raises(LogFenced, match="only they may commit"):
        log.append([], group=f"group-of-{topic}", offsets={TopicPartition(topic, 0): 1})

    member.close()


def test_user_and_password_are_passed_on(start_server: Callable[..., Server]) -> None:
    guarded = start_server("kafka", "--sasl", "shop:s3cret")

    def settings(password: str) -> Settings:
        return Settings(
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_mechanism="PLAIN",
            kafka_sasl_username="shop",
            kafka_sasl_password=password,
        )

    log = KafkaLog(guarded.kafka_url, settings("s3cret"))
    log.create_topics([TopicSpec("t", 1)])
    assert log.append([NewRecord("t", None, b"x")])[0].offset == 0
    assert [r.value for r in log.read("t", 0, 0)] == [b"x"]
    log.close()

    with pytest.raises(LogUnavailable, match="kafka_sasl_password") as refused:
        KafkaLog(guarded.kafka_url, settings("guessed"))
    assert "guessed" not in str(refused.value)


def test_tls_is_used_and_only_a_broker_that_the_authority_vouches_for_is_spoken_to(
    start_server: Callable[..., Server],
) -> None:
    guarded = start_server("kafka", "--tls")

    def settings(cafile: str) -> Settings:
        return Settings(kafka_security_protocol="SSL", kafka_ssl_cafile=cafile)

    log = KafkaLog(guarded.kafka_url, settings(str(guarded.directory / "tls" / "ca.pem")))
    log.create_topics([TopicSpec("t", 1)])
    writers = log.transactions("g")
    writers.own([TopicPartition("t", 0)])
    assert log.append([NewRecord("t", None, b"x")])[0].offset == 0
    assert writers.append([NewRecord("t", None, b"y")], TopicPartition("t", 0))[0].offset == 1
    wait_until(lambda: [r.value for r in log.read("t", 0, 0)] == [b"x", b"y"], "both to be read")
    writers.close()
    log.close()

    with pytest.raises(LogUnavailable, match="certificate"):
        KafkaLog(guarded.kafka_url, settings(""))


def test_nothing_acknowledged_is_lost_when_the_broker_restarts(broker: Server) -> None:
    log = KafkaLog(broker.kafka_url)
    log.create_topics([TopicSpec("t", 1)])
    tail = log.tail({TopicPartition("t", 0): 0})
    acknowledged: list[int] = []
    stopping = threading.Event()

    def append() -> None:
        for number in itertools.count():
            if stopping.is_set():
                return
            try:
                log.append([NewRecord("t", None, str(number).encode(), 0)])
            except LogUnavailable:
                continue
            acknowledged.append(number)

    writer = threading.Thread(target=append)
    writer.start()
    wait_until(lambda: len(acknowledged) > 100, "the first hundred")
    broker.stop()
    before = len(acknowledged)
    broker.start()
    wait_until(lambda: len(acknowledged) > before + 100, "a hundred after the restart", 60)
    stopping.set()
    writer.join(60)
    seen: list[int] = []
    deadline_s = time.monotonic() + 30
    while acknowledged[-1] not in seen and time.monotonic() < deadline_s:
        seen += [int(record.value or b"-1") for record in tail.poll(0.5)]

    assert sorted(set(acknowledged) - set(seen)) == []
    assert seen == sorted(seen)
    tail.close()
    log.close()


def test_an_append_while_the_broker_is_away_fails_and_later_ones_work(
    broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recstream.log.kafka.client.DELIVERY_TIMEOUT_S", 2.0)
    log = KafkaLog(broker.kafka_url)
    log.create_topics([TopicSpec("t", 1)])
    log.append([NewRecord("t", None, b"first", 0)])
    broker.stop()

    with pytest.raises(LogUnavailable, match="check that the broker runs"):
        log.append([NewRecord("t", None, b"away", 0)])
    with pytest.raises(LogUnavailable):
        log.high_watermark("t", 0)
    broker.start()
    log.append([NewRecord("t", None, b"again", 0)])

    values = [record.value for record in log.read("t", 0, 0)]
    assert values[0] == b"first"
    assert values[-1] == b"again"
    log.close()


def test_reads_of_records_that_are_gone_or_known_do_not_ask_the_broker_for_offsets(
    log: KafkaLog, topic: str, kafka_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([NewRecord(topic, None, b"%d" % n, 0) for n in range(20)])
    asked: list[TopicPartition] = []
    watermarks = log._offsets.watermarks
    monkeypatch.setattr(log._offsets, "watermarks", lambda tp: asked.append(tp) or watermarks(tp))
    assert log.read(topic, 0, 3, 1)[0].value == b"3"

    with contextlib.closing(KafkaLog(kafka_url)) as other:
        other.delete_before(topic, 0, 10)
    for offset in (3, 3, 4, 9, 3):
        with pytest.raises(OffsetOutOfRange):
            log.read(topic, 0, offset)
    for offset in (10, 19):
        assert log.read(topic, 0, offset, 1)[0].value == b"%d" % offset

    assert len(asked) == 2  # at first, and after the deletion was noticed
