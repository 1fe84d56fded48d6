"""Erase users on Kafka: delete the beginning of a partition, and have its changelog compacted.

A broker's records can't be blanked, so whole beginnings of partitions are deleted, for several
users at once. Events go up to a verified checkpoint that was made without the users: histories of
all others are derived from there on. Lists go up to the users' tombstones, dead letters up to the
last one that names a user. Rows leave the changelog by compaction, and so do their tombstones.
Every step can be repeated.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec
from ulid import ULID

from recstream.checkpoints import Checkpoints
from recstream.control import new_control_record, submit
from recstream.core.records import CheckpointRequested, Erased, Forgotten
from recstream.erasure.redact import letter_without, without
from recstream.erasure.requests import BLANK_KEY, marked
from recstream.log import (
    DEAD_LETTERS,
    FORGET_REQUESTS,
    INTERACTIONS,
    RECOMMENDATIONS,
    EventLog,
    NewRecord,
    may_contain,
    read_records,
)

log = logging.getLogger(__name__)

Users = Sequence[tuple[str, Forgotten]]
"""Users, and what was appended with their tombstones."""
ASK_AGAIN_MS = 30_000
"""Time after which a checkpoint is requested again."""


class CompactingLog(EventLog, Protocol):
    """A log whose broker deletes files asynchronously (Kafka)."""

    def erase_within(self, topic: str, lag_ms: int) -> None:
        """Bound how long a topic's files keep deleted records and tombstones.

        Sets the times of segments, compaction and tombstones.
        """


class Truncation:
    """Deletes what the log has of users whose rows have tombstones.

    Parameters
    ----------
    changelog : str
        Topic of the histories' changelog.
    lag_ms : int
        Time in which the changelog is compacted, and in which readers must have seen its
        tombstones.

    Attributes
    ----------
    deleted : dict of str to dict
        By request whose users' events are deleted: topic and partition, and their earliest offset.
    """

    def __init__(
        self,
        event_log: CompactingLog,
        checkpoints: Checkpoints,
        changelog: str,
        *,
        lag_ms: int,
        clock_ms: Callable[[], int],
    ) -> None:
        self._log = event_log
        self._checkpoints = checkpoints
        self._changelog = changelog
        self._lag_ms = max(1, lag_ms)
        self._clock_ms = clock_ms
        self._asked_ms = -ASK_AGAIN_MS
        self._until: dict[int, int] = {}
        self.deleted: dict[str, dict[str, int]] = {}

    def advance(self, partition: int, users: Users) -> set[str]:
        """Carry out the next step for users of a partition; return the completed requests.

        Call it again until all are completed.
        """
        new = [(user, each) for user, each in users if each.id not in self.deleted]
        if new and (earliest := self._delete(partition, new)) is not None:
            self.deleted |= {each.id: earliest for _, each in new}
        ids = {each.id for _, each in users} & self.deleted.keys()
        if not ids:
            return ids
        until = self._log.high_watermark(self._changelog, partition)
        left = {
            marked(record)
            for record in read_records(self._log, self._changelog, partition, 0, until)
            if record.headers
        }
        if ids & left:
            # A broker removes a tombstone after all older records of its key. It compacts what lies
            # before its newest segment, and a record begins one.
            self._log.erase_within(self._changelog, self._lag_ms)
            self._log.append([NewRecord(self._changelog, BLANK_KEY, None, partition)])
        self._until[partition] = until
        return ids - left

    def finish(self, partition: int, ids: Sequence[str]) -> None:
        """Append the proofs; `remove_finished` then deletes the requests."""
        now_ms = self._clock_ms()
        proofs = [
            Erased(
                id=each,
                partition=partition,
                earliest=self.deleted[each],
                changelog_until=self._until[partition],
                erased_ts=now_ms,
            )
            for each in ids
        ]
        self._log.append([new_control_record(each) for each in proofs])

    def remove_finished(self, until: int) -> None:
        """Delete finished requests before an offset (`Forgetting.finished_until`)."""
        if until > self._log.earliest(FORGET_REQUESTS, 0):
            self._log.erase_within(FORGET_REQUESTS, self._lag_ms)
            self._log.delete_before(FORGET_REQUESTS, 0, until)

    def _delete(self, partition: int, users: Users) -> dict[str, int] | None:
        """Delete events, lists, dead letters, old checkpoints; None if a checkpoint is missing."""
        at_offset = max(each.at_offset for _, each in users)
        names, ids = {user for user, _ in users}, {each.id for _, each in users}
        after = {partition: at_offset}
        if self._find_cut(partition, at_offset) is None:
            self._request_checkpoint(partition, at_offset)
            return None
        for number in range(self._log.partitions(INTERACTIONS)):
            if number != partition:
                after |= self._last_naming(INTERACTIONS, number, names)
        cuts = {number: self._find_cut(number, offset) for number, offset in after.items()}
        for number, cut in cuts.items():
            if cut is None:
                self._request_checkpoint(number, after[number])
                return None
        letters: dict[int, int] = {}
        for number in range(self._log.partitions(DEAD_LETTERS)):
            letters |= self._last_naming(DEAD_LETTERS, number, names)
        lists = [
            record.offset
            for record in read_records(self._log, RECOMMENDATIONS, partition)
            if record.headers and marked(record) in ids
        ]
        ends = {
            **{(INTERACTIONS, number): cut for number, cut in cuts.items() if cut is not None},
            **{(DEAD_LETTERS, number): offset + 1 for number, offset in letters.items()},
            (RECOMMENDATIONS, partition): max(lists, default=-1) + 1,
        }
        for (topic, number), end in ends.items():
            if end > self._log.earliest(topic, number):
                self._log.erase_within(topic, self._lag_ms)
                self._log.delete_before(topic, number, end)
        self._checkpoints.remove_erased(partition, at_offset)
        log.info("events, lists and dead letters deleted partition=%d until=%s", partition, ends)
        return {f"{topic}/{number}": self._log.earliest(topic, number) for topic, number in ends}

    def _find_cut(self, partition: int, after: int) -> int | None:
        """Return the offset of the oldest verified checkpoint after an offset."""
        found = [
            each.offset
            for each in self._checkpoints.all(partition)
            if each.is_verified and each.offset > after
        ]
        return min(found, default=None)

    def _request_checkpoint(self, partition: int, after: int) -> None:
        """Request checkpoints of all workers; add an empty record where no event is newer."""
        now_ms = self._clock_ms()
        if not self._log.n_waiting(INTERACTIONS, partition, after):
            self._log.append([NewRecord(INTERACTIONS, None, None, partition)])
        elif now_ms - self._asked_ms >= ASK_AGAIN_MS:
            self._asked_ms = now_ms
            submit(self._log, CheckpointRequested(id=str(ULID()), requested_ts=now_ms))

    def _last_naming(self, topic: str, partition: int, users: Collection[str]) -> dict[int, int]:
        """Return, by partition, the offset of the last record that names a user, if any."""
        blanked = without if topic == INTERACTIONS else letter_without
        quoted = {user: msgspec.json.encode(user) for user in users}
        last = -1
        for record in read_records(
            self._log, topic, partition, self._log.earliest(topic, partition)
        ):
            value = record.value or b""
            for user, text in quoted.items():
                may_be = (
                    may_contain(value, text) or record.key == user.encode() or topic == DEAD_LETTERS
                )
                if may_be and blanked(record, user) != record:
                    last = record.offset
        return {} if last < 0 else {partition: last}
