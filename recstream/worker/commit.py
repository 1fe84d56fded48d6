"""Steps 3 and 8 of the flow: what follows from a group of records or a request, as appended, as kept, and as counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec

from recstream.control import new_control_record
from recstream.core.evaluation import Scoreboard
from recstream.core.history import encode_row
from recstream.core.records import DeadLetter, Forgotten
from recstream.erasure import mark
from recstream.errors import LogFenced
from recstream.log import (
    DEAD_LETTERS,
    INTERACTIONS,
    RECOMMENDATIONS,
    NewRecord,
    Position,
    TopicPartition,
)
from recstream.metrics import DEAD_LETTERS as N_DEAD_LETTERS
from recstream.metrics import EVENTS_INGESTED, FRESHNESS
from recstream.worker.lists import Published
from recstream.worker.state import Known, PartitionState
from recstream.worker.store import RowStore

_encode_json = msgspec.json.Encoder().encode

Work = tuple[Sequence[NewRecord], Mapping[TopicPartition, int]]
"""Records, and the consumer group's next offsets that are committed with them."""
Append = Callable[[Sequence[Work]], list[list[Position] | LogFenced]]
"""Appends each work wholly or, if another worker has its partition, not at all; durable on return."""

Single = Callable[[Sequence[NewRecord], Mapping[TopicPartition, int]], list[Position]]


def one_by_one(append: Single) -> Append:
    """Return an `Append` over what appends a single work and raises `LogFenced`."""

    def append_all(works: Sequence[Work]) -> list[list[Position] | LogFenced]:
        done: list[list[Position] | LogFenced] = []
        for work in works:
            try:
                done.append(append(*work))
            except LogFenced as error:
                done.append(error)
        return done

    return append_all


class Effects:
    """What is appended and kept because of one group of one partition."""

    def __init__(
        self,
        state: PartitionState,
        known: dict[str, Known],
        rows: list[tuple[bytes, bytes]],
        published: list[Published],
        letters: list[DeadLetter],
    ) -> None:
        self.state = state
        self.known = known
        self.published = published
        self._letters = letters
        key, applied = state.applied_row()
        self._rows = [*rows, *(each.row for each in published), (key, encode_row(applied))]

    def work(self, changelog: str) -> Work:
        """Return what is appended, and the offset that is committed with it."""
        number = self.state.number
        records = [NewRecord(changelog, key, value, number) for key, value in self._rows]
        records += [each.record for each in self.published]
        records += [
            NewRecord(DEAD_LETTERS, None, _encode_json(letter), number) for letter in self._letters
        ]
        return records, {TopicPartition(INTERACTIONS, number): self.state.next_offset}

    def keep(self, rows: RowStore, positions: list[Position]) -> None:
        """Write the same rows to the table, and remember the users."""
        rows.write(self.state.number, self._rows, positions[len(self._rows) - 1].offset)
        for user, each in self.known.items():
            self.state.hot.put(user, each)
        for made in self.published:
            self.state.hot.put(made.known.history.user, made.known)


class ForgetEffects:
    """What is appended and kept because a user is forgotten.

    Tombstones, the partition's position and the record that says so go into one append.

    Parameters
    ----------
    state : PartitionState
        The user is dropped from it already.
    gone : list of bytes
        Keys of the user's rows.
    user : str
    forgotten : Forgotten
    """

    published: tuple[Published, ...] = ()

    def __init__(
        self, state: PartitionState, gone: list[bytes], user: str, forgotten: Forgotten
    ) -> None:
        self.state = state
        self._gone = gone
        self._key = user.encode()
        self._forgotten = forgotten
        self._applied_key, applied = state.applied_row()
        self._applied = encode_row(applied)

    def work(self, changelog: str) -> Work:
        """Return what is appended, and the offset that is committed with it."""
        number = self.state.number
        headers = mark(self._forgotten.id)
        records = [NewRecord(changelog, key, None, number, None, headers) for key in self._gone]
        records += [
            NewRecord(changelog, self._applied_key, self._applied, number),
            NewRecord(RECOMMENDATIONS, self._key, None, number, None, headers),
            new_control_record(self._forgotten),
        ]
        return records, {TopicPartition(INTERACTIONS, number): self.state.next_offset}

    def keep(self, rows: RowStore, positions: list[Position]) -> None:
        """Delete the same rows from the table."""
        kept = [*((key, None) for key in self._gone), (self._applied_key, self._applied)]
        rows.write(self.state.number, kept, positions[len(self._gone)].offset)


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

    def count(self, outcomes: Mapping[tuple[str, str], int], letters: list[DeadLetter]) -> None:
        """Count what became of events."""
        self.events += sum(outcomes.values())
        self.dead_letters += len(letters)
        for (kind, outcome), n in outcomes.items():
            EVENTS_INGESTED.labels(kind, outcome).inc(n)
        for letter in letters:
            N_DEAD_LETTERS.labels(letter.reason).inc()

    def observe(self, published: Sequence[Published], now: int) -> None:
        """Count lists, and how old the events they follow are by now."""
        self.published += len(published)
        for each in published:
            if each.appended_ts:
                age_ms = max(0, now - each.appended_ts)
                self.freshness_ms.append(age_ms)
                FRESHNESS.labels("published").observe(age_ms / 1000.0)
