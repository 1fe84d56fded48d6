"""Step 9 of the flow: who hears what, latest-wins for lists and status, in order for the log.

Everything here runs on the loop thread of `recstream.bridge.push.loop`, except `Hub.wants`, which only
looks. A peer is one connection, WebSocket or server-sent events alike.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

from recstream.bridge.push.logfeed import LogFeed
from recstream.bridge.push.peer import Outgoing, Peer
from recstream.bridge.push.protocol import Channel, ErrorCode, Subscription, SubscriptionState
from recstream.errors import NotFound
from recstream.log import EventLog, Record, TopicPartition, partition_for

STATUS_EVERY_S = 0.1
SLICE_PEERS = 250


class Snapshots(Protocol):
    """Where the hub gets what is true now."""

    def recs(self, user: str) -> tuple[int, Outgoing]:
        """Return the offset and message of a user's newest list."""

    def pipeline(self) -> Outgoing:
        """Return the pipeline's state."""


class Hub:
    """Subscriptions of every peer.

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
        self._by_user: dict[str, set[Peer]] = defaultdict(set)
        self._sent: dict[Peer, int] = {}
        self._pipeline: set[Peer] = set()
        self._status_timer: asyncio.TimerHandle | None = None
        self._status_at_s = float("-inf")

    def wants(self, user: str) -> bool:
        """Return whether anybody listens to a user's lists; safe from any thread.

        A list is in the views before this is asked, and a subscriber is registered before its snapshot
        is read from the views: whoever is missed here gets that list as the snapshot.
        """
        return user in self._by_user

    def subscribe(
        self, peer: Peer, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        """Register a subscription.

        Returns
        -------
        state : SubscriptionState
        start : callable
            Sends the snapshot; to be called when the client has been told the state.

        Raises
        ------
        Refused
        """
        if wanted.ch == "recs":
            return self._subscribe_recs(peer, wanted)
        if wanted.ch == "pipeline":
            return self._subscribe_pipeline(peer, wanted)
        return self._subscribe_log(peer, wanted)

    def _subscribe_recs(
        self, peer: Peer, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        user = peer.user
        if user is None:
            message = "lists belong to a user; say who in hello (token or user)"
            raise Refused("forbidden", message)
        peer.channels.add("recs")
        self._by_user[user].add(peer)
        offset, snapshot = self._snapshots.recs(user)
        since = wanted.since
        same_log = since is not None and since.epoch == self._log.epoch
        up_to_date = same_log and since is not None and offset >= 0 and since.offset >= offset
        self._sent[peer] = offset

        def start() -> None:
            if not up_to_date:
                peer.offer(snapshot)

        return SubscriptionState(ch="recs", offset=offset, recovered=same_log), start

    def _subscribe_pipeline(
        self, peer: Peer, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        peer.channels.add("pipeline")
        self._pipeline.add(peer)
        recovered = wanted.since is not None and wanted.since.epoch == self._log.epoch
        state = SubscriptionState(ch="pipeline", offset=-1, recovered=recovered)
        return state, lambda: peer.offer(self._snapshots.pipeline())

    def _subscribe_log(
        self, peer: Peer, wanted: Subscription
    ) -> tuple[SubscriptionState, Callable[[], None]]:
        user = wanted.user if wanted.user is not None else peer.user
        everything = wanted.user is None and wanted.partition is not None
        if not peer.identity.is_service and (everything or user != peer.identity.user):
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
        peer.channels.add("log")
        tp = TopicPartition(wanted.topic, partition)
        subscription, state = self._feed.subscribe(peer, tp, wanted.since, only_user)
        peer.logs.append(subscription)
        return state, subscription.start

    def unsubscribe(self, peer: Peer, channel: Channel) -> None:
        """Forget a channel of a peer."""
        peer.channels.discard(channel)
        peer.waiting.pop(channel, None)
        if channel == "recs":
            self._sent.pop(peer, None)
            peers = self._by_user.get(peer.user or "")
            if peers is not None:
                peers.discard(peer)
                if not peers:
                    del self._by_user[peer.user or ""]
        elif channel == "pipeline":
            self._pipeline.discard(peer)
        else:
            for subscription in peer.logs:
                self._feed.unsubscribe(subscription)
            peer.logs.clear()

    def leave(self, peer: Peer) -> None:
        """Forget a peer."""
        for channel in tuple(peer.channels):
            self.unsubscribe(peer, channel)

    def publish_recs(self, lists: Sequence[tuple[str, int, Outgoing]]) -> None:
        """Send new lists, (user, offset, message) each, to those who listen."""
        for user, offset, message in lists:
            for peer in self._by_user.get(user, ()):
                if offset > self._sent.get(peer, -1):
                    self._sent[peer] = offset
                    peer.offer(message)

    def status_changed(self) -> None:
        """Send the pipeline's state to those who listen, soon and at most ten times a second."""
        if not self._pipeline or self._status_timer is not None:
            return
        loop = asyncio.get_running_loop()
        at_s = max(loop.time(), self._status_at_s + STATUS_EVERY_S)
        self._status_timer = loop.call_at(at_s, self._send_status)

    def _send_status(self) -> None:
        self._status_timer = None
        self._status_at_s = asyncio.get_running_loop().time()
        self._broadcast(self._snapshots.pipeline(), tuple(self._pipeline))

    def _broadcast(self, message: Outgoing, peers: Sequence[Peer]) -> None:
        """Send a message to some peers and to the rest a little later: lists may go in between."""
        for peer in peers[:SLICE_PEERS]:
            if peer in self._pipeline:
                peer.offer(message)
        if rest := peers[SLICE_PEERS:]:
            asyncio.get_running_loop().call_soon(self._broadcast, message, rest)

    def publish_log(self, records: Sequence[Record]) -> None:
        """Pass records of followed partitions on to the `log` channel."""
        self._feed.deliver(records)


class Refused(Exception):
    """A subscription that can't be had; becomes an `ErrorMessage`."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code: ErrorCode = code
