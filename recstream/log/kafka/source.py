"""Read a topic of another system's Kafka: nothing is written there, and no group is joined."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from recstream.errors import InvalidSetting, LogUnavailable, NotFound
from recstream.log.kafka.admin import KafkaAdmin
from recstream.log.kafka.client import REQUEST_TIMEOUT_S, common_options, consumer_options
from recstream.log.kafka.outage import ClientErrors
from recstream.log.kafka.tail import KafkaTail
from recstream.log.port import Tail, TopicPartition
from recstream.settings import Settings


class ForeignTopic:
    """A topic of any cluster.

    Attributes
    ----------
    name : str
        The cluster's id and the topic: the same wherever the brokers are.
    """

    def __init__(self, broker: str, topic: str, settings: Settings) -> None:
        self._options = common_options(f"kafka://{broker}", settings)
        self._broker = broker
        self._topic = topic
        self._errors = ClientErrors()
        self._admin = KafkaAdmin(self._options, broker, self._errors, 1)
        with self._asking() as it:
            listed = it.list_topics(topic, REQUEST_TIMEOUT_S)
        found = listed.topics[topic]
        if found.error is not None:
            raise NotFound(f"there is no topic {topic!r} at {broker}: {found.error}")
        self._partitions = sorted(found.partitions)
        self.name = f"{listed.cluster_id}/{topic}"

    @property
    def bounds(self) -> dict[TopicPartition, tuple[int, int]]:
        """Earliest offset and high watermark of each partition, now."""
        with self._asking() as it:
            bounds = {
                TopicPartition(self._topic, number): it.get_watermark_offsets(
                    KafkaPartition(self._topic, number), REQUEST_TIMEOUT_S
                )
                for number in self._partitions
            }
        if None in bounds.values():
            raise LogUnavailable(
                f"expected the offsets of topic {self._topic} at {self._broker}, got no answer in "
                "time; check the broker and try again"
            )
        return bounds

    def look(self) -> tuple[int, int]:
        """Return a number that is another after the topic was created again, and the partition count.

        Raises
        ------
        LogUnavailable
            No broker answers, or the topic is not there now.
        """
        found = self._admin.describe([self._topic]).get(self._topic)
        if found is None:
            raise LogUnavailable(
                f"topic {self._topic} at {self._broker} is not there any more; create it again "
                "under another name"
            )
        self._partitions = list(range(found.partitions))
        digest = hashlib.blake2b(found.id.encode(), digest_size=7).digest()
        return int.from_bytes(digest), found.partitions

    def tail(self, positions: Mapping[TopicPartition, int]) -> Tail:
        """Return a reader that starts at these offsets."""
        return KafkaTail(self._options, positions)

    @contextmanager
    def _asking(self) -> Iterator[Consumer]:
        options = consumer_options(self._options, "recstream-source")
        with closing(Consumer(options | {"error_cb": self._errors})) as consumer:
            try:
                yield consumer
            except KafkaException as error:
                doing = f"reading topic {self._topic} at {self._broker}"
                raise self._errors.translate(error, doing) from error


def open_topic(url: str, settings: Settings) -> ForeignTopic:
    """Return the topic of ``kafka://host:port/topic``; further brokers after ``;``.

    Raises
    ------
    InvalidSetting
        Not such a URL.
    NotFound
        The cluster has no such topic.
    LogUnavailable
        No broker answers.
    """
    broker, _, topic = url.removeprefix("kafka://").partition("/")
    if not broker or not topic:
        raise InvalidSetting(f"a source must be kafka://host:port/topic, got {url!r}")
    return ForeignTopic(broker, topic, settings)
