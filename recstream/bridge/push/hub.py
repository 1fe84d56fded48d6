"""Subscriptions of all connections: latest-wins for lists and status, ordered for the log.

Everything here runs on the loop thread of `recstream.bridge.push.loop`, except `Hub.wants`, which
reads only.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from recstream.bridge.push.connection import Connection, Outgoing
from recstream.bridge.push.log_feed import LogFeed
from recstream.bridge.push.protocol import Channel, ErrorCode, Subscription, SubscriptionState
from recstream.errors import NotFound
from recstream.log import EventLog, Record, TopicPartition, partition_for

STATUS_EVERY_S = 0.1
SLICE_CONNECTIONS = 250


class Snapshots(Protocol):
    """Source of the first message of a subscription."""

    def recs(self, user: str) -> tuple[int, Outgoing]:
        """Return the offset and message of a user's newest list."""

    def pipeline(self) -> Outgoing:
        """Return the pipeline's state."""


class Hub:
    """Subscriptions of every connection.

    Parameters
    ----------
    event_log : EventLog
    snapshots : Snapshots
    feed : LogFeed
        Serves the `log` channel.
    """

    def __init__(self, event_log: EventLog, snapshots: Snapshots, feed: LogFeed) -> None:
        self._log = event_log
        self._snapshots = snapshots
        self._feed = feed
        self._by_user: dict[str, set[Connection]] = defaultdict(set)
        self._sent: dict[Connection, int] = {}
        self._pipeline: set[Connection] = set()
        self._status_timer: asyncio.TimerHandle | None = None
        self._status_at_s = float("-inf")

    def wants(self, user: str) -> bool:
        """Return whether a connection subscribes to a user's lists; safe from any thread.

        A list is in the views before this is called, and a subscriber is registered before its
        snapshot is read from the views. A subscriber missed here gets the list as its snapshot.
        """
        return user in self._by_user

    def subscribe(
        self, connection: Connection, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        """Register a subscription.

        Returns
        -------
        state : SubscriptionState
        start : callable
            Sends the snapshot; call it after the state was sent to the client.

        Raises
        ------
        Refused
        """
        if wanted.ch == "recs":
            return self._subscribe_recs(connection, wanted)
        if wanted.ch == "pipeline":
            return self._subscribe_pipeline(connection, wanted)
        return self._subscribe_log(connection, wanted)

    def _subscribe_recs(
        self, connection: Connection, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        user = connection.user
        if user is None:
            message = "the recs channel needs a user; send token or user in hello"
            raise Refused("forbidden", message)
        connection.channels.add("recs")
        self._by_user[user].add(connection)
        offset, snapshot = self._snapshots.recs(user)
        since = wanted.since
        same_log = since is not None and since.epoch == self._log.epoch
        up_to_date = same_log and since is not None and offset >= 0 and since.offset >= offset
        self._sent[connection] = offset

        def start() -> None:
            if not up_to_date:
                connection.offer(snapshot)

        return SubscriptionState(ch="recs", offset=offset, recovered=same_log), start

    def _subscribe_pipeline(
        self, connection: Connection, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        connection.channels.add("pipeline")
        self._pipeline.add(connection)
        recovered = wanted.since is not None and wanted.since.epoch == self._log.epoch
        state = SubscriptionState(ch="pipeline", offset=-1, recovered=recovered)
        return state, lambda: connection.offer(self._snapshots.pipeline())

    def _subscribe_log(
        self, connection: Connection, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        user = wanted.user if wanted.user is not None else connection.user
        everything = wanted.user is None and wanted.partition is not None
        if not connection.identity.is_service and (everything or user != connection.identity.user):
            raise Refused("forbidden", "a user's token may only follow that user's own records")
        if user is None and wanted.partition is None:
            raise Refused("invalid-message", "the log channel needs a partition or a user")
        try:
            partitions = self._log.partitions(wanted.topic)
        except NotFound as error:
            raise Refused("not-found", str(error)) from error
        only_user = None if everything else user
        partition = wanted.partition
        if partition is None:
            partition = partition_for((user or "").encode(), partitions)
        if partition >= partitions:
            message = f"topic {wanted.topic} has partitions 0 to {partitions - 1}, got {partition}"
            raise Refused("not-found", message)
        connection.channels.add("log")
        tp = TopicPartition(wanted.topic, partition)
        cursor, state = self._feed.subscribe(connection, tp, wanted.since, only_user)
        connection.logs.append(cursor)
        return state, cursor.start

    def unsubscribe(self, connection: Connection, channel: Channel) -> None:
        """Remove a channel of a connection."""
        connection.channels.discard(channel)
        connection.waiting.pop(channel, None)
        if channel == "recs":
            self._sent.pop(connection, None)
            connections = self._by_user.get(connection.user or "")
            if connections is not None:
                connections.discard(connection)
                if not connections:
                    del self._by_user[connection.user or ""]
        elif channel == "pipeline":
            self._pipeline.discard(connection)
        else:
            for cursor in connection.logs:
                cursor.cancel()
            connection.logs.clear()

    def remove(self, connection: Connection) -> None:
        """Remove a connection and its subscriptions."""
        for channel in tuple(connection.channels):
            self.unsubscribe(connection, channel)

    def publish_recs(self, lists: Sequence[tuple[str, int, Outgoing]]) -> None:
        """Send new lists, (user, offset, message) each, to their subscribers."""
        for user, offset, message in lists:
            for connection in self._by_user.get(user, ()):
                if offset > self._sent.get(connection, -1):
                    self._sent[connection] = offset
                    connection.offer(message)

    def status_changed(self) -> None:
        """Send the pipeline's state to its subscribers, soon and at most ten times a second."""
        if not self._pipeline or self._status_timer is not None:
            return
        loop = asyncio.get_running_loop()
        at_s = max(loop.time(), self._status_at_s + STATUS_EVERY_S)
        self._status_timer = loop.call_at(at_s, self._send_status)

    def _send_status(self) -> None:
        self._status_timer = None
        self._status_at_s = asyncio.get_running_loop().time()
        self._broadcast(self._snapshots.pipeline(), tuple(self._pipeline))

    def _broadcast(self, message: Outgoing, connections: Sequence[Connection]) -> None:
        """Send a message to some connections, to the rest later: lists are sent in between."""
        for connection in connections[:SLICE_CONNECTIONS]:
            if connection in self._pipeline:
                connection.offer(message)
        if rest := connections[SLICE_CONNECTIONS:]:
            asyncio.get_running_loop().call_soon(self._broadcast, message, rest)

    def publish_log(self, records: Sequence[Record]) -> None:
        """Send records of followed partitions to the `log` channel."""
        self._feed.deliver(records)


class Refused(Exception):
    """A subscription was refused; becomes an `ErrorMessage`."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code: ErrorCode = code
