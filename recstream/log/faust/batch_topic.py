"""Topics that Faust delivers in batches: each message's value is a list of records."""

from typing import Any, cast

from faust.topics import Topic
from faust.types import TP, AppT, ConsumerMessage, EventT, Message

from recstream.log.port import Record


class BatchTopic(Topic):
    """A topic whose messages are lists of `Record`; ``message.offset`` is that of the last.

    Acknowledging the message acknowledges all its records. All agents of an app that read one
    topic must take it the same way: as batches, or record by record.
    """

    @classmethod
    def of(cls, app: AppT, *names: str, partitions: int | None = None) -> "BatchTopic":
        """Describe topics that are read in batches."""
        return cls(app, topics=names, partitions=partitions)

    def _compile_decode(self) -> None:
        async def decode(message: Message, *, propagate: bool = False) -> EventT[Any]:
            del propagate
            value: Any = message.value
            return self._create_event(None, value, None, message=message)

        self.decode = decode  # type: ignore[method-assign]


def batch_message(tp: TP, records: list[Record], generation_id: int) -> ConsumerMessage:
    """Return one message that carries all records of a fetch."""
    last = records[-1]
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        last.offset,
        last.timestamp_ms / 1000.0,
        0,
        None,
        None,
        cast(Any, records),
        None,
        None,
        None,
        tp,
        generation_id=generation_id,
    )
