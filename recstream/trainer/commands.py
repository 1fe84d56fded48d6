"""Step 5 of the flow: what the control topic asks of the trainer, and what of it is still to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from recstream.control import control_record
from recstream.core.records import (
    Forgotten,
    GenerationAnnounced,
    RollbackRequested,
    TrainingRequested,
    decode_model,
)
from recstream.log import MODELS, EventLog, Record, TopicPartition, decode_record
from recstream.trainer.training import Snapshot

log = logging.getLogger(__name__)

READ_RECORDS = 5_000

Request = TrainingRequested | RollbackRequested


class Requests:
    """Trainings and rollbacks asked for, and users forgotten whom a generation may still know.

    Parameters
    ----------
    event_log : EventLog
    changelog : str

    Attributes
    ----------
    newest : TrainingRequested or RollbackRequested or None
        Asked for and not done.
    is_held : bool
        Somebody asked for an older generation back: the schedule is silent until a training is
        asked for.
    forgotten : list of Forgotten
        To be trained without.
    awaited : dict of TopicPartition to int
        Where the changelog must have been read to before their rows are surely gone.
    """

    def __init__(self, event_log: EventLog, changelog: str) -> None:
        self._log = event_log
        self._changelog = changelog
        self.newest: Request | None = None
        self.is_held = False
        self.forgotten: list[Forgotten] = []
        self.awaited: dict[TopicPartition, int] = {}

    @property
    def is_forced(self) -> bool:
        """Whether the next generation is adopted whatever the gate says.

        It is if that was asked for, and after a user was forgotten: the serving one knows them.
        """
        is_evaluated = isinstance(self.newest, TrainingRequested) and self.newest.force
        return is_evaluated or bool(self.forgotten)

    def read(self, record: Record) -> None:
        """Take in a record of the control topic."""
        asked = control_record(record)
        if isinstance(asked, TrainingRequested | RollbackRequested):
            self.newest = asked
            self.is_held = isinstance(asked, RollbackRequested)
        elif isinstance(asked, Forgotten):
            self.forgotten.append(asked)
            tp = TopicPartition(self._changelog, asked.partition)
            self.awaited[tp] = self._log.high_watermark(*tp)

    def answered(self) -> None:
        """Note that a training begins that does all that was asked for."""
        self.newest = None
        self.forgotten = []

    def resume(self, offsets: Mapping[str, int], n_users: int, now: Snapshot) -> None:
        """Drop what a generation that exists has answered: trained as of offsets, with so many users."""
        if self.newest is not None and self._came_after(self.newest):
            self.newest = None
        self.forgotten = [
            each for each in self.forgotten if not _is_without(each, offsets, n_users, now)
        ]

    def _came_after(self, request: Request) -> bool:
        """Return whether a generation came after a request."""
        end = self._log.high_watermark(MODELS, 0)
        at = max(self._log.earliest(MODELS, 0), end - READ_RECORDS)
        for record in self._log.read(MODELS, 0, at, READ_RECORDS):
            announced = decode_record(record, decode_model)
            if (
                isinstance(announced, GenerationAnnounced)
                and announced.created_ts >= request.requested_ts
            ):
                return True
        return False


def _is_without(
    forgotten: Forgotten, offsets: Mapping[str, int], n_users: int, now: Snapshot
) -> bool:
    """Return whether a generation surely never knew a user who was forgotten.

    At the very offset of the forgetting only the number of users tells, and only if nothing came since.
    """
    offset = offsets.get(str(forgotten.partition), 0)
    if offset == forgotten.at_offset:
        return offset == 0 or (offsets == now.offsets and n_users == len(now.users))
    return offset > forgotten.at_offset or offset == 0
