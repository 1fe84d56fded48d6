"""One thread reads the topics, updates the views, and passes new lists to the hub."""

import logging
import threading
from collections.abc import Callable, Collection, Sequence

from msgspec.structs import replace

from recstream.bridge.active_generation import ActiveGeneration
from recstream.bridge.push import ConnectionLoop, Hub, Outgoing, encode, tagged
from recstream.bridge.readiness import Readiness
from recstream.bridge.recommender import Recommender
from recstream.bridge.views import Status, Views
from recstream.core.records import Recommendations
from recstream.errors import OffsetOutOfRange
from recstream.log import EventLog, Record, Tail
from recstream.process import Background

log = logging.getLogger(__name__)

POLL_S = 1.0
CATCH_UP_POLL_S = 0.05
BATCH_RECORDS = 2000


def recs_message(body: Recommendations) -> Outgoing:
    """Return a list as a message."""
    position = f"{body.epoch}:{body.offset}" if body.offset >= 0 else ""
    return Outgoing("recs", tagged("recs", encode(body)), position=position)


class CurrentState:
    """The snapshots that new subscribers get."""

    def __init__(self, recommender: Recommender, readiness: Readiness) -> None:
        self._recommender = recommender
        self._readiness = readiness

    def recs(self, user: str) -> tuple[int, Outgoing]:
        """Return the offset and message of a user's newest list; computes one if needed."""
        body = self._recommender.list_of(user)
        return body.offset, recs_message(body)

    def placed(self, user: str, placement: str) -> tuple[int, Outgoing] | None:
        """Return the offset and message of a user's list of a placement; None without it."""
        body = self._recommender.placed(user, placement)
        return None if body is None else (body.offset, recs_message(body))

    def published(self, user: str) -> tuple[int, Outgoing] | None:
        """Return the offset and message of a user's published list, without computing one."""
        body = self._recommender.published(user)
        return None if body is None else (body.offset, recs_message(body))

    def list_offset(self, user: str) -> int:
        """Return the offset of a user's published list, -1 for none."""
        return self._recommender.list_offset(user)

    def pipeline(self) -> Outgoing:
        """Return the pipeline's state."""
        return Outgoing("pipeline", tagged("pipeline", encode(self._readiness.pipeline())))


class Follower(Background):
    """The thread that follows the log.

    Parameters
    ----------
    observe : callable, optional
        Called with the records of each batch.
    """

    def __init__(
        self,
        event_log: EventLog,
        views: Views,
        active: ActiveGeneration,
        recommender: Recommender,
        status: Status,
        hub: Hub,
        connections: ConnectionLoop,
        *,
        observe: Callable[[Sequence[Record]], object] = lambda _: None,
    ) -> None:
        super().__init__("follow")
        self._log = event_log
        self._views = views
        self._active = active
        self._recommender = recommender
        self._status = status
        self._hub = hub
        self._connections = connections
        self._observe = observe
        self._tail: Tail | None = None
        self.caught_up = threading.Event()
        active.on_change = self._status_changed

    def _wake(self) -> None:
        if (tail := self._tail) is not None:
            tail.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow_log()
            except OffsetOutOfRange as error:
                log.warning("views continue where the log begins reason=%s", error)

    def _follow_log(self) -> None:
        positions = self._views.positions() | self._status.positions()
        ends = {tp: self._log.high_watermark(*tp) for tp in positions}
        tail = self._tail = self._log.tail(positions)
        try:
            while not self._stopping.is_set():
                if not self.caught_up.is_set():
                    at = tail.positions()
                    if all(at[tp] >= end for tp, end in ends.items()):
                        self.caught_up.set()
                        log.info("views have caught up")
                self.take(
                    tail.poll(POLL_S if self.caught_up.is_set() else CATCH_UP_POLL_S, BATCH_RECORDS)
                )
        finally:
            self._tail = None
            tail.close()

    def take(self, records: Sequence[Record]) -> None:
        """Update the views, then push to subscribers."""
        if not records:
            return
        models, found = self._views.apply(records)
        self._observe(records)
        is_changed = self._status.take(records)
        if models:
            self._status.take_models(models)
            self._active.take(models)
        lists = [
            entry
            for key, record in found.items()
            if self._hub.wants(user := key.decode(errors="surrogateescape"))
            and (entry := self._list(user, record)) is not None
        ]
        if lists:
            self._connections.post(self._hub.publish_recs, lists)
        if self._hub.has_placements:
            self._push_placed({r.key for r in records if r.topic in self._views.topics and r.key})
        if is_changed or models:
            self._status_changed()

    def resend_without(self, items: set[str]) -> None:
        """Send subscribers their list again if it held one of these items, which left the catalogue."""
        again = [
            (user, recs_message(body))
            for user in self._hub.users()
            if (stored := self._views.latest(user)) is not None
            and any(entry.item in items for entry in stored.items)
            and (body := self._recommender.published(user)) is not None
        ]
        if again:
            self._connections.post(self._hub.resend_recs, again)
        self._push_placed({user.encode() for user in self._hub.users()})

    def resend_made(self) -> None:
        """Send subscribers without a published list theirs again: a newer generation makes another one."""
        lists = [
            (user, recs_message(self._recommender.list_of(user)))
            for user in self._hub.users()
            if not self._recommender.is_published(user)
        ]
        if lists:
            self._connections.post(self._hub.resend_recs, lists)

    def _push_placed(self, keys: Collection[bytes]) -> None:
        """Send the lists of placements to subscribers among the users of these records' keys."""
        users = [key.decode(errors="replace") for key in keys if b"\0" not in key]
        placed = [
            (user, placement, recs_message(body))
            for user in users
            for placement in self._hub.placements(user)
            if (body := self._recommender.placed(user, placement)) is not None
        ]
        if placed:
            self._connections.post(self._hub.publish_placed, placed)

    def _list(self, user: str, record: Record) -> tuple[str, int, Outgoing] | None:
        """Return a new list with its offset and message; None if it can't be read."""
        body = self._recommender.newest(user, record)
        if body is None:
            return None
        if body.source == "popular":  # of a user without events: what the user's segment likes
            made = self._recommender.list_of(user)
            body = replace(made, partition=body.partition, offset=body.offset, lineage=body.lineage)
        self._status.pushed(body)
        return user, body.offset, recs_message(body)

    def _status_changed(self) -> None:
        self._connections.post(self._hub.status_changed)
