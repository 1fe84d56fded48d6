"""Read the trainer's input topics: the histories' changelog, the catalogue, and commands."""

import logging
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from recstream.checkpoints import open_checkpoints
from recstream.control import control_records
from recstream.core.records import DeadLetter
from recstream.erasure import forgetting
from recstream.errors import CheckpointCorrupt
from recstream.log import (
    CATALOGUE,
    CONTROL,
    DEAD_LETTERS,
    EventLog,
    NewRecord,
    TopicPartition,
    histories_changelog,
)
from recstream.settings import Settings
from recstream.trainer.catalogue import CatalogueState
from recstream.trainer.commands import Commands
from recstream.trainer.histories import Histories
from recstream.trainer.histories.changelog import ChangelogFollower, UserChanges
from recstream.trainer.histories.checkpoint import restore_histories
from recstream.trainer.training import TrainingSnapshot

log = logging.getLogger(__name__)

READ_RECORDS = 5_000
MAX_DEAD_LETTERS = 10_000
"""Dead letters of catalogue records held back until this trainer is active."""


class Changes(NamedTuple):
    """What changed in one poll.

    Attributes
    ----------
    products : dict of str to int
        Item id to the offset of the record that changed it.
    """

    users: list[UserChanges]
    products: dict[str, int]


class Inputs:
    """State folded from the input topics.

    Attributes
    ----------
    is_caught_up : bool
        Whether everything was read that the topics held when reading started.
    """

    def __init__(self, settings: Settings, event_log: EventLog) -> None:
        self._log = event_log
        self._topic = histories_changelog(settings.app_id)
        self._rows = [TopicPartition(self._topic, each) for each in range(settings.partitions)]
        sources = [*self._rows, TopicPartition(CATALOGUE, 0)]
        finished = forgetting(event_log).finished
        self.changelog = ChangelogFollower(finished)
        starts = {tp: event_log.earliest(*tp) for tp in sources}
        checkpoints = open_checkpoints(event_log, settings)
        try:
            starts |= restore_histories(self.changelog, checkpoints, self._rows)
        except CheckpointCorrupt as error:
            log.warning("histories are read from the changelog instead: %s", error)
            self.changelog = ChangelogFollower(finished)
        self.commands = Commands(event_log, self._topic)
        starts[TopicPartition(CONTROL, 0)] = self._apply_commands()
        self._tail = event_log.tail(starts)
        self._target = {tp: event_log.high_watermark(*tp) for tp in sources}
        self._dead_letters: deque[DeadLetter] = deque(maxlen=MAX_DEAD_LETTERS)
        self.catalogue = CatalogueState()
        self.is_caught_up = False

    @property
    def histories(self) -> Histories:
        """All histories, as far as the changelog was read."""
        return self.changelog.histories

    def close(self) -> None:
        """Stop reading."""
        self._tail.close()

    def poll(self, timeout_s: float) -> Changes | None:
        """Read and apply the next records, waiting up to ``timeout_s`` for the first.

        Returns
        -------
        Changes or None
            None: a user was forgotten during reading, and all histories are read again.
        """
        rows, products = [], []
        for record in self._tail.poll(timeout_s, READ_RECORDS):
            if record.topic == self._topic:
                rows.append(record)
            elif record.topic == CATALOGUE:
                products.append(record)
            else:
                self.commands.apply(record)
        # Before everything is read there is nothing to publish.
        groups = self.changelog.apply(rows, with_touches=self.is_caught_up)
        changed, dead_letters = self.catalogue.apply(products)
        self._dead_letters.extend(dead_letters)
        if self.changelog.is_stale:
            self._read_again()
            return None
        if not self.is_caught_up and self._has_reached(self._target):
            self.is_caught_up = True
            log.info(
                "log followed users=%d events=%d products=%d",
                self.histories.n_users,
                self.histories.n_events,
                len(self.catalogue.items),
            )
        return Changes([group for group in groups if group.users], changed)

    def _read_again(self) -> None:
        log.warning("histories read again: a user was forgotten meanwhile")
        self.is_caught_up = False
        self.commands.forgotten = []
        self.changelog = ChangelogFollower(forgetting(self._log).finished)
        self._tail.seek(TopicPartition(CONTROL, 0), self._apply_commands())
        for tp in self._rows:
            self._tail.seek(tp, self._log.earliest(*tp))
            self._target[tp] = self._log.high_watermark(*tp)

    def _apply_commands(self) -> int:
        """Apply the whole control topic, and return where to read on."""
        end = 0
        for record in control_records(self._log):
            self.commands.apply(record)
            end = record.offset + 1
        return max(end, self._log.earliest(CONTROL, 0))

    def lag(self) -> int:
        """Return how many records are not read yet.

        Raises
        ------
        LogError
        """
        return sum(
            max(0, self._log.high_watermark(*tp) - offset)
            for tp, offset in self._tail.positions().items()
        )

    def _has_reached(self, target: Mapping[TopicPartition, int]) -> bool:
        positions = self._tail.positions()
        return all(positions.get(tp, 0) >= offset for tp, offset in target.items())

    @property
    def has_commands_applied(self) -> bool:
        """Whether everything was read, including the removal of users to forget."""
        return self.is_caught_up and self._has_reached(self.commands.awaited)

    def snapshot(self, known_offset: int) -> TrainingSnapshot:
        """Return histories and catalogue as they are now; later changes do not affect it.

        Parameters
        ----------
        known_offset : int
            Catalogue offset of the parent generation.
        """
        offsets = {str(p): offset for p, offset in sorted(self.histories.offsets.items())}
        return TrainingSnapshot(
            self.histories.freeze(),
            offsets,
            self.histories.n_events,
            dict(self.catalogue.items),
            frozenset(self.catalogue.withdrawn),
            self.catalogue.next_offset,
            frozenset(self.catalogue.changed_since(known_offset)),
        )

    def drop_dead_letters(self, before: int) -> None:
        """Drop catalogue records' dead letters before an offset: another trainer published them."""
        kept = (each for each in self._dead_letters if each.offset >= before)
        self._dead_letters = deque(kept, MAX_DEAD_LETTERS)

    def publish_dead_letters(self) -> None:
        """Append the dead letters that are held back."""
        letters = list(self._dead_letters)
        if not letters:
            return
        log.warning("catalogue records not read n=%d: %s", len(letters), letters[-1].detail)
        self._log.append(
            [NewRecord(DEAD_LETTERS, None, msgspec.json.encode(each), 0) for each in letters]
        )
        self._dead_letters.clear()
