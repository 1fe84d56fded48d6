"""Faust producer of the embedded log."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, cast

from faust.transport import base
from faust.transport.producer import ProducerBuffer
from faust.types import TP, FutureMessage, HeadersArg, RecordMetadata

from recstream.errors import LogUnavailable
from recstream.log.faust.connection import LogConnection
from recstream.log.partitioner import partition_for
from recstream.log.port import NewRecord, Position

MAX_UNSENT = 5_000
"""Streams wait while more records than this are not durable yet."""


class _Buffer(ProducerBuffer):
    """Faust's buffer of table changes, without a task and a timer for each change."""

    producer: "Producer"

    def put(self, fut: FutureMessage) -> None:
        """Pass a change to the producer at once."""
        self.producer.hand_over(fut)

    @property
    def size(self) -> int:
        """Records that are not durable yet."""
        return self.producer.n_unsent

    async def wait_until_ebb(self) -> None:
        """Hold streams back while the log is slower than they are."""
        if self.producer.n_unsent > MAX_UNSENT:
            await self.producer.wait_until_sent(MAX_UNSENT // 2)

    async def flush(self) -> None:
        """Wait until all is durable."""
        await self.producer.wait_until_sent(0)


class _Unsent(NamedTuple):
    """A record that a future waits for."""

    record: NewRecord
    resolve: Callable[[RecordMetadata | None, BaseException | None], None]


class Producer(base.Producer):
    """Appends what streams and tables send, in one append per turn of the event loop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.connection: LogConnection = cast(Any, self.transport).connection
        self.n_unsent = 0
        self._gathered: list[_Unsent] = []
        self._sent = asyncio.Event()

    async def on_start(self) -> None:
        """Take the place of Faust's own buffer."""
        buffer = _Buffer(loop=self.loop, beacon=self.beacon)
        buffer.app = self.app
        buffer.producer = self
        self.buffer = buffer
        await super().on_start()

    async def on_stop(self) -> None:
        """Wait for what was sent, and close the log."""
        await self.flush()
        await asyncio.to_thread(self.connection.close)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Append soon; the future gives the record's position once it is durable."""
        del transactional_id
        future: asyncio.Future[RecordMetadata] = self.loop.create_future()

        def resolve(metadata: RecordMetadata | None, error: BaseException | None) -> None:
            if future.done():
                return
            if metadata is None:
                future.set_exception(error or LogUnavailable("nothing was appended"))
            else:
                future.set_result(metadata)

        self._gather(_Unsent(_record(topic, key, value, partition, timestamp, headers), resolve))
        return future

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Append as `send` does, and wait until it is durable."""
        return await (await self.send(*args, **kwargs))

    def send_soon(self, fut: FutureMessage) -> None:
        """Append soon, from code that can't wait: a change of a table."""
        self.hand_over(fut)

    def hand_over(self, fut: FutureMessage) -> None:
        """Append a message that Faust prepared, and resolve it when it is durable."""
        message = fut.message
        topic = cast(Any, message.channel).get_topic_name()
        sensors = self.app.sensors
        key, value = cast("bytes | None", message.key), cast("bytes | None", message.value)
        state = sensors.on_send_initiated(self, topic, message, len(key or b""), len(value or b""))

        def resolve(metadata: RecordMetadata | None, error: BaseException | None) -> None:
            if metadata is None:
                reason = error or LogUnavailable("nothing was appended")
                fut.set_exception(reason)
                sensors.on_send_error(self, reason, state)
                return
            fut.set_result(metadata)
            if message.callback:
                message.callback(fut)
            sensors.on_send_completed(self, state, metadata)

        record = _record(topic, key, value, message.partition, message.timestamp, message.headers)
        self._gather(_Unsent(record, resolve))

    def _gather(self, unsent: _Unsent) -> None:
        self.connection.create_missing((unsent.record.topic,))
        self.n_unsent += 1
        self._sent.clear()
        self._gathered.append(unsent)
        if len(self._gathered) == 1:
            self.loop.call_soon(self._submit)

    def _submit(self) -> None:
        gathered, self._gathered = self._gathered, []

        def done(positions: list[Position] | None, error: BaseException | None) -> None:
            self.loop.call_soon_threadsafe(self._resolve, gathered, positions, error)

        self.connection.appender.submit([unsent.record for unsent in gathered], None, done)

    def _resolve(
        self, gathered: list[_Unsent], positions: list[Position] | None, error: BaseException | None
    ) -> None:
        self.n_unsent -= len(gathered)
        self._sent.set()
        for index, unsent in enumerate(gathered):
            if positions is None:
                unsent.resolve(None, error)
                continue
            topic, partition, offset = positions[index]
            unsent.resolve(RecordMetadata(topic, partition, TP(topic, partition), offset), None)

    async def wait_until_sent(self, at_most: int) -> None:
        """Wait until no more than so many records are not durable yet."""
        while self.n_unsent > at_most:
            self._sent.clear()
            await self._sent.wait()

    async def flush(self) -> None:
        """Wait until all that was sent is durable."""
        await self.wait_until_sent(0)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Return the partition of a key."""
        self.connection.create_missing((topic,))
        return TP(topic, partition_for(key, self.connection.log.partitions(topic)))

    async def create_topic(
        self, topic: str, partitions: int, replication: int, **options: Any
    ) -> None:
        """Create a topic if it is missing."""
        del replication
        self.connection.create_topic(topic, partitions, **options)

    def supports_headers(self) -> bool:
        """Return True: records have headers."""
        return True


def _record(
    topic: str,
    key: bytes | None,
    value: bytes | None,
    partition: int | None,
    timestamp: float | None,
    headers: HeadersArg | None,
) -> NewRecord:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    timestamp_ms = int(timestamp * 1000) if timestamp else None
    return NewRecord(
        topic, key, value, partition, timestamp_ms, tuple((k, bytes(v)) for k, v in pairs)
    )
