"""Follow the models topic: generations and deltas in order, each artifact checked.

Workers, bridges and trainers each read it on their own, without a consumer group. Starting costs the
records since the newest usable generation, not the whole topic.
"""

import contextlib
import logging
from collections.abc import Iterable
from time import monotonic
from typing import NamedTuple

from recstream.core.generation import Generation
from recstream.core.records import DeadLetter, DeltaAnnounced, GenerationAnnounced, decode_model
from recstream.errors import ArtifactCorrupt, InvalidJson, ModelMismatch, NotFound
from recstream.log import (
    MODELS,
    EventLog,
    Record,
    Tail,
    TopicPartition,
    decode_or_skip,
    decode_record,
    read_backwards,
)
from recstream.models.prefetch import ArtifactPrefetch
from recstream.models.store import ModelStore

log = logging.getLogger(__name__)

_TP = TopicPartition(MODELS, 0)


class Unusable(NamedTuple):
    """A record that can't be read, or an announcement whose artifact can't be used; and why."""

    record: Record
    error: Exception


Step = Generation | DeltaAnnounced | Unusable
"""What to do next: serve a generation, apply a delta to it, or report a generation as unusable.

A delta of a newer generation, which is unusable, withdraws items (`Generation.follow_withdrawals`).
"""
RETRY_S = 5.0
"""Seconds between two attempts to read the artifact of an unusable newest generation."""


def apply_deltas(
    generation: Generation, deltas: Iterable[DeltaAnnounced], *, follows: bool = False
) -> bool:
    """Apply a generation's own deltas, up to the first that does not fit; return whether all fit.

    ``follows``: items that deltas of newer generations withdraw are withdrawn, too.
    """
    is_whole = True
    for delta in deltas:
        if delta.generation == generation.number and is_whole:
            try:
                generation.apply_delta(delta)
            except ModelMismatch as error:
                log.error("deltas not applied from=%d error=%s", delta.delta, error)  # noqa: TRY400 - the message is enough
                is_whole = False
        elif follows and delta.generation > generation.number:
            generation.follow_withdrawals(delta)
    return is_whole


class ModelFeed:
    """Reads the models topic from its newest usable generation on.

    Parameters
    ----------
    is_serving : bool
        Open artifacts for serving, without what only a trainer needs, in memory that the host's processes
        share.

    Attributes
    ----------
    newest_announced : int or None
        Highest number that was announced, usable or not; set by `newest`. A number larger than its
        record's offset is no generation's.
    announced : GenerationAnnounced or None
        The announcement of the generation that `newest` returned.
    """

    def __init__(self, event_log: EventLog, store: ModelStore, *, is_serving: bool = True) -> None:
        self._log = event_log
        self._prefetch = ArtifactPrefetch(store, is_serving=is_serving)
        self._tail: Tail | None = None
        self._follows = is_serving
        self._serving: int | None = None
        self._unusable: GenerationAnnounced | None = None
        self._next_try = 0.0
        self.newest_announced: int | None = None
        self.announced: GenerationAnnounced | None = None

    def newest(self) -> Generation | None:
        """Return the newest usable generation with all its deltas; None if there is none.

        Afterwards `poll` continues after it. If an artifact is gone or corrupt, older generations are
        tried in turn; what newer ones withdrew stays withdrawn. The first delta that does not fit ends a
        generation's deltas.
        """
        end = self._log.high_watermark(MODELS, 0)
        generation: Generation | None = None
        deltas: list[DeltaAnnounced] = []
        self._unusable = self.announced = None
        for record in read_backwards(self._log, MODELS, 0, end):
            announced = decode_or_skip(record, decode_model)
            if isinstance(announced, DeltaAnnounced):
                deltas.append(announced)
            elif isinstance(announced, GenerationAnnounced):
                if announced.generation <= record.offset:  # each number takes a record at least
                    self.newest_announced = max(self.newest_announced or 0, announced.generation)
                found = self._fetch(record, announced)
                if isinstance(found, Generation):
                    generation, self.announced = found, announced
                    break
                self._unusable = self._unusable or announced
        if generation is not None:
            is_whole = apply_deltas(generation, reversed(deltas), follows=self._follows)
            self._serving = generation.number if is_whole else None
        if self._tail is None:
            self._tail = self._log.tail({_TP: end})
        else:
            self._tail.seek(_TP, end)
        return generation

    def poll(self, timeout_s: float) -> list[Step]:
        """Return the next steps, waiting up to ``timeout_s`` for the first.

        It reads artifacts: call it in a thread of its own. A new generation includes the deltas that
        are there already. Of an unusable generation, deltas that withdraw items are steps, and its artifact
        is tried again now and then: it may come back.
        """
        if self._tail is None:
            raise ModelMismatch("call newest() before poll()")
        if self._unusable is not None and monotonic() >= self._next_try:
            self._next_try = monotonic() + RETRY_S
            with contextlib.suppress(ArtifactCorrupt, NotFound):
                self._prefetch.fetch(self._unusable)
                found = self.newest()
                return [] if found is None else [found]
        self._prefetch.look(self._serving)
        steps: list[Step] = []
        records = self._tail.poll(timeout_s)
        while records:
            for record in records:
                self._take(record, steps)
            if not (steps and isinstance(steps[-1], Generation)):
                break
            records = self._tail.poll(0.0)
        return steps

    def _take(self, record: Record, steps: list[Step]) -> None:
        announced = decode_record(record, decode_model)
        if isinstance(announced, DeadLetter):
            steps.append(Unusable(record, InvalidJson(announced.detail, code=announced.reason)))
        elif isinstance(announced, GenerationAnnounced):
            found = self._fetch(record, announced)
            if isinstance(found, Generation):
                self._serving, self._unusable = found.number, None
            else:
                self._unusable = announced
            steps.append(found)
        elif isinstance(announced, DeltaAnnounced) and self._serving is not None:
            last = steps[-1] if steps else None
            if announced.generation == self._serving and isinstance(last, Generation):
                with contextlib.suppress(ModelMismatch):
                    last.apply_delta(announced)
                    return
            is_followed = announced.generation > self._serving and announced.catalogue
            if announced.generation == self._serving or (self._follows and is_followed):
                steps.append(announced)

    def fetch(self, announced: GenerationAnnounced) -> Generation:
        """Return the generation of an announcement, without deltas.

        Raises
        ------
        ArtifactCorrupt
        NotFound
        """
        generation = self._prefetch.fetch(announced)
        generation.own()
        return generation

    def wake(self) -> None:
        """Make a waiting `poll` in another thread return."""
        if self._tail is not None:
            self._tail.wake()

    def close(self) -> None:
        """Stop reading."""
        self._prefetch.close()
        if self._tail is not None:
            self._tail.close()

    def _fetch(self, record: Record, announced: GenerationAnnounced) -> Generation | Unusable:
        try:
            return self.fetch(announced)
        except (ArtifactCorrupt, NotFound) as error:
            log.error(  # noqa: TRY400 - the message is enough
                "model not usable generation=%d error=%s", announced.generation, error
            )
            return Unusable(record, error)
