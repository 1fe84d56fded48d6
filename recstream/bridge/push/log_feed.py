"""Channel `log`: records of a partition in order; skipped offsets are named in a `Gap`.

A subscription is a cursor. While its connection keeps up, it gets records from one shared tail. A
blocked cursor buffers nothing and reads from the log afterwards. A cursor that falls more than
`MAX_BEHIND` records behind gets a `Gap` and continues near the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import msgspec

from recstream.bridge.push.connection import Connection, Outgoing
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
from recstream.log import EventLog, Record, Tail, TopicPartition, json_value
from recstream.process import Background, watch

log = logging.getLogger(__name__)

MAX_BEHIND = 10_000
CHUNK_RECORDS = 500
POLL_S = 1.0


def log_record(record: Record) -> LogRecord:
    """Return a record in readable form: JSON where it is JSON, text otherwise."""
    found = json_value(record)
    value = None if found is None else msgspec.Raw(found)
    text = None
    if found is None and record.value is not None:
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


class LogCursor:
    """Position of one connection in one partition."""

    __slots__ = (
        "_arrived",
        "_feed",
        "_reading",
        "_started",
        "connection",
        "is_live",
        "next",
        "only_key",
        "tp",
    )

    def __init__(
        self,
        feed: LogFeed,
        connection: Connection,
        tp: TopicPartition,
        offset: int,
        only_user: str | None,
    ) -> None:
        self._feed = feed
        self.connection = connection
        self.tp = tp
        self.next = offset
        self.only_key = only_user.encode() if only_user is not None else None
        self.is_live = False
        self._arrived = offset
        self._reading = False
        self._started = False

    def start(self) -> None:
        """Start sending."""
        self._started = True
        self._catch_up()

    def unblock(self) -> None:
        """Continue after the connection was blocked."""
        if self._started and not self.is_live:
            self._catch_up()

    def resume(self) -> None:
        """Read again what the shared tail may have missed."""
        if self._started:
            self.is_live = False
            self._catch_up()

    def cancel(self) -> None:
        """End the subscription."""
        self._feed.unsubscribe(self)

    def take(self, records: Sequence[Record]) -> None:
        """Send records from the shared tail; while catching up, note only how far it is."""
        self._arrived = max(self._arrived, records[-1].offset + 1)
        if not self.is_live:
            return
        fresh = [record for record in records if record.offset >= self.next]
        if fresh:
            self._send(fresh)

    def _send(self, records: Sequence[Record]) -> None:
        for record in records:
            if self.connection.is_blocked:
                self.is_live = False
                return
            self.next = record.offset + 1
            if self.only_key is None or record.key == self.only_key:
                body = msgspec.structs.asdict(log_record(record))
                self.connection.write(Outgoing("log", encode(LogMessage(**body))))

    def _gap(self, to: int) -> None:
        gap = Gap(
            ch="log", topic=self.tp.topic, partition=self.tp.partition, from_=self.next, to=to - 1
        )
        self.next = to
        self.connection.write(Outgoing("log", encode(gap), kind="gap"))

    def _catch_up(self) -> None:
        if self._reading or self.connection.is_blocked:
            return
        self._reading = True
        self._feed.read(self)

    def on_read(self, records: Sequence[Record], earliest: int, end: int) -> None:
        """Send records read from the log; ``earliest`` and ``end`` are the partition's bounds."""
        self._reading = False
        if self not in self.connection.logs:
            return
        if self.next < earliest:
            self._gap(earliest)
        elif end - self.next > MAX_BEHIND:
            self._gap(end - MAX_BEHIND // 2)
        elif records:
            self._send(records)
        else:
            self.next = end  # compaction removed what was between
        if self.connection.is_blocked:
            return
        if self.next >= max(end, self._arrived):
            self.is_live = True
        else:
            self._catch_up()


class LogFeed(Background):
    """The shared tail behind the `log` channel.

    Parameters
    ----------
    post : callable
        Runs a function on the loop thread.
    """

    def __init__(self, event_log: EventLog, post: Callable[..., None]) -> None:
        super().__init__("log-feed")
        self._log = event_log
        self._post = post
        self._by_partition: dict[TopicPartition, set[LogCursor]] = defaultdict(set)
        self._tail: Tail | None = None
        self._added: queue.SimpleQueue[tuple[TopicPartition, int]] = queue.SimpleQueue()
        self._watched: set[TopicPartition] = set()
        self._positions: dict[TopicPartition, int] = {}

    def subscribe(
        self,
        connection: Connection,
        tp: TopicPartition,
        bounds: tuple[int, int],
        since: Since | None,
        only_user: str | None,
    ) -> tuple[LogCursor, SubscriptionState]:
        """Return a cursor after ``since``, or at the end, and where it starts.

        Parameters
        ----------
        bounds : tuple of int
            Earliest and next offset of the partition.
        only_user : str or None
            Send only records with this key.
        """
        earliest, end = bounds
        same_log = since is not None and since.epoch == self._log.epoch
        if since is not None and not same_log:
            connection.close(
                CloseCode.CANNOT_RECOVER, "the log was recreated; subscribe without since"
            )
        offset = min(since.offset + 1, end) if since is not None and same_log else end
        recovered = since is not None and same_log and earliest <= since.offset + 1 <= end
        cursor = LogCursor(self, connection, tp, offset, only_user)
        self._by_partition[tp].add(cursor)
        self._watch(tp, end)
        state = SubscriptionState(
            ch="log", offset=end - 1, recovered=recovered, topic=tp.topic, partition=tp.partition
        )
        return cursor, state

    def unsubscribe(self, cursor: LogCursor) -> None:
        """Remove a cursor. The tail keeps following: dropping its records is cheap."""
        followers = self._by_partition.get(cursor.tp)
        if followers is not None:
            followers.discard(cursor)
            if not followers:
                del self._by_partition[cursor.tp]

    def deliver(self, records: Sequence[Record]) -> None:
        """Give records of the tail to the cursors of their partition."""
        parts: dict[TopicPartition, list[Record]] = defaultdict(list)
        for record in records:
            parts[TopicPartition(record.topic, record.partition)].append(record)
        for tp, part in parts.items():
            for cursor in tuple(self._by_partition.get(tp, ())):
                cursor.take(part)

    def read(self, cursor: LogCursor) -> None:
        """Read a cursor's next records in another thread."""
        loop = asyncio.get_running_loop()

        def fail(_: BaseException) -> None:
            cursor.connection.close(CloseCode.INTERNAL_ERROR, "internal error")

        watch(loop.run_in_executor(None, self._read, cursor), "log channel", fail)

    def _read(self, cursor: LogCursor) -> None:
        tp, offset = cursor.tp, cursor.next
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
            # A code after which clients send their positions again.
            self._post(cursor.connection.close, CloseCode.INTERNAL_ERROR, "the log can't be read")
            return
        self._post(cursor.on_read, records, earliest, end)

    def _watch(self, tp: TopicPartition, end: int) -> None:
        if tp in self._watched:
            return
        self._watched.add(tp)
        self._added.put((tp, end))
        if self._thread is None:
            self.start()
        elif (tail := self._tail) is not None:
            tail.wake()

    def _run(self) -> None:
        """Follow the watched partitions; after an error from where it was, or where the log begins."""
        self._positions.update(self._new_positions())
        tail = self._tail = self._log.tail(
            {tp: max(at, self._log.earliest(*tp)) for tp, at in self._positions.items()}
        )
        self._post(self._resume)
        try:
            while not self._stopping.is_set():
                for tp, end in self._new_positions():
                    tail.seek(tp, end)
                records = tail.poll(POLL_S)
                if records:
                    self._post(self.deliver, records)
        finally:
            self._tail = None
            self._positions = tail.positions()
            tail.close()

    def _new_positions(self) -> Iterator[tuple[TopicPartition, int]]:
        """Return the partitions to follow from now on, each with its position."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._added.get_nowait()

    def _resume(self) -> None:
        """Let every cursor read what the tail has missed."""
        for cursors in tuple(self._by_partition.values()):
            for cursor in tuple(cursors):
                cursor.resume()

    def _wake(self) -> None:
        if (tail := self._tail) is not None:
            tail.wake()
