"""Subscriptions of all connections: latest-wins for lists and status, ordered for the log.

Everything here runs on the loop thread of `recstream.bridge.push.loop`, except `Hub.wants`, which
reads only.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from recstream.bridge.auth import Identity
from recstream.bridge.push.connection import Connection, Outgoing
from recstream.bridge.push.log_feed import LogFeed
from recstream.bridge.push.protocol import Channel, ErrorCode, Subscription, SubscriptionState
from recstream.errors import NotFound
from recstream.log import EventLog, TopicPartition, full_name, partition_for
from recstream.process import watch

STATUS_EVERY_S = 0.1
SLICE_CONNECTIONS = 250


class FirstMessages(Protocol):
    """Source of the first message of a subscription."""

    def recs(self, user: str) -> tuple[int, Outgoing]:
        """Return the offset and message of a user's newest list; may take long."""

    def placed(self, user: str, placement: str) -> tuple[int, Outgoing] | None:
        """Return the same of a user's list of a placement; None if there is no such placement."""

    def published(self, user: str) -> tuple[int, Outgoing] | None:
        """Return the offset and message of a user's published list, without computing one."""

    def list_offset(self, user: str) -> int:
        """Return the offset of a user's published list, -1 for none."""

    def pipeline(self) -> Outgoing:
        """Return the pipeline's state."""


@dataclass(frozen=True)
class PreparedSubscription:
    """A subscription with what it starts with.

    Attributes
    ----------
    snapshot : Outgoing
        First message of `recs` and `pipeline`.
    offset : int
        Offset of the snapshot's list, -1 for none.
    list_offset : int
        Of the user's published list before the snapshot was read.
    tp, bounds, only_user
        For `log`: the partition, its earliest and next offset, and the key of the records to send.
    """

    wanted: Subscription
    snapshot: Outgoing = field(default_factory=lambda: Outgoing("recs", b""))
    offset: int = -1
    list_offset: int = -1
    tp: TopicPartition | None = None
    bounds: tuple[int, int] = (0, 0)
    only_user: str | None = None


