"""Faust transports of the embedded log and of Kafka, with record batches and effects exactly once.

In: a Faust app whose broker is ``embedded:///path``, or Kafka with the options of
`kafka_transport.app_options`. Out: batches of records to agents, appends with offsets.
"""

from recstream.log.faust.batch_topic import BatchTopic
