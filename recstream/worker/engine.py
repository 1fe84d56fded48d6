"""Engine: the order in which a group of records takes effect, exactly once.

`Engine.ingest` handles groups of records, one of each partition:

1. read the records between the applied offset and the group, if any are missing (`_read_missing`);
2. decode and fold the records into histories in memory (`recstream.worker.fold.fold`);
3. rank the lists of the users (`recstream.worker.lists.rank_lists`), if few are waiting;
4. append, in one call: changed rows to the table's changelog, lists, dead letters and the applied
   offset (`recstream.worker.commit.commit`); on the embedded log also the consumer group's offset;
5. when that is durable, write the same rows and their changelog offset to RocksDB in one batch;
6. count, and return: the agent acknowledges the records.

A crash before 4 loses nothing: the records are read again. After a crash between 4 and 5, Faust
recovers RocksDB from the changelog before the partition is read. Records that are delivered again
are skipped by the applied offset, repeated events by the history's own position and ids. If a step
fails, the partition's memory is discarded and read again from the rows.

On the embedded log, groups of several partitions share one append and one wait for the disk; on
Kafka each partition has a transaction. Each partition is committed or refused on its own. While few
users wait, lists share the append of their events. In a backlog `list_pending` makes one a user.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter

from recstream.control import read_control
from recstream.core.generation import Generation
from recstream.core.history import SettingsTimeline
from recstream.core.records import DeltaAnnounced, ForgetRequested, Forgotten
from recstream.errors import LogFenced, LogRecreated
from recstream.log import (
    INTERACTIONS,
    EventLog,
    Record,
    TopicPartition,
    histories_changelog,
    partition_for,
)
from recstream.settings import Settings
from recstream.worker.commit import (
    Append,
    Effects,
    commit,
    folded_effects,
    forget_effects,
    list_effects,
    raise_fenced,
)
from recstream.worker.fold import Folded, fold, missing_records, open_state, touch_recent_users
from recstream.worker.fold_settings import activate, activate_everywhere
from recstream.worker.lists import (
    ListToRank,
    NewList,
    pending_requests,
    rank_lists,
    refresh_requests,
)
from recstream.worker.rocksdb_rows import RocksDBRows
from recstream.worker.state import PartitionState, RefreshQueue, UserState
from recstream.worker.status import WorkerTotals

log = logging.getLogger(__name__)

LIVE_USERS = 64
"""If more users wait for a list, lists are ranked apart from the folds."""
LIVE_LAG = 2_000
"""If more records wait behind a group, likewise."""


class Engine:
    """Folds records, ranks lists and commits both. All calls come from one thread.

    Parameters
    ----------
    append : Append
        For writing, together with the consumer group's offsets.
    settings : Settings
        Consumer group, event weights, half-life, list size, number of users to refresh.
    timeline : SettingsTimeline
        Settings in force by partition and offset.
    clock_ms : callable
        For the lineage and the latencies alone.
    """

    def __init__(
        self,
        event_log: EventLog,
        append: Append,
        rows: RocksDBRows,
        *,
        settings: Settings,
        timeline: SettingsTimeline,
        clock_ms: Callable[[], int],
    ) -> None:
        self._log = event_log
        self._append = append
        self._rows = rows
        self._settings = settings
        self._timeline = timeline
        self._clock_ms = clock_ms
        self._changelog = histories_changelog(settings.app_id)
        self._n_partitions = event_log.partitions(INTERACTIONS)
        self._states: dict[int, PartitionState] = {}
        self._to_refresh = RefreshQueue(clock_ms())
        self.generation: Generation | None = None
        self.status = WorkerTotals()

    # Records

    def ingest(self, groups: Sequence[Sequence[Record]]) -> list[LogFenced | None]:
        """Fold groups of records of different partitions, in offset order; durable on return.

        Returns
        -------
        list of LogFenced or None
            The error of each group whose partition another worker owns now.
        """
        with self._discarded_on_error(*(records[0].partition for records in groups)):
            return self._ingest(groups)

    def _ingest(self, groups: Sequence[Sequence[Record]]) -> list[LogFenced | None]:
        refused: list[LogFenced | None] = [None] * len(groups)
        folded: dict[int, Folded] = {}
        for at, records in enumerate(groups):
            state = self.state(records[0].partition)
            try:
                self._read_missing(state, records[0].offset)  # 1
            except LogFenced as error:
                refused[at] = error
                continue
            fresh = [record for record in records if record.offset >= state.next_offset]
            if fresh:
                folded[at] = fold(state, fresh, self._timeline, self._n_partitions)  # 2
        for at, fenced in zip(folded, self._finish(list(folded.values())), strict=True):
            refused[at] = fenced
        return refused

    @contextlib.contextmanager
    def _discarded_on_error(self, *partitions: int) -> Iterator[None]:
        """Discard the memory of partitions after an error: nothing of it is committed.

        It is read again from the rows. A commit of one partition must never contain the position of
        events that another partition's error kept out of the log.
        """
        try:
            yield
        except BaseException:
            for partition in partitions:
                self._states.pop(partition, None)
            raise

    def _finish(self, folded: Sequence[Folded]) -> list[LogFenced | None]:
        """Carry out steps 3 to 6 for folded groups."""
        lists = self._rank_live(folded)  # 3
        refused = self._commit(
            [folded_effects(each, lists.get(each.state.number, [])) for each in folded]
        )
        for each, error in zip(folded, refused, strict=True):
            if error is None:
                self.status.count_folded(each)  # 6
                self.status.count_lists(lists.get(each.state.number, []), self._clock_ms())
        return refused

    def _rank_live(self, folded: Sequence[Folded]) -> dict[int, list[NewList]]:
        """Rank the lists of the users just folded, unless there is a backlog."""
        self.measure_lag([each.state for each in folded])
        is_live = (
            self.generation is not None
            and sum(len(each.state.pending_lists) for each in folded) <= LIVE_USERS
            and max((self.status.lag[each.state.number] for each in folded), default=0) <= LIVE_LAG
        )
        if not is_live:
            return {}
        requests = [
            request
            for each in folded
            for request in pending_requests(each.state, each.users, self._timeline, LIVE_USERS)
        ]
        return self._rank(requests, is_refresh=False)

    def _commit(self, effects: Sequence[Effects]) -> list[LogFenced | None]:
        """Carry out steps 4 and 5."""
        return commit(effects, self._append, self._rows, self._changelog, self._states)

    def _read_missing(self, state: PartitionState, until: int, *, is_rebuild: bool = False) -> None:
        """Fold the log's records between the rows and an offset; see `missing_records`."""
        for missing in missing_records(self._log, state, until, is_rebuild=is_rebuild):
            with self._discarded_on_error(state.number):
                folded = fold(state, missing, self._timeline, self._n_partitions)
                raise_fenced(self._finish([folded]))

    # Partitions

    def state(self, partition: int) -> PartitionState:
        """Return a partition's state, read from its rows when it is not in memory."""
        state = self._states.get(partition)
        if state is None:
            n_recent = self._settings.refresh_users
            state = open_state(self._log, self._timeline, partition, self._rows, n_recent)
            self._states[partition] = state
        return state

    def assign(self, partition: int) -> None:
        """Prepare a partition whose table was recovered, before its first records.

        Records before the group's committed offset that the rows lack are folded again, by the old
        settings: table and changelog were lost. Then this worker's settings are activated.

        Raises
        ------
        LogFenced
            Another worker owns the partition by now.
        LogRecreated
            The table has events that the log lacks.
        """
        self._timeline.extend(read_control(self._log, self._timeline.next_offset))
        committed = self._log.committed(self._settings.app_id, INTERACTIONS)
        state = self.state(partition)
        end = self._log.high_watermark(INTERACTIONS, partition)
        if state.next_offset > end:
            raise LogRecreated(
                f"the table of partition {partition} contains events up to offset {state.next_offset - 1}, "
                f"but {INTERACTIONS}[{partition}] ends before offset {end}: the topic lost events or was "
                "created again. Restore a backup, or set another app_id to fold all histories again from "
                "this log"
            )
        committed_offset = committed.get(TopicPartition(INTERACTIONS, partition), 0)
        self._read_missing(state, committed_offset, is_rebuild=state.next_offset == 0)
        touch_recent_users(self._log, state)
        activate(self._append, self._timeline, self._settings, state, self._clock_ms())
        # A generation, a steering document or a time of an item may be newer than the lists.
        self._to_refresh.add(state)

    def revoke(self, partitions: Sequence[int]) -> None:
        """Discard the memory of partitions that go to another worker."""
        for partition in partitions:
            self._states.pop(partition, None)
            self.status.lag.pop(partition, None)
        self._to_refresh.revoke(partitions)

    # Models and settings

    def activate(self, generation: Generation) -> None:
        """Serve a generation from now on, and queue recent users for a refresh."""
        self.generation = generation
        for state in self._states.values():
            self._to_refresh.add(state)
        log.info(
            "model activated generation=%d delta=%d items=%d factors=%d",
            generation.number,
            generation.delta,
            generation.n_items,
            generation.n_factors,
        )

    def apply_delta(self, delta: DeltaAnnounced) -> None:
        """Update the generation's items; raises `ModelMismatch` if the delta is not the next one.

        Of a newer generation, which can't be used, what the delta withdraws is withdrawn.
        """
        if self.generation is not None:
            if delta.generation > self.generation.number:
                self.generation.follow_withdrawals(delta)
            else:
                self.generation.apply_delta(delta)

    def follow_control(self) -> int:
        """Activate the newest steering document; return on how many partitions it is new.

        Recent users of those partitions are queued for a refresh.
        """
        self._timeline.extend(read_control(self._log, self._timeline.next_offset))
        states = list(self._states.values())
        activated = activate_everywhere(
            self._append, self._timeline, self._settings, states, self._clock_ms()
        )
        for state in activated:
            self._to_refresh.add(state)
        return len(activated)

    def follow_times(self) -> int:
        """Queue recent users if a `from` or `until` passed; return how many passed."""
        n_passed = self._to_refresh.n_passed(self.generation, self._clock_ms())
        if n_passed:
            for state in self._states.values():
                self._to_refresh.add(state)
        return n_passed

    # Lists apart from records

    @property
    def n_pending(self) -> int:
        """Number of users who wait for a list because of an event."""
        return sum(len(state.pending_lists) for state in self._states.values())

    @property
    def n_to_refresh(self) -> int:
        """Number of users who wait for a list because of a new generation or steering document."""
        return len(self._to_refresh)

    @property
    def lag(self) -> int:
        """Number of records known to wait behind the newest groups."""
        return sum(self.status.lag.values())

    def measure_lag(self, states: Sequence[PartitionState] | None = None) -> None:
        """Compare the next offsets of partitions, by default all, with the ends of the log."""
        for state in list(self._states.values()) if states is None else states:
            end = self._log.high_watermark(INTERACTIONS, state.number)
            self.status.lag[state.number] = end - state.next_offset

    def list_pending(self, limit: int) -> int:
        """Rank and publish pending lists, of each partition as many; return the number handled."""
        waiting = [state for state in self._states.values() if state.pending_lists]
        if self.generation is None or not waiting:
            return 0
        share = -(-limit // len(waiting))
        works = []
        with self._discarded_on_error(*(state.number for state in waiting)):
            for state in waiting:
                users: dict[str, UserState] = {}
                works.append((state, users, pending_requests(state, users, self._timeline, share)))
            self._publish(works, is_refresh=False)
        return sum(len(requests) for _, _, requests in works)

    def refresh(self, limit: int) -> int:
        """Rank and publish the lists of users queued for a refresh; return the number handled."""
        if self.generation is None:
            return 0
        taken = self._to_refresh.take(limit)
        works = []
        for partition, names in taken.items():
            if (state := self._states.get(partition)) is None:
                continue
            waiting = [state.user(user) for user in names if user not in state.pending_lists]
            # A user of whom nothing was folded has no rows: misplaced events, impressions alone.
            users = {each.history.user: each for each in waiting if each.history.offset >= 0}
            works.append((state, users, refresh_requests(state, users, self._timeline)))
        self._publish(works, is_refresh=True)
        return sum(map(len, taken.values()))

    def _rank(
        self, requests: Sequence[ListToRank], *, is_refresh: bool
    ) -> dict[int, list[NewList]]:
        """Rank lists; return the changed ones by partition."""
        if self.generation is None or not requests:
            return {}
        begun = perf_counter()
        lists = rank_lists(requests, self.generation, self._clock_ms, is_refresh=is_refresh)
        self.status.fold_in_s.append((perf_counter() - begun) / len(requests))
        return lists

    def _publish(
        self,
        works: Sequence[tuple[PartitionState, dict[str, UserState], list[ListToRank]]],
        *,
        is_refresh: bool,
    ) -> None:
        """Rank lists that come without records, and commit them together."""
        requests = [each for *_, part in works for each in part]
        found = self._rank(requests, is_refresh=is_refresh)
        changed = [
            (state, users, found.get(state.number, []))
            for state, users, _ in works
            if state.number in found or not is_refresh
        ]
        refused = self._commit([list_effects(*each) for each in changed])
        for (_, _, lists), error in zip(changed, refused, strict=True):
            if error is None:
                self.status.count_lists(lists, self._clock_ms())
            else:
                log.info("lists not published, another worker owns the partition: %s", error)

    # Erasure

    def forget(self, request: ForgetRequested) -> Forgotten:
        """Delete a user's rows and list, as of the end of the partition.

        All records of the partition are folded first, so that one offset separates the user's
        erased events from later ones. Tombstones and `Forgotten` share one append. The events are
        blanked later (`recstream.worker.forget`).
        """
        user, key = request.user, request.user.encode()
        number = partition_for(key, self._n_partitions)
        state = self.state(number)
        self._read_missing(state, self._log.high_watermark(INTERACTIONS, number))
        state.drop(user)
        self._to_refresh.drop(number, user)
        forgotten = Forgotten(
            id=request.id,
            partition=number,
            at_offset=state.next_offset,
            forgotten_ts=self._clock_ms(),
        )
        keys = sorted({key, *self._rows.keys_of(number, key)})
        effects = forget_effects(state, key, keys, forgotten)
        raise_fenced(self._commit([effects]))
        return forgotten
