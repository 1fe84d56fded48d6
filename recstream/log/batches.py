"""Steps 2 and 3 of the flow: Faust messages that carry a batch of records each, on any transport.

Faust's cost is per message: two tasks, a queue, several trips through the event loop. A topic
declared as a `BatchTopic` is delivered as one message per fetch and partition, whose value is the
list of its `Record`s, so that the cost is paid once per batch. Other topics of the same app keep
one message per record.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from faust.topics import Topic
from faust.transport.consumer import Consumer, ensure_TP
from faust.types import TP, AppT, ConsumerMessage, EventT, Message
from faust.types.transports import TPorTopicSet
from mode import ServiceT

from recstream.log.port import NewRecord, Position, Record, TopicPartition

__all__ = ["BatchDelivery", "BatchTopic"]

MAX_BATCH_RECORDS = 1_000
MAX_OPEN_BATCHES = 2
"""Batches of a partition that are delivered and not yet acknowledged: one worked on, one ready."""
_YIELD_EVERY = 100


class BatchTopic(Topic):
    """A topic whose messages are lists of `Record`; ``message.offset`` is the last one's.

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


class _Acked(set[int]):
    """Offsets acknowledged out of order; says so, because streams write to it past `ack`."""

    def __init__(self, on_ack: Callable[[], None]) -> None:
        super().__init__()
        self._on_ack = on_ack

    def add(self, offset: int) -> None:
        super().add(offset)
        self._on_ack()


