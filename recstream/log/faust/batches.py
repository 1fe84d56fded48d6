"""Deliver batches of records as single Faust messages, on any transport.

Faust's cost is per message: two tasks, a queue, several turns of the event loop. A `BatchTopic` is
delivered as one message per fetch and partition, whose value is the list of its `Record`s. Other
topics of the app keep one message per record.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from faust.streams import current_event
from faust.tables.manager import TableManager
from faust.transport.consumer import Consumer, ensure_TP
from faust.types import TP, Message
from faust.types.transports import TPorTopicSet
from mode import ServiceT

from recstream.errors import LogFenced
from recstream.log.faust.batch_topic import BatchTopic, batch_message
from recstream.log.port import NewRecord, Position, Record, TopicPartition

MAX_BATCH_RECORDS = 4_000
MAX_OPEN_BATCHES = 2
"""Unacknowledged batches of a partition: one being processed, one ready."""
Work = tuple[Sequence[NewRecord], Mapping[TopicPartition, int]]
"""Records, and next offsets of the group: the embedded log commits them with the records, Kafka afterwards."""
_YIELD_EVERY = 100
_HAND_OVER_S = 0.01
_REBALANCE_LOOK_S = 0.01


class _Acked(set[int]):
    """Faust's index of acknowledged offsets, with a callback: streams write to it directly."""

    def __init__(self, on_ack: Callable[[], None]) -> None:
        super().__init__()
        self._on_ack = on_ack

    def add(self, offset: int) -> None:
        super().add(offset)
        self._on_ack()


class _Emptied:
    """A queue for Faust's flow control that calls back when Faust empties its queues."""

    def __init__(self, on_emptied: Callable[[], None]) -> None:
        self.clear = on_emptied


