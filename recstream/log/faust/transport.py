"""Steps 2 and 3 of the flow: the embedded log as a Faust transport, ``broker="embedded:///path"``.

Any Faust app runs on it: agents, tables with changelogs, recovery, several workers that share
partitions. Pass ``--without-web`` (or ``web_enabled=False``) when several workers run on one
machine. ``?sync=normal`` in the URL is the log's own option.

For agents that must be fast and whose effects must happen once, three things go further than
Faust's own interface. They are the consumer's, and a Kafka driver with the same mix-in
(`recstream.log.faust.batches`) offers the same:

* `BatchTopic.of(app, name)` describes a topic that is delivered in batches: each event's value is a
  list of up to 1,000 `Record`s of one partition, in offset order.
* ``await app.consumer.append(records, {tp: next_offset})`` appends to any topics and commits the
  group's offsets, in one transaction. It returns the positions once they are durable, waits while
  the log is unavailable, and raises `LogFenced` when a partition went to another worker: then
  nothing was written, and the batch must be dropped without effects. Faust's own commit never goes
  behind offsets that were committed this way.
* ``app.transport.log`` is the `EventLog` itself, for reading.

The order of effects that keeps them once::

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
    # leaving the loop's body acknowledges the batch
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from faust.transport import base
from faust.types.transports import ConsumerT, ProducerT
from mode import Seconds, want_seconds

from recstream.log.embedded import EmbeddedLog, open_embedded
from recstream.log.faust.appender import Appender
from recstream.log.faust.batch_topic import BatchTopic
from recstream.log.faust.consumer import Consumer
from recstream.log.faust.producer import Producer
from recstream.log.topics import TopicSpec

__all__ = ["BatchTopic", "Consumer", "Producer", "Transport"]


class Transport(base.Transport):
    """Opens the log when it is first needed, and closes it with the producer."""

    Consumer: ClassVar[type[ConsumerT]] = Consumer
    Producer: ClassVar[type[ProducerT]] = Producer

    default_port = 0
    driver_version = "recstream-embedded"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log: EmbeddedLog | None = None
        self._appender: Appender | None = None
        self._known: set[str] = set()

    @property
    def log(self) -> EmbeddedLog:
        """The event log underneath."""
        if self._log is None:
            self._log = open_embedded(str(self.url[0]))
        return self._log

    @property
    def appender(self) -> Appender:
        """The thread that writes."""
        if self._appender is None:
            self._appender = Appender(self.log, group=self.app.conf.id)
        return self._appender

    def create_missing(self, topics: Iterable[str]) -> None:
        """Create topics that nobody declared, as a broker does when they are first used."""
        for topic in topics:
            if topic in self._known:
                continue
            if topic not in self.log.topics():
                declared = (c.partitions for c in self.app.topics if topic in c.topics)
                partitions = next((n for n in declared if n), self.app.conf.topic_partitions)
                self.create_topic(topic, partitions)
            self._known.add(topic)

    def create_topic(
        self,
        topic: str,
        partitions: int,
        *,
        retention: Seconds | None = None,
        compacting: bool | None = None,
        **options: Any,
    ) -> None:
        """Create a topic if it is missing.

        Raises
        ------
        PartitionCountMismatch
            It is there with another partition count.
        """
        del options
        retention_ms = int(want_seconds(retention) * 1000) if retention else None
        self.log.create_topics([TopicSpec(topic, partitions, bool(compacting), retention_ms)])

    def close(self) -> None:
        """Write what is waiting, and close the log."""
        if self._appender is not None:
            self._appender.stop()
            self._appender = None
        if self._log is not None:
            self._log.close()
            self._log = None
        self._known.clear()
