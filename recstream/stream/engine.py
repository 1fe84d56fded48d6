"""Steps 3, 7 and 8 of the flow: records of a partition → histories, lists, and their effects, once.

The order of effects, for each group of records:

1. fold in memory, and make the lists of the users touched;
2. append, in one call: changed rows to the table's changelog, lists, dead letters, the row that
   says how far the partition is applied, and the consumer group's offset;
3. when that is durable, write the same rows and their changelog offset to RocksDB in one batch;
4. only then go on, and acknowledge.

A crash before 2 loses nothing: the records are read again. A crash between 2 and 3 leaves RocksDB
behind its changelog, from which it is brought up to date before anything else is read. Records
that are delivered again are skipped by the partition's applied offset, and events by their
history's own position. A failed step throws the partition's memory away; the rows say how it was.

Lists follow the folds: while few users wait, in the same append; while many do (an import, a
backlog), folding goes first and each user's list is made once, of the newest state.
An `Engine` belongs to one thread.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from time import perf_counter

import msgspec

from recstream.core import events as core_events
from recstream.core.control import RulesTimeline
from recstream.core.history import History, apply
from recstream.core.history_rows import changes, encode_row
from recstream.core.model import Generation
from recstream.core.records import DeadLetter, DeltaAnnounced, ForgetRequested, Forgotten
from recstream.core.scoreboard import Scoreboard, is_asked
from recstream.errors import InvalidEvent, LogFenced
from recstream.log.partitioner import partition_for
from recstream.log.port import EventLog, NewRecord, Position, Record, TopicPartition
from recstream.log.topics import CONTROL, DEAD_LETTERS, INTERACTIONS, RECOMMENDATIONS
from recstream.metrics import DEAD_LETTERS as N_DEAD_LETTERS
from recstream.metrics import (
    EVENTS_INGESTED,
    FOLD_IN_DURATION,
    FRESHNESS,
    MODEL_GENERATION,
)
from recstream.stream.decode import dead_letter, decode
from recstream.stream.forgetting import mark
from recstream.stream.judging import Asked, judge
from recstream.stream.partition import Cause, Known, PartitionState
from recstream.stream.publish import Published, lists
from recstream.stream.rules import adopt_document, control_records
from recstream.stream.tables import RowStore

log = logging.getLogger(__name__)

Append = Callable[[Sequence[NewRecord], Mapping[TopicPartition, int]], list[Position]]
"""Appends records and commits the consumer group's next offsets with them; durable on return."""

LIVE_USERS = 64
"""With more users than this waiting for a list, lists are made apart from the folds."""
LIVE_LAG = 2_000
"""With more records than this waiting behind a group, likewise."""
READ_RECORDS = 1_000

_encode_json = msgspec.json.Encoder().encode


class Status:
    """What an engine has done since it started; latencies are those of the newest lists."""

    def __init__(self) -> None:
        self.events = 0
        self.published = 0
        self.dead_letters = 0
        self.lag: dict[int, int] = {}
        self.fold_in_s: deque[float] = deque(maxlen=1000)
        self.freshness_ms: deque[int] = deque(maxlen=1000)
        self.scores = Scoreboard()


