"""Lists of the past: derive and explain a user's list at any moment."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from recstream.control import read_timeline
from recstream.core.events import Event
from recstream.core.generation import Generation
from recstream.core.history import ActiveSettings, History
from recstream.core.ranking import Explanation, explain
from recstream.core.records import Recommendations, decode_recommendations
from recstream.errors import LogCorrupt, NotFound
from recstream.log import (
    INTERACTIONS,
    RECOMMENDATIONS,
    ReadableLog,
    decode,
    decode_value,
    newest_time_ms,
)
from recstream.models import ReadableStore
from recstream.time_travel.derive import derive
from recstream.time_travel.fold import records_of
from recstream.time_travel.generations import Generations
from recstream.time_travel.moment import Moment, require_in_log
from recstream.time_travel.snapshot_table import ListPosition
from recstream.time_travel.snapshots import Snapshots


class AsOfList(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The list a user had at a moment.

    Attributes
    ----------
    list : Recommendations
        Derived from the log.
    is_identical : bool or None
        Whether it equals the published list byte for byte; None if nothing was published.
    """

    list: Recommendations
    is_identical: bool | None


class Published(NamedTuple):
    """A published list and its bytes in the log."""

    value: bytes
    body: Recommendations


class HistoryEvent(NamedTuple):
    """An event, its offset and place in the record, and the settings in force for it."""

    offset: int
    place: int
    event: Event
    active: ActiveSettings


class Basis(NamedTuple):
    """All that a user's list at a moment depends on.

    Attributes
    ----------
    position : ListPosition or None
        Position of the published list; None if nothing was published by then.
    now_ms : int
        Time that times of items and rules are compared with.
    """

    history: History
    generation: Generation
    active: ActiveSettings
    position: ListPosition | None
    published: Published | None
    now_ms: int


