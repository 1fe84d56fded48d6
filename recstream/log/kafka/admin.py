"""Topics of a Kafka cluster: which there are, what they were made as, and how ours are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from recstream.errors import LogFenced, LogUnavailable, NotFound
from recstream.log.kafka.client import (
    MAX_RECORD_BYTES,
    REQUEST_TIMEOUT_S,
    ClientErrors,
    with_client_id,
)
from recstream.log.kafka.identity import TopicIdentity
from recstream.log.port import TopicPartition
from recstream.log.topics import DAY_MS, TopicSpec

T = TypeVar("T")

_SAFE_REPLICATION = 3
_PATIENCE_S = 30.0
_NOT_ALONE = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.NON_EMPTY_GROUP,
}


class KafkaAdmin:
    """Asks the cluster about topics and groups, and makes topics.

    Parameters
    ----------
    shared : dict
        `recstream.log.kafka.client.common_options`.
    where : str
        The servers, for messages.
    errors : ClientErrors
    replication : int
        Copies of each topic that is made.
    """

    def __init__(
        self, shared: dict[str, Any], where: str, errors: ClientErrors, replication: int
    ) -> None:
        self._shared = shared
        self._admin = self._new(errors)
        self._where = where
        self._errors = errors
        self._replication = replication

    def _new(self, errors: ClientErrors) -> AdminClient:
        return AdminClient(with_client_id(self._shared) | {"error_cb": errors})

    def cluster(self) -> str:
        """Return the id that the cluster was formatted with."""
        return str(self._ask(lambda: self._admin.list_topics(timeout=REQUEST_TIMEOUT_S)).cluster_id)

    def all_topics(self) -> dict[str, int]:
        """Return every topic there is with its partition count."""
        listed = self._ask(lambda: self._admin.list_topics(timeout=REQUEST_TIMEOUT_S))
        return {
            name: len(topic.partitions)
            for name, topic in listed.topics.items()
            if topic.error is None
        }

    def describe(self, names: list[str]) -> dict[str, TopicIdentity]:
        """Return those of the topics that exist, as they were made."""
        if not names:
            return {}
        asked = self._ask(
            lambda: self._admin.describe_topics(
                TopicCollection(names), request_timeout=REQUEST_TIMEOUT_S
            )
        )
        there: dict[str, TopicIdentity] = {}
        for name, future in asked.items():
            try:
                described = self._answer(future, f"describing topic {name}")
            except NotFound:
                continue
            there[name] = TopicIdentity(str(described.topic_id), len(described.partitions))
        return there

    def create(self, specs: list[TopicSpec]) -> None:
        """Make topics, and wait until they can be used; one that is there already is left alone."""
        replicas = self._replication
        made = [
            NewTopic(spec.name, spec.partitions, replicas, config=_topic_options(spec, replicas))
            for spec in specs
        ]
        asked = self._ask(
            lambda: self._admin.create_topics(
                made, operation_timeout=REQUEST_TIMEOUT_S, request_timeout=REQUEST_TIMEOUT_S
            )
        )
        for name, future in asked.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._errors.translate(error, f"creating topic {name}") from error
        self._wait_for(specs)

    def _wait_for(self, specs: list[TopicSpec]) -> None:
        """Wait until the brokers know the topics' leaders."""
        names = {spec.name for spec in specs}
        deadline_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline_s:
            if names <= self.all_topics().keys():
                return
            time.sleep(0.01)
        message = f"Kafka at {self._where} made topics {sorted(names)} but does not list them"
        raise LogUnavailable(message)

    def committed(self, group: str) -> dict[TopicPartition, int]:
        """Return the offsets that a group has committed.

        By a client of its own: one that knew a group's coordinator before a restart may never find it
        again.
        """
        admin = self._new(self._errors)
        asked = self._ask(
            lambda: admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=REQUEST_TIMEOUT_S
            )
        )
        held = self._answer(asked[group], f"asking for the offsets of group {group}")
        return {
            TopicPartition(each.topic, each.partition): each.offset
            for each in held.topic_partitions or ()
            if each.offset >= 0
        }

    def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the offsets of a group without members.

        Raises
        ------
        LogFenced
            The group has members, and only they may commit.
        """
        doing = f"committing the offsets of group {group}"
        wanted = [KafkaPartition(*tp, offset) for tp, offset in offsets.items()]
        asked = self._ask(
            lambda: self._admin.alter_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=REQUEST_TIMEOUT_S
            ),
            doing,
        )
        try:
            done = asked[group].result(REQUEST_TIMEOUT_S + 1.0)
            errors = [each.error for each in done.topic_partitions if each.error is not None]
        except KafkaException as error:
            errors = [error.args[0]]
        if not errors:
            return
        if errors[0].code() in _NOT_ALONE:
            message = f"group {group} has members, and only they may commit its offsets: {errors[0].str()}"
            raise LogFenced(message)
        if errors[0].code() < 0:
            self._admin = self._new(self._errors)
        raise self._errors.translate(KafkaException(errors[0]), doing)

    def _ask(self, question: Callable[[], T], doing: str = "asking for topics") -> T:
        """Return the answer of a call to the brokers; librdkafka's errors become ours.

        A client that got no answer may never get one again (`recstream.log.kafka.client.has_lost_brokers`):
        another one asks next.
        """
        try:
            return question()
        except KafkaException as error:
            if error.args[0].code() < 0:
                self._admin = self._new(self._errors)
            raise self._errors.translate(error, f"{doing} at {self._where}") from error

    def _answer(self, future: Future[T], doing: str) -> T:
        return self._ask(lambda: future.result(REQUEST_TIMEOUT_S + 1.0), doing)


def _topic_options(spec: TopicSpec, replication: int) -> dict[str, str]:
    """Return the broker's options for a topic."""
    options = {
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "message.timestamp.type": "CreateTime",
        "cleanup.policy": "compact" if spec.compacted else "delete",
        "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
        "retention.bytes": "-1",
    }
    if spec.compacted:
        # A view that was away for less than this still sees what was deleted meanwhile.
        options["delete.retention.ms"] = str(30 * DAY_MS)
    if replication >= _SAFE_REPLICATION:
        options["min.insync.replicas"] = "2"
    return options
