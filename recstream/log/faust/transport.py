"""Faust transport of the embedded log, for ``broker="embedded:///path"``.

Any Faust app runs on it: agents, tables with changelogs, recovery, several workers that share
partitions. Pass ``--without-web`` (or ``web_enabled=False``) when several workers run on one
machine. ``?sync=normal`` in the URL is the log's own option.

Three additions, for agents that must be fast and take effect exactly once. The Kafka transport has
them too (`recstream.log.faust.kafka_transport`):

* `BatchTopic.of(app, name)` describes a topic that is delivered in batches: each event's value is a
  list of up to 1,000 `Record`s of one partition, in offset order.
* ``await app.consumer.append(records, {tp: next_offset})`` appends to any topics and commits the
  group's offsets, in one transaction (on Kafka the offsets follow it). It returns the positions once
  they are durable, waits while the log is unavailable, and raises `LogFenced` if another worker owns
  the partition: nothing was written, and the batch must be dropped without effects.
  ``app.consumer.append_all(works)`` does the same for several partitions, from a thread that does not
  run the event loop.
* ``app.transport.log`` is the `EventLog` itself, for reading.

The order of effects that makes them exactly once::

    async def ingest(stream):
        async for event in stream.events():
            records = event.value
            tp = TopicPartition(records[0].topic, records[0].partition)
            changes = fold(records)                      # in memory; skip what was applied before
            try:
                await app.consumer.append(changelog_of(changes), {tp: records[-1].offset + 1})
            except LogFenced:
                continue                                  # the new owner does it
            write_batch(changes)                          # RocksDB, with Faust's offset key
    # the end of the loop's body acknowledges the batch
"""

from typing import Any, ClassVar

from faust.transport import base
from faust.types.transports import ConsumerT, ProducerT

from recstream.log.embedded import EmbeddedLog
from recstream.log.faust.connection import LogConnection
from recstream.log.faust.consumer import Consumer
from recstream.log.faust.producer import Producer


class Transport(base.Transport):
    """The embedded log as Faust knows a broker; the producer closes the connection."""

    Consumer: ClassVar[type[ConsumerT]] = Consumer
    Producer: ClassVar[type[ProducerT]] = Producer

    default_port = 0
    driver_version = "recstream-embedded"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection = LogConnection(self.app, str(self.url[0]))

    @property
    def log(self) -> EmbeddedLog:
        """The event log."""
        return self.connection.log
