"""Commands to the trainer from the control topic, and which of them are still to do."""

import logging
from collections.abc import Mapping

from recstream.control import control_record
from recstream.core.records import (
    Forgotten,
    GenerationAnnounced,
    RollbackRequested,
    TrainingRequested,
)
from recstream.log import EventLog, Record, TopicPartition
from recstream.trainer.histories import HistoryColumns

log = logging.getLogger(__name__)

Command = TrainingRequested | RollbackRequested


class Commands:
    """Pending trainings, rollbacks, and forgotten users whom a generation may still contain.

    Attributes
    ----------
    newest : TrainingRequested or RollbackRequested or None
        The newest command that is not done yet.
    is_held : bool
        After a rollback: no scheduled training until one is requested. A rollback that is not possible
        holds nothing.
    forgotten : list of Forgotten
        Users that the next training must exclude.
    awaited : dict of TopicPartition to int
        Changelog offsets to reach before the rows of forgotten users are certainly gone.
    next_offset : int
        Next offset of the control topic that `apply` expects.
    started_offset : int
        ``next_offset`` when the newest training started.
    """

    def __init__(self, event_log: EventLog, changelog: str) -> None:
        self._log = event_log
        self._changelog = changelog
        self.newest: Command | None = None
        self.is_held = False
        self.forgotten: list[Forgotten] = []
        self.awaited: dict[TopicPartition, int] = {}
        self.next_offset = self.started_offset = 0
        self._newest_offset = -1
        self._started: tuple[Command | None, list[Forgotten]] = None, []

    @property
    def is_forced(self) -> bool:
        """Whether the next generation is activated even if the gate rejects it.

        True if that was requested, or if a user was forgotten: the serving generation contains them.
        """
        is_requested = isinstance(self.newest, TrainingRequested) and self.newest.force
        return is_requested or bool(self.forgotten)

    def apply(self, record: Record) -> None:
        """Apply a record of the control topic."""
        command = control_record(record)
        self.next_offset = record.offset + 1
        if isinstance(command, TrainingRequested | RollbackRequested):
            self.newest, self._newest_offset = command, record.offset
            self.is_held = isinstance(command, RollbackRequested)
        elif isinstance(command, Forgotten):
            if not 0 <= command.partition < self._log.partitions(self._changelog):
                log.warning("no such partition to forget a user in: %d", command.partition)
                return
            self.forgotten.append(command)
            tp = TopicPartition(self._changelog, command.partition)
            self.awaited[tp] = self._log.high_watermark(*tp)

    def mark_started(self) -> None:
        """Note that a training starts that carries all commands out."""
        self.started_offset = self.next_offset
        self._started = self.newest, self.forgotten
        self.newest, self.forgotten = None, []

    def mark_ended(self, *, is_requested: bool, is_forgotten: bool) -> None:
        """Note that the training has ended; what it did not carry out is to do again.

        Parameters
        ----------
        is_requested : bool
            The request was carried out, or answered with a failure.
        is_forgotten : bool
            A generation without the forgotten users serves.
        """
        (newest, forgotten), self._started = self._started, (None, [])
        if not is_requested:
            self.newest = self.newest or newest
        if not is_forgotten:
            self.forgotten = [*forgotten, *self.forgotten]

    def drop_answered(self, serving: GenerationAnnounced, now: HistoryColumns) -> None:
        """Drop commands that the newest generation, or one before it, has carried out.

        Parameters
        ----------
        now : HistoryColumns
            The current histories.
        """
        if self.newest is not None and self._is_answered(self.newest, serving):
            self.newest = None
        self.forgotten = [
            each
            for each in self.forgotten
            if not _is_without(each, serving.offsets, serving.n_users, now)
        ]

    def _is_answered(self, newest: Command, serving: GenerationAnnounced) -> bool:
        """Return whether a generation carried the newest command out.

        Offsets decide. Older generations have none; two clocks are compared for them.
        """
        if serving.control_offset is None:
            return serving.created_ts >= newest.requested_ts
        return self._newest_offset < serving.control_offset


def _is_without(
    forgotten: Forgotten, offsets: Mapping[str, int], n_users: int, now: HistoryColumns
) -> bool:
    """Return whether a generation certainly excludes a forgotten user.

    At the exact offset of the request only the number of users shows it, and only if no event came
    since.
    """
    offset = offsets.get(str(forgotten.partition), 0)
    if offset == forgotten.at_offset:
        current = {str(partition): offset for partition, offset in now.offsets.items()}
        return offset == 0 or (offsets == current and n_users == now.n_users)
    return offset > forgotten.at_offset or offset == 0
