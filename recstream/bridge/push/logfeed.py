"""Step 9 of the flow, channel `log`: records of a partition in order, gaps named, slow readers bounded.

A subscription is a cursor. While its peer keeps up, records come to it from one shared tail; when the
peer is blocked it keeps nothing, and reads on from the log afterwards. Whoever falls too far behind
gets a `Gap` and goes on near the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec

from recstream.bridge.push.peer import Outgoing, Peer
from recstream.bridge.push.protocol import (
    CloseCode,
    Gap,
    LogMessage,
    LogRecord,
    Since,
    SubscriptionState,
    encode,
)
from recstream.errors import LogError, OffsetOutOfRange
from recstream.log import EventLog, Record, Tail, TopicPartition

log = logging.getLogger(__name__)

MAX_BEHIND = 10_000
CHUNK_RECORDS = 500
POLL_S = 1.0
RETRY_S = 1.0


def shown(record: Record) -> LogRecord:
    """Return a record for people to read."""
    value, text = None, None
    if record.value is not None:
        try:
            msgspec.json.decode(record.value)
            value = msgspec.Raw(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = record.value.decode("utf-8", "replace")
    return LogRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        ts=record.timestamp_ms,
        key=record.key.decode("utf-8", "replace") if record.key is not None else None,
        value=value,
        text=text,
    )


class LogSubscription:
    """One peer's cursor on one partition."""

    __slots__ = (
        "_arrived",
        "_feed",
        "_reading",
        "_started",
        "is_live",
        "next",
        "only_key",
        "peer",
        "tp",
    )

    def __init__(
        self, feed: LogFeed, peer: Peer, tp: TopicPartition, offset: int, only_user: str | None
    ) -> None:
        self._feed = feed
        self.peer = peer
        self.tp = tp
        self.next = offset
        self.only_key = only_user.encode() if only_user is not None else None
        self.is_live = False
        self._arrived = offset
        self._reading = False
        self._started = False

    def start(self) -> None:
        """Begin to send."""
        self._started = True
        self._catch_up()

    def unblock(self) -> None:
        """Go on after the peer was blocked."""
        if self._started and not self.is_live:
            self._catch_up()

    def take(self, records: Sequence[Record]) -> None:
        """Send records from the shared tail, or only note them while still catching up."""
        self._arrived = max(self._arrived, records[-1].offset + 1)
        if not self.is_live:
            return
        fresh = [record for record in records if record.offset >= self.next]
        if fresh:
            self._send(fresh)

    def _send(self, records: Sequence[Record]) -> None:
        for record in records:
            if self.peer.is_blocked:
                self.is_live = False
                return
            self.next = record.offset + 1
            if self.only_key is None or record.key == self.only_key:
                body = msgspec.structs.asdict(shown(record))
                self.peer.write(Outgoing("log", encode(LogMessage(**body))))

    def _gap(self, to: int) -> None:
        gap = Gap(
            ch="log", topic=self.tp.topic, partition=self.tp.partition, from_=self.next, to=to - 1
        )
        self.next = to
        self.peer.write(Outgoing("log", encode(gap), kind="gap"))

    def _catch_up(self) -> None:
        if self._reading or self.peer.is_blocked:
            return
        self._reading = True
        self._feed.read(self)

    def caught(self, records: Sequence[Record], earliest: int, end: int) -> None:
        """Take what was read from the log: ``earliest`` and ``end`` are the partition's bounds."""
        self._reading = False
        if self not in self.peer.logs:
            return
        if self.next < earliest:
            self._gap(earliest)
        elif end - self.next > MAX_BEHIND:
            self._gap(end - MAX_BEHIND // 2)
        elif records:
            self._send(records)
        else:
            self.next = end  # compaction took what lay between
        if self.peer.is_blocked:
            return
        if self.next >= max(end, self._arrived):
            self.is_live = True
        else:
            self._catch_up()


class LogFeed:
    """The shared tail behind the `log` channel.

    Parameters
    ----------
    event_log : EventLog
    post : callable
        Runs a function on the loop thread.
    """

    def __init__(self, event_log: EventLog, post: Callable[..., None]) -> None:
        self._log = event_log
        self._post = post
        self._by_partition: dict[TopicPartition, set[LogSubscription]] = defaultdict(set)
        self._tail: Tail | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._added: queue.SimpleQueue[tuple[TopicPartition, int]] = queue.SimpleQueue()
        self._watched: set[TopicPartition] = set()

    def subscribe(
        self, peer: Peer, tp: TopicPartition, since: Since | None, only_user: str | None
    ) -> tuple[LogSubscription, SubscriptionState]:
        """Return a cursor behind ``since``, or at the end, and where it starts."""
        end = self._log.high_watermark(*tp)
        same_log = since is not None and since.epoch == self._log.epoch
        if since is not None and not same_log:
            peer.close(CloseCode.CANNOT_RECOVER, "the log was recreated: subscribe without since")
        offset = min(since.offset + 1, end) if since is not None and same_log else end
        recovered = same_log and offset >= self._log.earliest(*tp)
        subscription = LogSubscription(self, peer, tp, offset, only_user)
        self._by_partition[tp].add(subscription)
        self._watch(tp, end)
        state = SubscriptionState(
            ch="log",
            offset=end - 1,
            recovered=recovered,
            topic=tp.topic,
            partition=tp.partition,
        )
        return subscription, state

    def unsubscribe(self, subscription: LogSubscription) -> None:
        """Forget a cursor. The tail goes on: its records are cheap to drop."""
        followers = self._by_partition.get(subscription.tp)
        if followers is not None:
            followers.discard(subscription)
            if not followers:
                del self._by_partition[subscription.tp]

    def deliver(self, records: Sequence[Record]) -> None:
        """Give records of the tail to those who follow their partition."""
        parts: dict[TopicPartition, list[Record]] = defaultdict(list)
        for record in records:
            parts[TopicPartition(record.topic, record.partition)].append(record)
        for tp, part in parts.items():
            for subscription in tuple(self._by_partition.get(tp, ())):
                subscription.take(part)

    def read(self, subscription: LogSubscription) -> None:
        """Read what a cursor is missing, off the loop thread."""
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._read, subscription)

    def _read(self, subscription: LogSubscription) -> None:
        tp, offset = subscription.tp, subscription.next
        records: list[Record] = []
        try:
            earliest = self._log.earliest(*tp)
            end = self._log.high_watermark(*tp)
            if earliest <= offset and end - offset <= MAX_BEHIND:
                records = self._log.read(tp.topic, tp.partition, offset, CHUNK_RECORDS)
        except OffsetOutOfRange:
            earliest = end = self._log.high_watermark(*tp)
        except LogError as error:
            log.warning("log channel can't read topic=%s reason=%s", tp.topic, error)
            self._post(subscription.peer.close, CloseCode.CANNOT_RECOVER, "the log can't be read")
            return
        self._post(subscription.caught, records, earliest, end)

    def _watch(self, tp: TopicPartition, end: int) -> None:
        if self._tail is None:
            self._tail = self._log.tail({tp: end})
            self._watched = {tp}
            self._thread = threading.Thread(
                target=self._follow, args=(self._tail,), name="log-feed", daemon=True
            )
            self._thread.start()
        elif tp not in self._watched:
            self._watched.add(tp)
            self._added.put((tp, end))
            self._tail.wake()

    def _follow(self, tail: Tail) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Empty):
                while True:
                    tail.seek(*self._added.get_nowait())
            try:
                records = tail.poll(POLL_S)
            except LogError as error:
                log.warning("log channel interrupted reason=%s", error)
                self._stopping.wait(RETRY_S)
                continue
            if records:
                self._post(self.deliver, records)
        tail.close()

    def close(self) -> None:
        """Stop the tail's thread."""
        self._stopping.set()
        if self._tail is not None:
            self._tail.wake()
        if self._thread is not None:
            self._thread.join()