class TimeTravel:
    """Answers queries about the past of a log; not thread-safe."""

    def __init__(self, log: ReadableLog, store: ReadableStore, snapshots: Snapshots) -> None:
        self.log = log
        self.snapshots = snapshots
        self.generations = Generations(log, store, kept=2)

    def list_at(self, user: str, when: Moment) -> AsOfList:
        """Return the list that a user had at a moment, derived from the log.

        Before the user's first list, it is derived from the newest generation and the history then.

        Raises
        ------
        NotFound
            No generation was announced by then, or its artifact was pruned.
        """
        return self.derive(user, self.basis(user, when))

    def derive(self, user: str, basis: Basis) -> AsOfList:
        """Return the list that follows from a basis, compared with the published one."""
        partition = self.partition(user)
        of = [basis.history], basis.generation, basis.active, partition, basis.now_ms
        make = next(derive(*of))
        if basis.position is None or basis.published is None:
            return AsOfList(list=make([]).body, is_identical=None)
        before = self._before(user, basis.position)
        published = basis.published
        derived = make([item.item for item in before.body.items] if before else [], published.body)
        identical = derived.value == published.value
        placed = msgspec.structs.replace(
            derived.body, epoch=self.log.epoch, partition=partition, offset=basis.position.offset
        )
        return AsOfList(list=placed, is_identical=identical)

    def partition(self, user: str) -> int:
        """Return the partition of a user."""
        return self.snapshots.partition(user)

    def earliest(self, user: str) -> int:
        """Return the first kept offset of a user's partition."""
        return self.log.earliest(INTERACTIONS, self.partition(user))

    def basis(self, user: str, when: Moment) -> Basis:
        """Return all that a user's list at a moment depends on; the next call may change it.

        Raises
        ------
        NotFound
            No generation was announced by then, its artifact was pruned, or the settings are gone.
        """
        self.generations.refresh()
        position = self.list_position(user, when)
        if position is not None:
            return self.basis_of(user, position)
        history = self.history_at(user, when)
        generation, active, now_ms = self._inputs_at(user, when, None)
        return Basis(history, generation, active, None, None, now_ms)

    def basis_of(self, user: str, position: ListPosition) -> Basis:
        """Return all that a published list depends on; the next call may change it."""
        self.generations.refresh()
        published = self.published(self.partition(user), position)
        body = published.body
        active = read_timeline(self.log).by_control(body.control)
        if active is None:
            raise NotFound(
                f"the settings of list {body.rec_id} (control offset {body.control}) are gone"
            )
        generation = self.generations.at(body.generation, body.delta, body.followed)
        history = self.snapshots.history(user, position.as_of)
        return Basis(history, generation, active, position, published, body.now)

    def newest_of(self, number: int) -> Generation:
        """Return a generation with all its deltas; the next call may change it."""
        self.generations.refresh()
        return self.generations.at(number, self.generations.newest_delta(number))

    def events(self, user: str, start: int, stop: int) -> Iterator[HistoryEvent]:
        """Yield a user's events from ``start`` to before ``stop``, with the settings in force."""
        partition = self.partition(user)
        timeline = read_timeline(self.log)
        for record in records_of(self.log, partition, user, start, stop):
            active = timeline.at(partition, record.offset)
            for place, event in decode(record).events:
                if event.user == user:
                    yield HistoryEvent(record.offset, place, event, active)

    def history_at(self, user: str, when: Moment) -> History:
        """Return a user's history at a moment."""
        offset = self._offset(user, when)
        return self.snapshots.history(user, offset) if offset >= 0 else History(user)

    def explain(self, user: str, item: str, when: Moment) -> Explanation:
        """Explain an item's score for a user at a moment, and why it was listed or not.

        Raises
        ------
        NotFound
            No generation was announced by then, or it does not have the item.
        """
        self.generations.refresh()
        position = self.list_position(user, when)
        listed = None if position is None else self.published(self.partition(user), position).body
        generation, active, now_ms = self._inputs_at(user, when, listed)
        return explain(
            self.history_at(user, when),
            generation,
            item,
            list_size=active.list_size,
            half_life_ms=active.fold_settings.half_life_ms,
            steering=active.steering,
            now_ms=now_ms,
        )

    def _offset(self, user: str, when: Moment) -> int:
        """Return the newest offset of the user's partition at a moment, -1 before the first.

        Raises
        ------
        InvalidInput
            The moment is an offset that the partition does not have yet.
        """
        partition = self.partition(user)
        last = self.log.high_watermark(INTERACTIONS, partition) - 1
        if when.offset is not None:
            require_in_log(when.offset, last + 1, f"partition {partition}")
            return when.offset
        if when.timestamp_ms is not None:
            return self.log.offset_at(INTERACTIONS, partition, when.timestamp_ms + 1) - 1
        return last

    def list_position(self, user: str, when: Moment) -> ListPosition | None:
        """Return where a user's list at a moment is published; None if there was none."""
        return self.snapshots.list_position(
            user, offset=self._offset(user, when), timestamp_ms=when.timestamp_ms
        )

    def published(self, partition: int, position: ListPosition) -> Published:
        """Return the published list at a position of a partition."""
        found = self.log.read(RECOMMENDATIONS, partition, position.offset, 1)
        if not found or found[0].offset != position.offset or found[0].value is None:
            raise NotFound(f"{RECOMMENDATIONS}[{partition}] offset {position.offset} is gone")
        try:
            return Published(found[0].value, decode_value(found[0], decode_recommendations))
        except LogCorrupt as error:
            raise NotFound(str(error)) from error

    def _before(self, user: str, position: ListPosition) -> Published | None:
        """Return the list published before another to the same user."""
        earlier = self.snapshots.list_before(user, position)
        return None if earlier is None else self.published(self.partition(user), earlier)

    def _inputs_at(
        self, user: str, when: Moment, listed: Recommendations | None
    ) -> tuple[Generation, ActiveSettings, int]:
        """Return generation, settings and time of a moment: those of the user's list then, if any.

        Now, generation and settings are the newest.
        """
        partition, offset = self.partition(user), self._offset(user, when)
        timeline = read_timeline(self.log)
        if when == Moment():
            generation, active = self._newest_by(None), timeline.newest(partition)
        else:
            known = None if listed is None else timeline.by_control(listed.control)
            active = known or timeline.at(partition, max(offset, 0))
            if listed is not None:
                generation = self.generations.at(listed.generation, listed.delta, listed.followed)
            else:
                after = self.log.read(INTERACTIONS, partition, offset + 1, 1)
                at_ms = after[0].timestamp_ms if after else None
                generation = self._newest_by(
                    at_ms if when.timestamp_ms is None else when.timestamp_ms
                )
        now_ms = when.timestamp_ms
        if now_ms is None:
            now_ms = listed.now if listed is not None else 0
            now_ms = now_ms or newest_time_ms(self.log, INTERACTIONS, partition, max(offset, 0) + 1)
        return generation, active, now_ms

    def _newest_by(self, at_ms: int | None) -> Generation:
        """Return the newest generation: now with all its deltas, or at a time, as announced."""
        number = self.generations.newest_by(at_ms)
        return self.generations.at(
            number, self.generations.newest_delta(number) if at_ms is None else 0
        )
