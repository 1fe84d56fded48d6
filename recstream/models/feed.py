"""Step 6 of the flow: the models topic → generations and deltas in order, each artifact checked.

Workers and bridges follow it alike, each on its own: no consumer group, so that everyone gets
every record. Starting costs the records since the newest usable generation, not the whole topic.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from recstream.core.generation import Generation
from recstream.core.records import DeltaAnnounced, GenerationAnnounced, ModelRecord, decode_model
from recstream.errors import ArtifactCorrupt, ModelMismatch, NotFound
from recstream.log import MODELS, EventLog, ReadableLog, Record, Tail, TopicPartition
from recstream.models.prefetch import ArtifactPrefetch
from recstream.models.store import ModelStore

log = logging.getLogger(__name__)

_CHUNK = 256
_TP = TopicPartition(MODELS, 0)


class Unusable(NamedTuple):
    """A record of the models topic that can't be followed, and why."""

    record: Record
    error: Exception


Step = Generation | DeltaAnnounced | Unusable
"""What to do next: serve a generation from now on, move it by a delta, or tell about a record."""


def find_announcement(event_log: ReadableLog, number: int) -> GenerationAnnounced:
    """Return the find_announcement of a generation; raises `NotFound`."""
    at, end = event_log.earliest(MODELS, 0), event_log.high_watermark(MODELS, 0)
    while at < end:
        found = event_log.read(MODELS, 0, at, _CHUNK)
        if not found:
            break
        for record in found:
            with contextlib.suppress(msgspec.DecodeError):
                announced = decode_model(record.value or b"")
                if isinstance(announced, GenerationAnnounced) and announced.generation == number:
                    return announced
        at = found[-1].offset + 1
    raise NotFound(
        f"generation {number} was never announced; `recstream models list` shows which were"
    )


def apply_deltas(generation: Generation, deltas: Iterable[DeltaAnnounced]) -> bool:
    """Move a generation by its own deltas, up to the first that does not fit; False if one does not."""
    for delta in deltas:
        if delta.generation == generation.number:
            try:
                generation.apply_delta(delta)
            except ModelMismatch as error:
                log.error("deltas not followed from=%d error=%s", delta.delta, error)  # noqa: TRY400 - the message says all there is to know
                return False
    return True


class ModelFeed:
    """Reads the models topic from its newest usable generation on.

    Parameters
    ----------
    event_log : EventLog
    store : ModelStore
    is_serving : bool
        Leave out what only a trainer goes on with.
    """

    def __init__(self, event_log: EventLog, store: ModelStore, *, is_serving: bool = True) -> None:
        self._is_serving = is_serving
        self._log = event_log
        self._prefetch = ArtifactPrefetch(store)
        self._tail: Tail | None = None
        self._serving: int | None = None

    def newest(self, *, with_deltas: bool = True) -> Generation | None:
        """Return the newest usable generation, moved by all its deltas; None if there is none yet.

        Afterwards `poll` continues behind what is in it. Older generations are tried in turn when
        an artifact is gone or corrupt. A delta that does not fit ends a generation's deltas: it stays
        as it is then until the next one.
        """
        end = self._log.high_watermark(MODELS, 0)
        generation: Generation | None = None
        deltas: list[DeltaAnnounced] = []
        for record in self._backwards(end):
            announced = self._read(record)
            if isinstance(announced, DeltaAnnounced):
                deltas.append(announced)
            elif isinstance(announced, GenerationAnnounced):
                found = self._fetch(record, announced)
                if isinstance(found, Generation):
                    generation = found
                    break
        if generation is not None:
            is_whole = not with_deltas or apply_deltas(generation, reversed(deltas))
            self._serving = generation.number if is_whole else None
        if self._tail is None:
            self._tail = self._log.tail({_TP: end})
        else:
            self._tail.seek(_TP, end)
        return generation

    def poll(self, timeout_s: float) -> list[Step]:
        """Return what came since, waiting up to ``timeout_s`` for the first.

        Artifacts are read here: call it in a thread of its own. A new generation comes moved by the
        deltas that are there already, since nobody serves it yet. Deltas of a generation that could
        not be used are left out.
        """
        if self._tail is None:
            raise ModelMismatch("call newest() before poll()")
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
        announced = self._read(record)
        if isinstance(announced, GenerationAnnounced):
            found = self._fetch(record, announced)
            if isinstance(found, Generation):
                self._serving = found.number
            steps.append(found)
        elif isinstance(announced, Unusable):
            steps.append(announced)
        elif announced.generation == self._serving:
            last = steps[-1] if steps else None
            if isinstance(last, Generation):
                with contextlib.suppress(ModelMismatch):
                    last.apply_delta(announced)
                    return
            steps.append(announced)

    def wake(self) -> None:
        """Make a `poll` that waits in another thread return now."""
        if self._tail is not None:
            self._tail.wake()

    def close(self) -> None:
        """Release the tail."""
        self._prefetch.close()
        if self._tail is not None:
            self._tail.close()

    def _backwards(self, end: int) -> Iterator[Record]:
        """Give the records before ``end``, newest first, reading a chunk at a time."""
        earliest = self._log.earliest(MODELS, 0)
        while end > earliest:
            start = at = max(earliest, end - _CHUNK)
            chunk: list[Record] = []
            while at < end:
                part = [r for r in self._log.read(MODELS, 0, at, _CHUNK) if r.offset < end]
                if not part:
                    break
                chunk += part
                at = part[-1].offset + 1
            yield from reversed(chunk)
            end = start

    def _read(self, record: Record) -> ModelRecord | Unusable:
        try:
            announced: ModelRecord = decode_model(record.value or b"")
        except Exception as error:  # noqa: BLE001 - no record may stop the reader
            return Unusable(record, error)
        return announced

    def _fetch(self, record: Record, announced: GenerationAnnounced) -> Generation | Unusable:
        try:
            generation = self._prefetch.fetch(announced)
        except (ArtifactCorrupt, NotFound) as error:
            log.error(  # noqa: TRY400 - the message says all there is to know
                "model not adopted generation=%d error=%s", announced.generation, error
            )
            return Unusable(record, error)
        if self._is_serving:
            generation.content_arrays.clear()
        generation.own()
        return generation
