"""Connection of a Faust app to the embedded log: the log, the thread that appends, and its topics."""

from collections.abc import Iterable
from typing import Any

from faust.types import AppT
from mode import Seconds, want_seconds

from recstream.errors import LogUnavailable
from recstream.log.embedded import EmbeddedLog, open_embedded
from recstream.log.faust.appender import Appender
from recstream.log.topics import TopicSpec


class LogConnection:
    """Opens the log when it is first needed, once: after `close` every use is refused.

    A thread of a worker that has stopped may still want to append what it made of old state.

    Parameters
    ----------
    app : AppT
        Its id is the consumer group.
    """

    def __init__(self, app: AppT, url: str) -> None:
        self._app = app
        self._url = url
        self._log: EmbeddedLog | None = None
        self._appender: Appender | None = None
        self._known: set[str] = set()
        self._is_closed = False

    @property
    def log(self) -> EmbeddedLog:
        """The event log."""
        self._check_open()
        if self._log is None:
            self._log = open_embedded(self._url)
        return self._log

    @property
    def appender(self) -> Appender:
        """The thread that appends."""
        self._check_open()
        if self._appender is None:
            self._appender = Appender(self.log, group=self._app.conf.id)
        return self._appender

    def _check_open(self) -> None:
        if self._is_closed:
            raise LogUnavailable("the worker has stopped; its connection to the log is closed")

    def create_missing(self, topics: Iterable[str]) -> None:
        """Create topics that nobody declared, as a broker does when they are first used."""
        for topic in topics:
            if topic in self._known:
                continue
            if topic not in self.log.topics():
                declared = (c.partitions for c in self._app.topics if topic in c.topics)
                partitions = next((n for n in declared if n), self._app.conf.topic_partitions)
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
            It exists with another partition count.
        """
        del options
        retention_ms = int(want_seconds(retention) * 1000) if retention else None
        self.log.create_topics([TopicSpec(topic, partitions, bool(compacting), retention_ms)])

    def close(self) -> None:
        """Append what is waiting, and close the log."""
        self._is_closed = True
        if self._appender is not None:
            self._appender.stop()
            self._appender = None
        if self._log is not None:
            self._log.close()
            self._log = None
        self._known.clear()
