"""The event log on Apache Kafka: the same port as the embedded log, on a real broker."""

from recstream.log.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