class BatchDelivery(Consumer):
    """Mix-in for a Faust consumer that delivers batches.

    Replaces the loop between the fetcher and the streams. It makes one task per fetch, stops at a
    rebalance, and continues as soon as an acknowledgement makes room. Offsets are committable in
    the order of delivery, so gaps left by compaction need no bookkeeping.

    Use as ``class Consumer(BatchDelivery, Driver)``. The driver provides what any Faust consumer
    does, and `_record` and `_append`. Its `_getmany` must return only what was read from where the
    last seek went.
    """

    poll_timeout_s = 1.0
    """How long a fetch waits; short where a fetch can't be interrupted."""

    def __post_init__(self) -> None:
        self._batch_topics: frozenset[str] = frozenset()
        self._delivered: defaultdict[TP, deque[Message]] = defaultdict(deque)
        self._committable: dict[TP, int] = {}
        self._acked_index = defaultdict(lambda: _Acked(self._on_ack))
        self._is_held_back = False
        self._flow_is_due = False
        self._n_seeks = 0
        self._seeks: Counter[TP] = Counter()
        self._in_hand: Message | None = None
        self._doubtful: list[Message] = []
        self._taken_back: dict[TP, int] = {}
        self._emptied = _Emptied(self._on_emptied)
        self.app.flow_control.manage_queue(cast(Any, self._emptied))
        self.changed = asyncio.Event()
        super().__post_init__()

    async def append(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int] | None = None
    ) -> list[Position]:
        """Append records, durable on return, and commit next offsets; see `Work`.

        Raises
        ------
        LogFenced
            Nothing was written, and the work must be dropped: its records are read again, here or at
            the worker that has the partition now.
        """
        offsets = offsets or {}
        await self._check_order(offsets)
        try:
            positions = await self._append(records, offsets)
        except LogFenced:
            # Acknowledging what was dropped must not commit it.
            self.forget_delivered(TP(*tp) for tp in offsets)
            raise
        self.note_committed(offsets)
        return positions

    async def _append(
        self, records: Sequence[NewRecord], offsets: Mapping[TopicPartition, int]
    ) -> list[Position]:
        """Append in one transaction; the embedded log commits the offsets in it."""
        raise NotImplementedError

    def _record(self, tp: TP, fetched: Any) -> Record:
        """Return what the driver fetched as a `Record`."""
        raise NotImplementedError

    async def _check_order(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Refuse to commit past records that no stream has seen, or for an earlier generation."""
        event = current_event()
        if event is not None and offsets:
            generation = event.message.generation_id
            if generation not in {None, self.app.consumer_generation_id}:
                raise LogFenced(
                    f"{sorted(offsets)} were delivered in generation {generation}, now it is "
                    f"{self.app.consumer_generation_id}; drop the work, its records come again"
                )
        for (topic, partition), next_ in offsets.items():
            tp = TP(topic, partition)
            self._advance(tp)
            delivered = self._delivered[tp]
            begin = self._taken_back.get(tp)
            is_here = any(m.tracked and m.offset >= next_ - 1 for m in delivered)
            if begin is not None and next_ > begin and not is_here:
                raise LogFenced(
                    f"records from {begin} on of {topic}[{partition}] were taken back from the "
                    "streams; drop the work, its records come again"
                )
            lost = [m.offset for m in delivered if m.offset < next_ and not m.tracked]
            if lost:
                await self._take_back(tp)
                raise LogFenced(
                    f"records up to {lost[0]} of {topic}[{partition}] were dropped from a stream's "
                    f"queue, so {next_} can't be committed; drop the work, its records come again"
                )

    def note_committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Record that these next offsets are committed, so that Faust does not commit them again."""
        for (topic, partition), offset in offsets.items():
            tp = TP(topic, partition)
            committed = self._committed_offset[tp]
            if committed is None or committed < offset:
                self._committed_offset[tp] = offset
            self._advance(tp)
        self._on_ack()  # Faust indexes no acknowledgement of what is committed already

    # Delivery

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(self.can_resume_flow.wait())
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
        self._batch_topics = self.topics_in_batches()
        self.changed.clear()
        self._is_held_back = False
        if self._doubtful:
            await self._take_back_lost()
        active = {
            tp
            for tp in self._get_active_partitions()
            if self._is_open(tp) and not self._is_full(tp)
        }
        if not active:
            await self._wait_for_change()
            return
        fetched = await self._getmany(active, self.poll_timeout_s)
        if not fetched:
            return
        seeks = self._seeks.copy()
        commit_every = self._commit_every
        if commit_every is not None and self._n_acked >= commit_every:
            self._n_acked = 0
            await self.commit()
        if not self.flow_active:
            await self.perform_seek()
            return
        delivering = self.loop.create_task(self._deliver(fetched, seeks))
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            delivering.cancel()
            raise
        if delivering.done():  # as a rule: Faust's own waiting makes four tasks
            delivering.result()
            return
        await self.wait_first(delivering, self.suspend_flow.wait())

    def topics_in_batches(self) -> frozenset[str]:
        """Return the app's topics that are delivered in batches."""
        channels = [each for each in self.app.topics if isinstance(each, BatchTopic)]
        return frozenset(name for channel in channels for name in channel.topics)

    async def _wait_for_change(self) -> None:
        # Faust has no signal for the end of a rebalance.
        timeout_s = _REBALANCE_LOOK_S if self.app.rebalancing else self.poll_timeout_s
        timer = self.loop.call_later(timeout_s, self.changed.set)
        try:
            await self.changed.wait()
        finally:
            timer.cancel()

    def _is_open(self, tp: TP) -> bool:
        """Whether what is delivered now reaches a stream.

        During a rebalance Faust empties its queues each time it resumes the flow, without
        going back to what it threw away. Only what it waits for is safe to deliver then: the
        changelogs being restored, once the flow resumes.
        """
        if not self.app.rebalancing:
            return True
        return (
            not self._flow_is_due and tp in cast(TableManager, self.app.tables).recovery.active_tps
        )

    def _is_full(self, tp: TP) -> bool:
        if tp.topic not in self._batch_topics:
            return False
        self._advance(tp)
        is_full = len(self._delivered[tp]) >= MAX_OPEN_BATCHES
        self._is_held_back = self._is_held_back or is_full
        return is_full

    async def _deliver(self, fetched: Mapping[Any, Sequence[Any]], seeks: Counter[TP]) -> None:
        generation = self.app.consumer_generation_id
        n_since_yield = 0
        for tp, message in self._messages(fetched):
            if self.app.consumer_generation_id != generation or not self.flow_active:
                return
            if self._seeks[tp] != seeks[tp]:
                continue
            read_offset = self._read_offset[tp]
            if read_offset is not None and message.offset < read_offset:
                continue
            if self.app.topics.acks_enabled_for(tp.topic):
                self._delivered[tp].append(message)
            await self._hand_over(message)
            self._read_offset[tp] = message.offset
            n_since_yield += 1
            if n_since_yield >= _YIELD_EVERY:
                n_since_yield = 0
                await asyncio.sleep(0)

    def _messages(self, fetched: Mapping[Any, Sequence[Any]]) -> Iterator[tuple[TP, Message]]:
        """Give the messages of a fetch, the partitions taking turns."""
        single: dict[TP, list[Any]] = {}
        for key, found in fetched.items():
            tp = ensure_TP(key)
            if not found:
                continue
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            if tp.topic not in self._batch_topics:
                single[tp] = list(found)
                continue
            records = [self._record(tp, each) for each in found]
            yield tp, batch_message(tp, records, self.app.consumer_generation_id)
        for tp, each in self.scheduler.iterate(single):
            yield tp, self._to_message(tp, each)

    async def _hand_over(self, message: Message) -> None:
        self._in_hand = message
        try:
            await self.callback(message)
        except asyncio.CancelledError:
            self._doubtful.append(message)
            raise
        finally:
            self._in_hand = None

    # Messages that Faust throws away with its queues, each time it resumes the flow

    def _on_emptied(self) -> None:
        waiting = [m for delivered in self._delivered.values() for m in delivered if not m.tracked]
        self._doubtful += [m for m in waiting if m is not self._in_hand]
        self.changed.set()

    async def _take_back_lost(self) -> None:
        # A stream that was just handed a message marks it when it runs the next time.
        await asyncio.sleep(_HAND_OVER_S)
        doubtful, self._doubtful = self._doubtful, []
        lost = {id(m) for m in doubtful if not m.tracked}
        for tp, delivered in list(self._delivered.items()):
            self._advance(tp)
            if any(id(m) in lost for m in delivered):
                self.log.info("read again what was dropped from a stream's queue: %s", tp)
                await self._take_back(tp)

    async def _take_back(self, tp: TP) -> None:
        """Read again from the first record that is not acknowledged."""
        first = self._delivered[tp][0]
        is_batch = tp.topic in self._batch_topics
        begin = cast(list[Record], first.value)[0].offset if is_batch else first.offset
        # What a stream still works on from here on is stale, until it was given the records again.
        self._taken_back[tp] = begin
        await self.seek(tp, begin)

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch at once when a stream has room again."""
        super().on_buffer_drop(tp)
        self.changed.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch from the resumed partitions, as soon as the flow resumes."""
        super().resume_partitions(tps)
        self._flow_is_due = True

    def resume_flow(self) -> None:
        """Continue to fetch."""
        super().resume_flow()
        self._flow_is_due = False
        self.changed.set()

    # Acknowledging: offsets are committable in the order in which they were delivered.

    def _on_ack(self) -> None:
        if self._is_held_back:
            self.changed.set()

    def _advance(self, tp: TP) -> None:
        """Move past what is acknowledged, or committed together with its effects."""
        delivered = self._delivered[tp]
        committed = self._committed_offset[tp] or 0
        while delivered and (delivered[0].acked or delivered[0].offset < committed):
            self._committable[tp] = delivered.popleft().offset + 1
            self._taken_back.pop(tp, None)
        self._acked[tp].clear()
        self._acked_index[tp].clear()

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
            self._seeks[tp] += 1
            self._delivered.pop(tp, None)
            self._committable.pop(tp, None)

    async def wait_empty(self) -> None:
        """Wait until what is being processed is acknowledged, not for what already is."""
        # A stream that was just handed a message counts it when it runs the next time.
        await asyncio.sleep(_HAND_OVER_S)
        self._clean_unacked_messages()
        await super().wait_empty()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish with partitions that go to another worker."""
        await super().on_partitions_revoked(revoked)
        self.forget_delivered(revoked)
        self._taken_back.clear()

    async def perform_seek(self) -> None:
        """Go back to the committed offsets."""
        self.forget_delivered(list(self._delivered))
        self._taken_back.clear()
        await super().perform_seek()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Go to these offsets."""
        self.forget_delivered(partitions)
        await super().seek_wait(partitions)  # type: ignore[safe-super]  # the driver's

    async def seek(self, partition: TP, offset: int) -> None:
        """Go to an offset."""
        self.forget_delivered([partition])
        await super().seek(partition, offset)
