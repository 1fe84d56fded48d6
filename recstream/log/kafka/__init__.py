"""The event log on Apache Kafka: the same port as the embedded log.

In: records to append, transactions of a partition's owner, questions about topics and offsets. Out:
records by partition and offset. Uses confluent-kafka (librdkafka); no Faust here. `outage` says
what happens while Kafka is away.
"""

from recstream.log.kafka.lease import KafkaLease
from recstream.log.kafka.log import KafkaLog
from recstream.log.kafka.outage import Pauses
from recstream.log.kafka.source import open_topic
from recstream.log.kafka.transactions import PartitionTransactions