class BatchDelivery(Consumer):
    """What a Faust consumer must do differently to deliver batches; mix in before a driver's own.

    Replaces the loop between the fetcher and the streams. Per fetch (not per message) it makes
    one task, stops at a rebalance, and goes on as soon as an acknowledgement makes room. Which
    offsets may be committed is known from the order of delivery, so gaps that compaction left
    need no book-keeping.

    A driver provides `_getmany` (a list of records or of messages per partition), `_record` and
    `append`.
    """

    poll_timeout_s = 1.0
    """How long a fetch waits; short where a fetch can't be interrupted."""

    def __post_init__(self) -> None:
        self._batch_topics: frozenset[str] = frozenset()
        self._delivered: defaultdict[TP, deque[int]] = defaultdict(deque)
        self._committable: dict[TP, int] = {}
        self._acked_index = defaultdict(lambda: _Acked(self._on_ack))
        self._is_held_back = False
        self._n_seeks = 0
        self.changed = asyncio.Event()
        super().__post_init__()

    async def append(
        self,
        records: Sequence[NewRecord],
        offsets: Mapping[TopicPartition, int] | None = None,
    ) -> list[Position]:
        """Append records and commit next offsets with them, durable on return.

        Raises
        ------
        LogFenced
            A partition was given to another worker: nothing was written, drop the work.
        """
        raise NotImplementedError

    def _record(self, tp: TP, fetched: Any) -> Record:
        """Return what the driver fetched as a `Record`."""
        raise NotImplementedError

    def note_committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Tell Faust's own commit that these next offsets are committed already."""
        for (topic, partition), offset in offsets.items():
            tp = TP(topic, partition)
            committed = self._committed_offset[tp]
            if committed is None or committed < offset:
                self._committed_offset[tp] = offset
            self._advance(tp)

    # Delivery

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow)
                    continue
                await self._drain_once()
        except asyncio.CancelledError:
            if not self.transport.app.should_stop:
                raise
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise

    async def _drain_once(self) -> None:
        """Fetch and deliver once, unless the flow stops meanwhile."""
        self._batch_topics = frozenset(
            name
            for channel in self.app.topics
            if isinstance(channel, BatchTopic)
            for name in channel.topics
        )
        self.changed.clear()
        self._is_held_back = False
        active = {tp for tp in self._get_active_partitions() if not self._is_full(tp)}
        if not active:
            await self._wait_for_change()
            return
        n_seeks = self._n_seeks
        fetched = await self._getmany(active, self.poll_timeout_s)
        if n_seeks != self._n_seeks or not fetched:
            return
        commit_every = self._commit_every
        if commit_every is not None and self._n_acked >= commit_every:
            self._n_acked = 0
            await self.commit()
        if not self.flow_active:
            await self.perform_seek()
            return
        await self.wait_first(self._deliver(fetched), self.suspend_flow.wait())

    async def _wait_for_change(self) -> None:
        try:
            await asyncio.wait_for(self.changed.wait(), self.poll_timeout_s)
        except TimeoutError:
            return

    def _is_full(self, tp: TP) -> bool:
        if tp.topic not in self._batch_topics:
            return False
        self._advance(tp)
        is_full = len(self._delivered[tp]) >= MAX_OPEN_BATCHES
        self._is_held_back = self._is_held_back or is_full
        return is_full

    async def _deliver(self, fetched: Mapping[Any, Sequence[Any]]) -> None:
        generation = self.app.consumer_generation_id
        n_since_yield = 0
        for tp, message in self._messages(fetched):
            if self.app.consumer_generation_id != generation or not self.flow_active:
                return
            read_offset = self._read_offset[tp]
            if read_offset is not None and message.offset < read_offset:
                continue
            if self.app.topics.acks_enabled_for(tp.topic):
                self._delivered[tp].append(message.offset)
            await self.callback(message)
            self._read_offset[tp] = message.offset
            n_since_yield += 1
            if n_since_yield >= _YIELD_EVERY:
                n_since_yield = 0
                await asyncio.sleep(0)

    def _messages(self, fetched: Mapping[Any, Sequence[Any]]) -> Iterator[tuple[TP, Message]]:
        """Give the messages of a fetch, the partitions taking turns."""
        single: dict[TP, Sequence[Any]] = {}
        for key, found in fetched.items():
            tp = ensure_TP(key)
            if not found:
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if tp.topic not in self._batch_topics:
                single[tp] = found
                continue
            records = [self._record(tp, each) for each in found]
            yield tp, _together(tp, records, self.app.consumer_generation_id)
        for tp, each in self.scheduler.iterate(single):
            yield tp, self._to_message(tp, each)

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch at once when a stream has room again."""
        super().on_buffer_drop(tp)
        self.changed.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch at once from what is resumed."""
        super().resume_partitions(tps)
        self.changed.set()

    # Acknowledging: offsets are committable in the order in which they were delivered.

    def _on_ack(self) -> None:
        if self._is_held_back:
            self.changed.set()

    def _advance(self, tp: TP) -> None:
        """Move past what is acknowledged, or committed together with its effects."""
        delivered = self._delivered[tp]
        acked = self._acked_index[tp]
        committed = self._committed_offset[tp] or 0
        while delivered and (delivered[0] in acked or delivered[0] < committed):
            offset = delivered.popleft()
            acked.discard(offset)
            self._committable[tp] = offset + 1
        self._acked[tp].clear()

    def _new_offset(self, tp: TP) -> int | None:
        return self._committable.pop(tp, None)

    def _filter_tps_with_pending_acks(self, topics: TPorTopicSet | None = None) -> Iterator[TP]:
        for tp in list(self._delivered):
            self._advance(tp)
        return (
            tp
            for tp in list(self._committable)
            if topics is None or tp in topics or tp.topic in topics
        )

    def forget_delivered(self, tps: Iterable[TP]) -> None:
        """Forget what was delivered: the partitions are read again from another offset."""
        self._n_seeks += 1
        for tp in tps:
            self._delivered.pop(tp, None)
            self._acked_index.pop(tp, None)
            self._committable.pop(tp, None)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish with partitions that go to another worker."""
        await super().on_partitions_revoked(revoked)
        self.forget_delivered(revoked)

    async def perform_seek(self) -> None:
        """Go back to the committed offsets."""
        self.forget_delivered(list(self._delivered))
        await super().perform_seek()
        self._n_seeks += 1


def _together(tp: TP, records: list[Record], generation_id: int) -> ConsumerMessage:
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
        records,
        None,
        None,
        None,
        tp,
        generation_id=generation_id,
    )
