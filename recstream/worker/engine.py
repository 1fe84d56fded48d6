"""Steps 3, 7 and 8 of the flow: records of partitions → histories, lists, and their effects, once.

Records are folded in memory, the lists of the users touched are made, and both are carried out in
the order that `recstream.worker.commit_order` describes, for all partitions that wait together.

Lists follow the folds: while few users wait, in the same append; while many do (an import, a
backlog), folding goes first and each user's list is made once, of the newest state.
An `Engine` belongs to one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import islice
from time import perf_counter

from recstream.control import read_control
from recstream.core.generation import Generation
from recstream.core.history import SettingsTimeline
from recstream.core.records import DeltaAnnounced, ForgetRequested, Forgotten
from recstream.errors import LogFenced
from recstream.log import (
    INTERACTIONS,
    EventLog,
    NewRecord,
    Position,
    Record,
    TopicPartition,
    decode,
    partition_for,
)
from recstream.metrics import FOLD_IN_DURATION, MODEL_GENERATION
from recstream.worker.commit import Append, Effects, ForgetEffects, Status
from recstream.worker.commit_order import Committer
from recstream.worker.fold import Folded, fold
from recstream.worker.lists import Published, Wanted, lists
from recstream.worker.prequential import judge
from recstream.worker.rules import adopt_document
from recstream.worker.state import Cause, Known, PartitionState
from recstream.worker.store import RowStore

log = logging.getLogger(__name__)

LIVE_USERS = 64
"""With more users than this waiting for a list, lists are made apart from the folds."""
LIVE_LAG = 2_000
"""With more records than this waiting behind a group, likewise."""
READ_RECORDS = 1_000


class Engine:
    """Folds, lists and publishes for the partitions it is asked about.

    Parameters
    ----------
    event_log : EventLog
        For reading.
    append : callable
        For writing, with the group's offsets; see `Append`.
    rows : RowStore
    changelog : str
        Topic of the table's changelog.
    timeline : SettingsTimeline
        Which rules hold for which events.
    n_lately : int
        Users seen lately to remember a partition, for refreshing.
    clock_ms : callable
        For the lineage and the latencies: nothing else depends on it.
    """

    def __init__(
        self,
        event_log: EventLog,
        append: Append,
        rows: RowStore,
        *,
        changelog: str,
        timeline: SettingsTimeline,
        n_lately: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._log = event_log
        self._rows = rows
        self._timeline = timeline
        self._n_lately = n_lately
        self._clock_ms = clock_ms
        self._n_partitions = event_log.partitions(INTERACTIONS)
        self._states: dict[int, PartitionState] = {}
        self._committer = Committer(append, rows, changelog, self._states)
        self._to_refresh: dict[tuple[int, str], None] = {}
        self.generation: Generation | None = None
        self.status = Status()

    # Partitions

    def state(self, partition: int) -> PartitionState:
        """Return a partition's state, made from its rows when it is first asked for."""
        state = self._states.get(partition)
        if state is None:
            state = PartitionState(partition, self._rows, n_lately=self._n_lately)
            self._states[partition] = state
        return state

    def recall(self, partition: int, committed: int) -> None:
        """Bring a partition that was just assigned up to date; perhaps no record will ever come.

        Records before the group's committed offset that the rows lack are folded again (table and
        changelog were lost), and the users of the newest ones count as seen lately.
        """
        state = self.state(partition)
        self._read_missing(state, committed)
        start = max(self._log.earliest(INTERACTIONS, partition), state.next_offset - READ_RECORDS)
        if start < state.next_offset:
            for record in self._log.read(INTERACTIONS, partition, start, READ_RECORDS):
                for _, event in decode(record).events:
                    state.saw(event.user)

    def revoke(self, partitions: Sequence[int]) -> None:
        """Forget partitions that go to another worker."""
        for partition in partitions:
            self._states.pop(partition, None)
            self.status.lag.pop(partition, None)
        self._to_refresh = {key: None for key in self._to_refresh if key[0] not in partitions}

    # Models

    def adopt(self, generation: Generation) -> None:
        """Serve a generation from now on; the users seen lately are to be refreshed."""
        self.generation = generation
        MODEL_GENERATION.set(generation.number)
        for state in self._states.values():
            self._refresh_lately(state)
        log.info(
            "model adopted generation=%d delta=%d items=%d factors=%d",
            generation.number,
            generation.delta,
            generation.n_items,
            generation.n_factors,
        )

    def _refresh_lately(self, state: PartitionState) -> None:
        """Let the users seen lately wait for a refresh, the newest first."""
        for user in reversed(state.lately):
            self._to_refresh[state.number, user] = None

    def move(self, delta: DeltaAnnounced) -> None:
        """Move the generation's items; raises `ModelMismatch` if the delta does not follow."""
        if self.generation is not None:
            self.generation.apply_delta(delta)

    # Steering

    def follow_control(self) -> int:
        """Let the newest steering document hold for all partitions; return for how many it is new.

        The users seen lately are to be refreshed.
        """
        timeline = self._timeline
        timeline.extend(read_control(self._log, timeline.next_offset))
        n_partitions_with = 0
        for number, state in list(self._states.items()):

            def append(record: NewRecord, state: PartitionState = state) -> Position:
                place = TopicPartition(INTERACTIONS, state.number)
                return self._committer.append([record], {place: state.next_offset})[0]

            try:
                is_new = adopt_document(
                    append,
                    timeline,
                    partition=number,
                    from_offset=state.next_offset,
                    now_ms=self._clock_ms(),
                )
            except LogFenced as error:
                log.info("steering not adopted, another worker has the partition: %s", error)
                continue
            if is_new:
                n_partitions_with += 1
                self._refresh_lately(state)
        if n_partitions_with:
            log.info(
                "steering adopted control=%d partitions=%d",
                timeline.newest_document[0],
                n_partitions_with,
            )
        return n_partitions_with

    # Folding

    def ingest(self, records: Sequence[Record]) -> None:
        """Fold records of one partition, in offset order, and publish what follows from them."""
        _raise_any(self.ingest_all([records]))

    def ingest_all(self, groups: Sequence[Sequence[Record]]) -> list[LogFenced | None]:
        """Do for groups of several partitions what `ingest` does for one, and wait for the disk once.

        Returns
        -------
        list of LogFenced or None
            What refused each group: another worker has its partition.
        """
        refused: list[LogFenced | None] = [None] * len(groups)
        begun: dict[int, Folded] = {}
        for at, records in enumerate(groups):
            state = self.state(records[0].partition)
            try:
                self._read_missing(state, records[0].offset)
            except LogFenced as error:
                refused[at] = error
                continue
            fresh = [record for record in records if record.offset >= state.next_offset]
            if fresh:
                begun[at] = fold(state, fresh, self._timeline, self._n_partitions)
        for at, found in zip(begun, self._finish(list(begun.values())), strict=True):
            refused[at] = found
        return refused

    def _read_missing(self, state: PartitionState, until: int) -> None:
        """Fold what the log holds between the rows and an offset, if anything."""
        while state.next_offset < until:
            start = max(state.next_offset, self._log.earliest(INTERACTIONS, state.number))
            found = self._log.read(INTERACTIONS, state.number, start, READ_RECORDS)
            missing = [record for record in found if record.offset < until]
            if not missing:
                return
            log.info(
                "records folded again partition=%d from=%d to=%d",
                state.number,
                missing[0].offset,
                missing[-1].offset,
            )
            _raise_any(self._finish([fold(state, missing, self._timeline, self._n_partitions)]))

    def _finish(self, begun: Sequence[Folded]) -> list[LogFenced | None]:
        """Make the lists of groups that were folded, if few wait for one, and commit all."""
        for each in begun:
            number = each.state.number
            end = self._log.high_watermark(INTERACTIONS, number)
            self.status.lag[number] = end - each.state.next_offset
        is_live = (
            sum(len(each.state.open_lists) for each in begun) <= LIVE_USERS
            and max((self.status.lag[each.state.number] for each in begun), default=0) <= LIVE_LAG
        )
        published: dict[int, list[Published]] = {}
        if is_live:
            asked = [
                wanted
                for each in begun
                for wanted in self._open(each.state, each.known, LIVE_USERS)
            ]
            published = self._made(asked, is_refresh=False)
        refused = self._commit(
            [
                Effects(
                    each.state,
                    each.known,
                    each.rows,
                    published.get(each.state.number, []),
                    each.letters,
                )
                for each in begun
            ]
        )
        for each, error in zip(begun, refused, strict=True):
            if error is None:
                self.status.count(each.outcomes, each.letters)
                judge(each.asked, each.listed, self.status.scores)
        return refused

    # Forgetting

    def forget(self, request: ForgetRequested) -> Forgotten:
        """Delete the rows and the list of a user of a partition held here, as of all there is now.

        All that the partition holds is folded first, so that the offset this stands at parts the
        user's events cleanly. Tombstones, the partition's position and the record that says so go
        into one append: done wholly or not at all. The records themselves are another's to redact
        (`recstream.erasure.erasure.erase`).
        """
        user, key = request.user, request.user.encode()
        number = partition_for(key, self._n_partitions)
        state = self.state(number)
        self._read_missing(state, self._log.high_watermark(INTERACTIONS, number))
        gone = sorted({key, *self._rows.keys_of(number, key)})
        state.drop(user)
        self._to_refresh.pop((number, user), None)
        forgotten = Forgotten(
            id=request.id,
            partition=number,
            at_offset=state.next_offset,
            forgotten_ts=self._clock_ms(),
        )
        _raise_any(self._commit([ForgetEffects(state, gone, user, forgotten)]))
        return forgotten

    # Lists

    @property
    def n_open(self) -> int:
        """Users who wait for a list because of an event."""
        return sum(len(state.open_lists) for state in self._states.values())

    @property
    def n_to_refresh(self) -> int:
        """Users who wait for a list because of a new generation."""
        return len(self._to_refresh)

    @property
    def lag(self) -> int:
        """Records known to wait behind the newest groups."""
        return sum(self.status.lag.values())

    def list_open(self, limit: int) -> int:
        """Make some of the lists that wait, and return how many users were worked off."""
        if self.generation is None:
            return 0
        n_done = 0
        for state in list(self._states.values()):
            n_before = len(state.open_lists)
            if n_before and n_done < limit:
                known: dict[str, Known] = {}
                wanted = self._open(state, known, limit - n_done)
                made = self._made(wanted, is_refresh=False)
                self._publish(state, known, made.get(state.number, []))
                n_done += n_before - len(state.open_lists)
        return n_done

    def refresh(self, limit: int) -> int:
        """Make the lists of some users seen lately, and return how many were worked off."""
        if self.generation is None:
            return 0
        by_partition: dict[int, list[str]] = {}
        chosen = list(islice(self._to_refresh, limit))
        for partition, user in chosen:
            del self._to_refresh[partition, user]
            by_partition.setdefault(partition, []).append(user)
        for partition, users in by_partition.items():
            state = self._states.get(partition)
            if state is None:
                continue
            known = {user: state.known(user) for user in users if user not in state.open_lists}
            adopted = self._timeline.newest(partition)
            wanted = [
                Wanted(partition, adopted, each, Cause(each.history.offset))
                for each in known.values()
            ]
            published = self._made(wanted, is_refresh=True).get(partition)
            if published:
                self._publish(state, known, published)
        return len(chosen)

    def _open(self, state: PartitionState, known: dict[str, Known], limit: int) -> list[Wanted]:
        """Close the lists that wait the longest, to be made now; ``known`` gains their users."""
        if self.generation is None:
            return []
        adopted = self._timeline.newest(state.number)
        wanted = []
        for user in list(islice(state.open_lists, limit)):
            if user not in known:
                known[user] = state.known(user)
            cause = state.open_lists.pop(user)
            wanted.append(Wanted(state.number, adopted, known[user], cause))
        return wanted

    def _made(self, wanted: Sequence[Wanted], *, is_refresh: bool) -> dict[int, list[Published]]:
        """Make lists; return those that changed, by partition."""
        if self.generation is None or not wanted:
            return {}
        begun = perf_counter()
        published = lists(wanted, self.generation, self._clock_ms, is_refresh=is_refresh)
        each_s = (perf_counter() - begun) / len(wanted)
        self.status.fold_in_s.append(each_s)
        FOLD_IN_DURATION.observe(each_s)
        return published

    # Effects

    def _publish(
        self, state: PartitionState, known: dict[str, Known], published: list[Published]
    ) -> None:
        """Carry out the effects of lists that no records came with."""
        for refused in self._commit([Effects(state, known, [], published, [])]):
            if refused is not None:
                log.info("lists not published, another worker has the partition: %s", refused)

    def _commit(self, effects: Sequence[Effects | ForgetEffects]) -> list[LogFenced | None]:
        """Carry out effects, and count the lists among them."""
        refused = self._committer.commit(effects)
        for each, error in zip(effects, refused, strict=True):
            if error is None:
                self.status.observe(each.published, self._clock_ms())
        return refused


def _raise_any(refused: Sequence[LogFenced | None]) -> None:
    """Raise what refused a group, if one was."""
    for each in refused:
        if each is not None:
            raise each
