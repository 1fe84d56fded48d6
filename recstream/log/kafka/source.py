"""Read a topic of another system's Kafka: nothing is written there, and no group is joined."""

from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from recstream.errors import InvalidSetting, LogUnavailable, NotFound
from recstream.log.kafka.client import REQUEST_TIMEOUT_S, common_options, consumer_options
from recstream.log.kafka.outage import ClientErrors
from recstream.log.kafka.tail import KafkaTail
from recstream.log.port import Tail, TopicPartition
from recstream.settings import Settings


class ForeignTopic(NamedTuple):
    """A topic of any cluster.

    Attributes
    ----------
    name : str
        The cluster's id and the topic: the same wherever the brokers are.
    bounds : dict of TopicPartition to (int, int)
        Earliest offset and high watermark.
    """

    name: str
    bounds: dict[TopicPartition, tuple[int, int]]
    options: dict[str, object]

    def tail(self, positions: Mapping[TopicPartition, int]) -> Tail:
        """Return a reader that starts at these offsets."""
        return KafkaTail(self.options, positions)


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
    options = common_options(f"kafka://{broker}", settings)
    errors = ClientErrors()
    with closing(
        Consumer(consumer_options(options, "recstream-source") | {"error_cb": errors})
    ) as it:
        try:
            listed = it.list_topics(topic, REQUEST_TIMEOUT_S)
            found = listed.topics[topic]
            if found.error is not None:
                raise NotFound(f"there is no topic {topic!r} at {broker}: {found.error}")
            bounds = {
                TopicPartition(topic, number): it.get_watermark_offsets(
                    KafkaPartition(topic, number), REQUEST_TIMEOUT_S
                )
                for number in sorted(found.partitions)
            }
        except KafkaException as error:
            raise errors.translate(error, f"reading topic {topic} at {broker}") from error
    if None in bounds.values():
        raise LogUnavailable(f"topic {topic} at {broker} does not tell its offsets; try again")
    return ForeignTopic(f"{listed.cluster_id}/{topic}", bounds, options)