class Hub:
    """Subscriptions of every connection.

    Parameters
    ----------
    topics : collection of str
        The topics of that channel: a cluster may have topics of other systems.
    """

    def __init__(
        self, event_log: EventLog, snapshots: FirstMessages, feed: LogFeed, topics: Collection[str]
    ) -> None:
        self._log = event_log
        self._topics = topics
        self._snapshots = snapshots
        self._feed = feed
        self._by_user: dict[str, set[Connection]] = defaultdict(set)
        self._placed: dict[str, dict[Connection, str]] = {}
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

    def users(self) -> list[str]:
        """Return the users whose lists a connection subscribes to; safe from any thread."""
        return list(self._by_user)

    def prepare(
        self, wanted: Subscription, *, user: str | None, identity: Identity
    ) -> PreparedSubscription:
        """Read what a subscription starts with; may block, so it runs outside the loop thread.

        Raises
        ------
        Refused
        LogError
        """
        if wanted.ch == "recs":
            if user is None:
                message = "the recs channel needs a user; send token or user in hello"
                raise Refused("forbidden", message)
            list_offset = self._snapshots.list_offset(user)
            if wanted.placement:
                found = self._snapshots.placed(user, wanted.placement)
                if found is None:
                    raise Refused("not-found", f"no placement is named {wanted.placement!r}")
                return PreparedSubscription(wanted, found[1], found[0], list_offset)
            offset, snapshot = self._snapshots.recs(user)
            return PreparedSubscription(wanted, snapshot, offset, list_offset)
        if wanted.ch == "pipeline":
            return PreparedSubscription(wanted, self._snapshots.pipeline())
        return self._prepare_log(wanted, user, identity)

    def _prepare_log(
        self, wanted: Subscription, connection_user: str | None, identity: Identity
    ) -> PreparedSubscription:
        user = wanted.user if wanted.user is not None else connection_user
        everything = wanted.user is None and wanted.partition is not None
        if not identity.is_service and (everything or user != identity.user):
            raise Refused("forbidden", "a user's token may only follow that user's own records")
        if user is None and wanted.partition is None:
            raise Refused("invalid-message", "the log channel needs a partition or a user")
        try:
            topic = full_name(wanted.topic, self._topics)
            partitions = self._log.partitions(topic)
        except NotFound as error:
            raise Refused("not-found", str(error)) from error
        partition = wanted.partition
        if partition is None:
            partition = partition_for((user or "").encode(), partitions)
        if partition >= partitions:
            message = f"topic {topic} has partitions 0 to {partitions - 1}, got {partition}"
            raise Refused("not-found", message)
        tp = TopicPartition(topic, partition)
        bounds = self._log.earliest(*tp), self._log.high_watermark(*tp)
        only_user = None if everything else user
        return PreparedSubscription(wanted, tp=tp, bounds=bounds, only_user=only_user)

    def subscribe(
        self, connection: Connection, prepared: PreparedSubscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        """Register a subscription.

        Returns
        -------
        state : SubscriptionState
        start : callable
            Sends the snapshot; call it after the state was sent to the client.
        """
        wanted = prepared.wanted
        connection.channels.add(wanted.ch)
        if prepared.tp is not None:
            cursor, state = self._feed.subscribe(
                connection, prepared.tp, prepared.bounds, wanted.since, prepared.only_user
            )
            connection.logs.append(cursor)
            return state, cursor.start
        is_same_log = wanted.since is not None and wanted.since.epoch == self._log.epoch
        if wanted.ch == "recs":
            return self._subscribe_recs(connection, prepared, is_same_log=is_same_log)
        self._pipeline.add(connection)
        state = SubscriptionState(ch="pipeline", offset=-1, recovered=is_same_log)
        return state, lambda: connection.offer(prepared.snapshot)

    def _subscribe_recs(
        self, connection: Connection, prepared: PreparedSubscription, *, is_same_log: bool
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        user, placement = connection.user or "", prepared.wanted.placement
        self._by_user[user].add(connection)
        self._place(connection, placement)
        offset, snapshot = prepared.offset, prepared.snapshot
        is_older = self._snapshots.list_offset(user) > prepared.list_offset
        if is_older and not placement:
            offset, snapshot = self._snapshots.published(user) or (offset, snapshot)
        since = prepared.wanted.since
        # A position beyond the newest list was never given out by this log.
        recovered = is_same_log and since is not None and since.offset <= offset
        up_to_date = recovered and since is not None and since.offset == offset and offset >= 0
        self._sent[connection] = offset

        def start() -> None:
            if is_older and placement:
                self._offer_placed(connection, user, placement)
            elif not up_to_date:
                connection.offer(snapshot)

        return SubscriptionState(ch="recs", offset=offset, recovered=recovered), start

    def _place(self, connection: Connection, placement: str) -> None:
        """Note the placement that a connection subscribes to; empty: none."""
        user = connection.user or ""
        if placement:
            self._placed.setdefault(user, {})[connection] = placement
            return
        placed = self._placed.get(user, {})
        placed.pop(connection, None)
        if not placed:
            self._placed.pop(user, None)

    def _offer_placed(self, connection: Connection, user: str, placement: str) -> None:
        """Read a list of a placement in another thread, again if a newer one came meanwhile; send it."""
        before = self._snapshots.list_offset(user)

        def send(read: asyncio.Future[tuple[int, Outgoing] | None]) -> None:
            if self._placed.get(user, {}).get(connection) != placement or read.cancelled():
                return
            if read.exception() is not None:
                return
            if self._snapshots.list_offset(user) > before:
                self._offer_placed(connection, user, placement)
            elif (found := read.result()) is not None:
                connection.offer(found[1])

        reading = asyncio.get_running_loop().run_in_executor(
            None, self._snapshots.placed, user, placement
        )
        watch(reading, "list of a placement")
        reading.add_done_callback(send)

    def unsubscribe(self, connection: Connection, channel: Channel) -> None:
        """Remove a channel of a connection."""
        connection.channels.discard(channel)
        connection.waiting.pop(channel, None)
        if channel == "recs":
            self._sent.pop(connection, None)
            self._place(connection, "")
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
            placed = self._placed.get(user, {})
            for connection in self._by_user.get(user, set()) - placed.keys():
                if offset > self._sent.get(connection, -1):
                    self._sent[connection] = offset
                    connection.offer(message)

    def resend_recs(self, lists: Sequence[tuple[str, Outgoing]]) -> None:
        """Send lists, (user, message) each, at the positions that subscribers have already."""
        for user, message in lists:
            placed = self._placed.get(user, {})
            for connection in self._by_user.get(user, set()) - placed.keys():
                connection.offer(message)

    @property
    def has_placements(self) -> bool:
        """Whether any connection subscribes to a placement; safe from any thread."""
        return bool(self._placed)

    def placements(self, user: str) -> set[str]:
        """Return the placements that connections of a user subscribe to; safe from any thread."""
        return set(list(self._placed.get(user, {}).values()))  # noqa: C414 - copied at once, by any thread

    def publish_placed(self, lists: Sequence[tuple[str, str, Outgoing]]) -> None:
        """Send lists of placements, (user, placement, message) each, to their subscribers."""
        for user, placement, message in lists:
            for connection, subscribed in self._placed.get(user, {}).items():
                if subscribed == placement:
                    connection.offer(message)

    def status_changed(self) -> None:
        """Send the pipeline's state to its subscribers, soon and at most ten times a second."""
        if not self._pipeline or self._status_timer is not None:
            return
        loop = asyncio.get_running_loop()
        at_s = max(loop.time(), self._status_at_s + STATUS_EVERY_S)
        self._status_timer = loop.call_at(at_s, self._send_status)

    def _send_status(self) -> None:
        """Read the state in another thread, because the log may answer late; then send it."""
        loop = asyncio.get_running_loop()

        def send(read: asyncio.Future[Outgoing]) -> None:
            self._status_timer = None
            self._status_at_s = loop.time()
            if read.exception() is None:
                self._broadcast(read.result(), tuple(self._pipeline))

        reading = loop.run_in_executor(None, self._snapshots.pipeline)
        watch(reading, "pipeline state")
        reading.add_done_callback(send)

    def _broadcast(self, message: Outgoing, connections: Sequence[Connection]) -> None:
        """Send a message to some connections, to the rest later: lists are sent in between."""
        for connection in connections[:SLICE_CONNECTIONS]:
            if connection in self._pipeline:
                connection.offer(message)
        if rest := connections[SLICE_CONNECTIONS:]:
            asyncio.get_running_loop().call_soon(self._broadcast, message, rest)


class Refused(Exception):
    """A subscription was refused; becomes an `ErrorMessage`."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code: ErrorCode = code
