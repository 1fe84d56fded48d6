"""Offsets of a group, without a broker: only those that somebody needs are asked for."""

from typing import Any

import pytest
from confluent_kafka import TopicPartition as KafkaPartition

from recstream.log.kafka.admin import KafkaAdmin
from recstream.log.kafka.log import KafkaLog
from recstream.log.kafka.outage import ClientErrors
from recstream.log.port import TopicPartition

COUNTS = {"recstream.interactions": 2, "recstream.catalogue": 1, "payments": 900}


class Group:
    """A group's consumer that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, int]]] = []

    def committed(self, asked: list[KafkaPartition], _: float) -> list[KafkaPartition]:
        self.asked.append([(each.topic, each.partition) for each in asked])
        return [KafkaPartition(each.topic, each.partition, 7) for each in asked]


class Log(KafkaLog):
    """A log of a cluster that holds topics of others."""

    def __init__(self, admin: KafkaAdmin) -> None:
        self._admin = admin
        self._partitions = {}
        self.patience_s = 0.0


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    consumer = Group()
    monkeypatch.setattr(KafkaAdmin, "_group_consumer", lambda *_: consumer)
    monkeypatch.setattr(KafkaAdmin, "all_topics", lambda _: COUNTS)
    return consumer


def test_only_partitions_of_the_named_topics_are_asked_for(group: Group) -> None:
    options: dict[str, Any] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    log = Log(KafkaAdmin(options, "here", ClientErrors(), 1))

    found = log.committed("g", "recstream.interactions")

    wanted = [("recstream.interactions", 0), ("recstream.interactions", 1)]
    assert group.asked == [wanted]
    assert found == {TopicPartition(*each): 7 for each in wanted}
    log.committed("g")
    assert len(group.asked[1]) == sum(COUNTS.values())
