"""Prefetch artifacts: read them as soon as they are stored, before they are announced.

A trainer stores an artifact and then catches up for some seconds before it announces. A reader that
has prefetched the artifact serves the generation at once.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import NamedTuple

from recstream.core.generation import Generation
from recstream.core.records import GenerationAnnounced
from recstream.models.artifact import checked_number, fetch, generation_names, unpack_with_digest
from recstream.models.opened import OpenedArtifacts
from recstream.models.store import ReadableStore

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Seconds between two looks into the store."""


class _Read(NamedTuple):
    name: str
    digest: str
    generation: Generation


class ArtifactPrefetch:
    """Reads the artifact of the next generation in a thread of its own.

    Parameters
    ----------
    is_serving : bool
        Open artifacts to serve them (`OpenedArtifacts`), without what only trainings need.
    """

    def __init__(self, store: ReadableStore, *, is_serving: bool) -> None:
        self._store = store
        self._opened = OpenedArtifacts(store) if is_serving else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recstream-early")
        self._reading: Future[_Read | None] | None = None
        self._next_look = 0.0

    def look(self, serving: int | None) -> None:
        """Check about once a second whether the next artifact is stored; returns at once."""
        if serving is None or monotonic() < self._next_look:
            return
        if self._reading is None or self._reading.done():
            self._next_look = monotonic() + LOOK_S
            self._reading = self._thread.submit(self._read, serving + 1, self._found())

    def fetch(self, announced: GenerationAnnounced) -> Generation:
        """Return the generation of an announcement; see `recstream.models.artifact.fetch`."""
        found, self._reading = self._found(wait=True), None
        if found is not None and (found.name, found.digest) == (
            announced.artifact,
            announced.digest,
        ):
            return found.generation
        if self._opened is None:
            return fetch(self._store, announced)
        _, generation = self._opened.open(announced.artifact, announced.digest)
        return checked_number(generation, announced)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _found(self, *, wait: bool = False) -> _Read | None:
        if self._reading is None or not (wait or self._reading.done()):
            return None
        return self._reading.result()

    def _read(self, number: int, known: _Read | None) -> _Read | None:
        try:
            names = generation_names(self._store, number)
            if not names:
                return None
            if known is not None and known.name in names:
                return known
            if self._opened is None:
                digest, generation = unpack_with_digest(self._store.get(names[-1]), names[-1])
            else:
                digest, generation = self._opened.open(names[-1])
        except Exception as error:  # noqa: BLE001 - `fetch` reads it again and raises
            log.debug("artifact not prefetched: %s", error)
            return None
        return _Read(names[-1], digest, generation)
