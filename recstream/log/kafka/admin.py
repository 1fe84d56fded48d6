"""`KafkaAdmin`: list, describe and create topics; read and commit offsets of consumer groups.

A consumer that never joins reads and commits the offsets of a group. `AdminClient` can do both too,
but its requests to a group's coordinator end the process when a broker goes away at the wrong
moment (``Assertion `eonce->refcnt > 0' failed``, librdkafka's issues 3663 and 4605; 2.16 has it).
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewTopic

from recstream.errors import (
    InvalidSetting,
    LogError,
    LogFenced,
    LogRefused,
    LogUnavailable,
    NotFound,
)
from recstream.log.kafka.client import (
    MAX_RECORD_BYTES,
    REQUEST_TIMEOUT_S,
    consumer_options,
    with_client_id,
)
from recstream.log.kafka.identity import TopicIdentity
from recstream.log.kafka.outage import ClientErrors
from recstream.log.port import TopicPartition
from recstream.log.topics import DAY_MS, TopicSpec

log = logging.getLogger(__name__)

T = TypeVar("T")

_SAFE_REPLICATION = 3
_CREATE_TIMEOUT_S = 30.0
_MISSING_S = 1.0
KEPT_CLIENT_TIMEOUT_S = 2.0
"""For a client that has answered before; then another one is asked."""
_GROUP_HAS_MEMBERS = {
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.NON_EMPTY_GROUP,
}


class KafkaAdmin:
    """Administration of topics and consumer groups. Safe to share between threads.

    Parameters
    ----------
    shared : dict
        `recstream.log.kafka.client.common_options`.
    where : str
        Bootstrap servers, for messages.
    """

    def __init__(
        self, shared: dict[str, Any], where: str, errors: ClientErrors, replication: int
    ) -> None:
        self._shared = shared
        self._admin = self._new(errors)
        self._kept: tuple[str, Consumer] | None = None
        self._where = where
        self._errors = errors
        self._replication = replication
        self._warned: set[str] = set()

    def _new(self, errors: ClientErrors) -> AdminClient:
        return AdminClient(with_client_id(self._shared) | {"error_cb": errors})

    def cluster(self) -> str:
        """Return the cluster's id."""
        return str(
            self._call(lambda: self._admin.list_topics(timeout=REQUEST_TIMEOUT_S)).cluster_id
        )

    def all_topics(self) -> dict[str, int]:
        """Return every topic with its partition count."""
        listed = self._call(lambda: self._admin.list_topics(timeout=REQUEST_TIMEOUT_S))
        return {
            name: len(topic.partitions)
            for name, topic in listed.topics.items()
            if topic.error is None
        }

    def describe(self, names: list[str], *, is_patient: bool = False) -> dict[str, TopicIdentity]:
        """Return id and partition count of those topics that exist.

        Parameters
        ----------
        is_patient : bool
            Ask again for missing ones, which a broker that starts may not know yet.
        """
        if not names:
            return {}
        futures = self._call(
            lambda: self._admin.describe_topics(
                TopicCollection(names), request_timeout=REQUEST_TIMEOUT_S
            )
        )
        existing: dict[str, TopicIdentity] = {}
        for name, future in futures.items():
            try:
                described = self._result(future, f"describing topic {name}")
            except NotFound:
                continue
            existing[name] = TopicIdentity(str(described.topic_id), len(described.partitions))
        if is_patient and (missing := [name for name in names if name not in existing]):
            time.sleep(_MISSING_S)
            existing |= self.describe(missing)
        return existing

    def create(self, specs: list[TopicSpec]) -> None:
        """Create topics, and wait until they are listed; an existing topic is left as it is."""
        replicas = self._replication
        new = [
            NewTopic(spec.name, spec.partitions, replicas, config=_topic_options(spec, replicas))
            for spec in specs
        ]
        futures = self._call(
            lambda: self._admin.create_topics(
                new, operation_timeout=REQUEST_TIMEOUT_S, request_timeout=REQUEST_TIMEOUT_S
            )
        )
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._errors.translate(error, f"creating topic {name}") from error
        self._wait_for(specs)

    def check_options(self, specs: list[TopicSpec]) -> None:
        """Check that existing topics keep records for as long, and take as large ones, as created.

        Raises
        ------
        InvalidSetting
            A topic is cleaned up otherwise: records that can't be made again would be deleted.
        """
        if not specs:
            return
        resources = {ConfigResource(ConfigResource.Type.TOPIC, spec.name): spec for spec in specs}
        doing = "reading the configuration of topics"
        futures = self._call(
            lambda: self._admin.describe_configs(
                list(resources), request_timeout=REQUEST_TIMEOUT_S
            ),
            doing,
        )
        for resource, future in futures.items():
            spec = resources[resource]
            try:
                found = {name: each.value for name, each in self._result(future, doing).items()}
            except LogRefused as error:
                self._warn_once(f"configuration of topic {spec.name} not checked: {error}")
                continue
            wanted = _topic_options(spec, self._replication)
            for name in ("cleanup.policy", "retention.ms", "max.message.bytes"):
                if (value := found.get(name, wanted[name])) != wanted[name]:
                    said = (
                        f"topic {spec.name} on Kafka at {self._where} should have"
                        f" {name}={wanted[name]}, has {value}: set it back with kafka-configs.sh"
                    )
                    if name == "cleanup.policy" and _loses_records(found, wanted):
                        raise InvalidSetting(said)
                    self._warn_once(said)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)

    def _wait_for(self, specs: list[TopicSpec]) -> None:
        """Wait until the brokers list the topics."""
        names = {spec.name for spec in specs}
        deadline_s = time.monotonic() + _CREATE_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if names <= self.all_topics().keys():
                return
            time.sleep(0.01)
        raise LogUnavailable(
            f"Kafka at {self._where} created topics {sorted(names)} but does not list them after "
            f"{_CREATE_TIMEOUT_S:g} s; try again"
        )

    def delete_before(self, topic: str, partition: int, offset: int) -> int:
        """Delete records before an offset on the brokers; return the new earliest offset."""
        doing = f"deleting records of {topic}[{partition}] before offset {offset}"
        wanted = KafkaPartition(topic, partition, offset)
        futures = self._call(
            lambda: self._admin.delete_records([wanted], request_timeout=REQUEST_TIMEOUT_S), doing
        )
        (future,) = futures.values()
        return int(self._result(future, doing).low_watermark)

    def erase_within(self, topic: str, lag_ms: int) -> None:
        """Bound how long a topic's files keep deleted records and tombstones."""
        names = ("segment.ms", "max.compaction.lag.ms", "delete.retention.ms")
        change = ConfigResource(
            ConfigResource.Type.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, str(lag_ms), incremental_operation=AlterConfigOpType.SET)
                for name in names
            ],
        )
        doing = f"configuring topic {topic}"
        futures = self._call(
            lambda: self._admin.incremental_alter_configs(
                [change], request_timeout=REQUEST_TIMEOUT_S
            ),
            doing,
        )
        for future in futures.values():
            self._result(future, doing)

    def committed(self, group: str, topics: Mapping[str, int]) -> dict[TopicPartition, int]:
        """Return the committed offsets of a group, of topics with these partition counts.

        The client is kept until a call fails: one that knew the group's coordinator before a
        restart of the broker may never find it again. Then the call is repeated once with another
        client.
        """
        kept, self._kept = self._kept, None
        found = None
        if kept is not None and kept[0] == group:
            with contextlib.suppress(LogError):
                found = self._committed(*kept, topics, KEPT_CLIENT_TIMEOUT_S)
        if found is None:
            kept = group, self._group_consumer(group)
            found = self._committed(*kept, topics, REQUEST_TIMEOUT_S)
        self._kept = kept
        return {
            TopicPartition(each.topic, each.partition): each.offset
            for each in found
            if each.error is None and each.offset >= 0
        }

    def _group_consumer(self, group: str) -> Consumer:
        """Return a consumer that asks for the offsets of a group without joining it."""
        own = {
            # What a transaction is about to commit must not delay the answer.
            "isolation.level": "read_uncommitted",
            # How long a commit waits for the coordinator.
            "session.timeout.ms": int(REQUEST_TIMEOUT_S * 1000),
            "error_cb": self._errors,
        }
        return Consumer(consumer_options(self._shared, group) | own)

    def _committed(
        self, group: str, consumer: Consumer, topics: Mapping[str, int], timeout_s: float
    ) -> list[KafkaPartition]:
        asked = [KafkaPartition(name, at) for name, n in topics.items() for at in range(n)]
        doing = f"reading the offsets of group {group}"
        return self._call(lambda: list(consumer.committed(asked, timeout_s)), doing)

    def commit(self, group: str, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the offsets of a group without members.

        Raises
        ------
        LogFenced
            The group has members, and only they may commit.
        """
        doing = f"committing the offsets of group {group}"
        new = [KafkaPartition(*tp, offset) for tp, offset in offsets.items()]
        consumer = self._group_consumer(group)
        try:
            done = consumer.commit(offsets=new, asynchronous=False)
            errors = [each.error for each in done or () if each.error is not None]
        except KafkaException as error:
            errors = [error.args[0]]
        finally:
            consumer.close()
        if not errors:
            return
        if errors[0].code() in _GROUP_HAS_MEMBERS:
            raise LogFenced(
                f"group {group} has members, and only they may commit its offsets: "
                f"{errors[0].str()}; stop them first"
            )
        if errors[0].code() < 0:
            self._admin = self._new(self._errors)
        raise self._errors.translate(KafkaException(errors[0]), doing)

    def _call(self, request: Callable[[], T], doing: str = "listing topics") -> T:
        """Return a request's result; librdkafka's errors become `LogError`.

        A client that got no answer is replaced: it may never find a broker again
        (`recstream.log.kafka.outage.has_lost_brokers`).
        """
        try:
            return request()
        except KafkaException as error:
            if error.args[0].code() < 0:
                self._admin = self._new(self._errors)
            raise self._errors.translate(error, f"{doing} at {self._where}") from error

    def _result(self, future: Future[T], doing: str) -> T:
        return self._call(lambda: future.result(REQUEST_TIMEOUT_S + 1.0), doing)


def _loses_records(found: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Return whether a topic's cleanup deletes needed records: other keys' newest, or by age."""
    if wanted["cleanup.policy"] == "compact":
        return "delete" in found["cleanup.policy"] and found.get("retention.ms") != "-1"
    return "compact" in found["cleanup.policy"]


def _topic_options(spec: TopicSpec, replication: int) -> dict[str, str]:
    """Return the topic's configuration on the broker."""
    options = {
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "message.timestamp.type": "CreateTime",
        "cleanup.policy": "compact" if spec.compacted else "delete",
        "retention.ms": str(-1 if spec.retention_ms is None else spec.retention_ms),
        "retention.bytes": "-1",
    }
    if spec.compacted:
        # A reader that lags by less than this still sees every tombstone.
        options["delete.retention.ms"] = str(30 * DAY_MS)
    if replication >= _SAFE_REPLICATION:
        options["min.insync.replicas"] = "2"
    return options