class Engine:
    """Folds, lists and publishes for the partitions it is asked about.

    Parameters
    ----------
    event_log : EventLog
        For reading.
    append : callable
        For writing, with the group's offsets.
    rows : RowStore
    changelog : str
        Topic of the table's changelog.
    timeline : RulesTimeline
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
        timeline: RulesTimeline,
        n_lately: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._log = event_log
        self._append = append
        self._rows = rows
        self._changelog = changelog
        self._timeline = timeline
        self._n_lately = n_lately
        self._clock_ms = clock_ms
        self._n_partitions = event_log.partitions(INTERACTIONS)
        self._states: dict[int, PartitionState] = {}
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
            for user in reversed(state.lately):
                self._to_refresh[state.number, user] = None
        log.info(
            "model adopted generation=%d delta=%d items=%d factors=%d",
            generation.number,
            generation.delta,
            generation.n_items,
            generation.n_factors,
        )

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
        timeline.extend(control_records(self._log, timeline.next_offset))
        n_adopted = 0
        for number, state in list(self._states.items()):

            def append(record: NewRecord, state: PartitionState = state) -> Position:
                place = TopicPartition(INTERACTIONS, state.number)
                return self._append([record], {place: state.next_offset})[0]

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
                n_adopted += 1
                for user in reversed(state.lately):
                    self._to_refresh[number, user] = None
        if n_adopted:
            log.info(
                "steering adopted control=%d partitions=%d", timeline.newest_document[0], n_adopted
            )
        return n_adopted

    # Folding

    def ingest(self, records: Sequence[Record]) -> None:
        """Fold records of one partition, in offset order, and publish what follows from them."""
        state = self.state(records[0].partition)
        self._read_missing(state, records[0].offset)
        fresh = [record for record in records if record.offset >= state.next_offset]
        if fresh:
            self._process(state, fresh)

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
            self._process(state, missing)

    def _process(self, state: PartitionState, records: Sequence[Record]) -> None:
        known: dict[str, Known] = {}
        after: dict[str, History] = {}
        causes: dict[str, Cause] = {}
        letters: list[DeadLetter] = []
        outcomes: Counter[tuple[str, str]] = Counter()
        asked: list[Asked] = []
        timeline, number = self._timeline, state.number
        for record in records:
            offset = record.offset
            adopted = timeline.at(number, offset)
            rules, is_by_user = adopted.rules, adopted.is_by_user
            decoded = decode(record)
            letters += decoded.letters
            for place, event in decoded.events:
                user = event.user
                old = after.get(user)
                if old is None:
                    if partition_for(user.encode(), self._n_partitions) != number:
                        letters.append(_misplaced(record, event, self._n_partitions))
                        continue
                    known[user] = state.known(user)
                    old = known[user].history
                if is_by_user:
                    rules = adopted.rules_of(user)
                new = after[user] = apply(old, event, offset, place, rules)
                if event.rec_id and event.type == "impression":
                    asked.append(Asked(old, event))
                if new is old:
                    outcomes[event.type, "ignored"] += 1
                else:
                    outcomes[event.type, "folded"] += 1
                    if is_asked(old, event, rules.weights):
                        asked.append(Asked(old, event))
                    first = causes.get(user)
                    since = offset if first is None else first.offset
                    causes[user] = Cause(since, event, record.timestamp_ms)
        listed = {user: each.listed for user, each in known.items() if each.listed is not None}
        rows: list[tuple[bytes, bytes]] = []
        for user, cause in causes.items():
            old = known[user].history
            rows += changes(old if old.offset >= 0 else None, after[user])
            known[user] = Known(after[user], known[user].listed)
            state.ask_for_list(user, cause)
            state.saw(user)
        state.next_offset = records[-1].offset + 1
        lag = self._log.high_watermark(INTERACTIONS, number) - state.next_offset
        self.status.lag[number] = lag
        is_live = len(state.open_lists) <= LIVE_USERS and lag <= LIVE_LAG
        self._commit(
            state,
            known,
            rows,
            self._lists(state, known, LIVE_USERS) if is_live else [],
            letters,
        )
        self._count(outcomes, letters)
        judge(asked, listed, self.status.scores)

    def _count(self, outcomes: Mapping[tuple[str, str], int], letters: list[DeadLetter]) -> None:
        self.status.events += sum(outcomes.values())
        self.status.dead_letters += len(letters)
        for (kind, outcome), n in outcomes.items():
            EVENTS_INGESTED.labels(kind, outcome).inc(n)
        for letter in letters:
            N_DEAD_LETTERS.labels(letter.reason).inc()

    # Forgetting

    def forget(self, request: ForgetRequested) -> Forgotten:
        """Delete the rows and the list of a user of a partition held here, as of all there is now.

        All that the partition holds is folded first, so that the offset this stands at parts the
        user's events cleanly. Tombstones, the partition's position and the record that says so go
        into one append: done wholly or not at all. The records themselves are another's to redact
        (`recstream.stream.forgetting.erase`).
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
        headers = mark(request.id)
        applied_key, applied = state.applied_row()
        records = [NewRecord(self._changelog, each, None, number, None, headers) for each in gone]
        records += [
            NewRecord(self._changelog, applied_key, encode_row(applied), number),
            NewRecord(RECOMMENDATIONS, key, None, number, None, headers),
            NewRecord(CONTROL, b"forgotten", _encode_json(forgotten), 0),
        ]
        rows = [*((each, None) for each in gone), (applied_key, encode_row(applied))]
        try:
            positions = self._append(
                records, {TopicPartition(INTERACTIONS, number): state.next_offset}
            )
            self._rows.write(number, rows, positions[len(gone)].offset)
        except BaseException:
            self._states.pop(number, None)
            raise
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
                published = self._lists(state, known, limit - n_done)
                self._commit(state, known, [], published, [])
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
            asked = [(each, Cause(each.history.offset)) for each in known.values()]
            published = self._made(state, asked, is_refresh=True)
            if published:
                self._commit(state, known, [], published, [])
        return len(chosen)

    def _lists(self, state: PartitionState, known: dict[str, Known], limit: int) -> list[Published]:
        """Make the lists that wait the longest, and close them; ``known`` gains their users."""
        if self.generation is None or not state.open_lists:
            return []
        chosen = list(islice(state.open_lists, limit))
        asked = []
        for user in chosen:
            if user not in known:
                known[user] = state.known(user)
            asked.append((known[user], state.open_lists.pop(user)))
        return self._made(state, asked, is_refresh=False)

    def _made(
        self, state: PartitionState, asked: list[tuple[Known, Cause]], *, is_refresh: bool
    ) -> list[Published]:
        if self.generation is None or not asked:
            return []
        begun = perf_counter()
        published = lists(
            state.number,
            asked,
            self.generation,
            self._timeline.newest(state.number),
            self._clock_ms,
            is_refresh=is_refresh,
        )
        each_s = (perf_counter() - begun) / len(asked)
        self.status.fold_in_s.append(each_s)
        FOLD_IN_DURATION.observe(each_s)
        return published

    # Effects

    def _commit(
        self,
        state: PartitionState,
        known: dict[str, Known],
        rows: list[tuple[bytes, bytes]],
        published: list[Published],
        letters: list[DeadLetter],
    ) -> None:
        """Carry out a group's effects in the order that the module describes."""
        number = state.number
        rows = [*rows, *(each.row for each in published)]
        key, applied = state.applied_row()
        rows.append((key, encode_row(applied)))
        records = [NewRecord(self._changelog, key, value, number) for key, value in rows]
        records += [each.record for each in published]
        records += [
            NewRecord(DEAD_LETTERS, None, _encode_json(letter), number) for letter in letters
        ]
        try:
            positions = self._append(
                records, {TopicPartition(INTERACTIONS, number): state.next_offset}
            )
            self._rows.write(number, rows, positions[len(rows) - 1].offset)
        except BaseException:
            self._states.pop(number, None)
            raise
        for user, each in known.items():
            state.hot.put(user, each)
        for made in published:
            state.hot.put(made.known.history.user, made.known)
        self._observe(published)

    def _observe(self, published: list[Published]) -> None:
        now = self._clock_ms()
        self.status.published += len(published)
        for each in published:
            if each.appended_ts:
                age_ms = max(0, now - each.appended_ts)
                self.status.freshness_ms.append(age_ms)
                FRESHNESS.labels("published").observe(age_ms / 1000.0)


def _misplaced(record: Record, event: core_events.Event, n_partitions: int) -> DeadLetter:
    """Return the letter for an event in a partition that is not its user's."""
    expected = partition_for(event.user.encode(), n_partitions)
    message = f"expected partition {expected} for this user, got {record.partition}"
    error = InvalidEvent(message, code="wrong-partition", pointer="/user")
    return dead_letter(record, core_events.encode(event), error)
