"""Publish artifacts, announcements of generations, deltas, and training progress."""

import contextlib
import io
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from time import monotonic
from typing import NamedTuple

import msgspec

from recstream.core.generation import Generation
from recstream.core.numeric.array_codec import read_arrays
from recstream.core.records import (
    DeltaAnnounced,
    GateResult,
    GenerationAnnounced,
    TrainerStatus,
    TrainingProgress,
)
from recstream.errors import ArtifactCorrupt, LogError, ModelStoreUnavailable, NotFound
from recstream.log import MODELS, PIPELINE, EventLog, NewRecord
from recstream.models import (
    DELTA_KEY,
    ModelStore,
    OpenedArtifacts,
    announcements,
    artifact_name,
    find_announcement,
    pack,
    prune,
)
from recstream.trainer.lease import Lease
from recstream.trainer.training import Trained

log = logging.getLogger(__name__)

ARTIFACT_EVERY_S = 10.0
"""Seconds between two looks whether the artifact of the serving generation is still stored."""


class StoredArtifact(NamedTuple):
    """An artifact in the store."""

    name: str
    digest: str
    size_bytes: int


class Publisher:
    """Writes artifacts to the store, and announcements and progress to the log.

    Parameters
    ----------
    lease : Lease
        The log refuses announcements when another trainer is active.
    clock_ms : callable
        Returns the time for records, in milliseconds.
    """

    def __init__(
        self,
        event_log: EventLog,
        store: ModelStore,
        lease: Lease,
        *,
        clock_ms: Callable[[], int],
        keep: int,
    ) -> None:
        self._log = event_log
        self._store, self._opened = store, OpenedArtifacts(store)
        self._lease = lease
        self.next_artifact_check = 0.0
        self._clock_ms = clock_ms
        self._keep = keep
        self._announced: deque[str] = deque(maxlen=keep)
        self._stamps: dict[str, str | None] = {}

    def store_artifact(
        self, generation: Generation, packed: tuple[str, bytes] | None = None
    ) -> StoredArtifact:
        """Write a generation's artifact; do so before it is announced, so that readers find it."""
        digest, content = packed or pack(generation)
        name = artifact_name(generation.number, digest)
        self._store.put(name, content)
        self._stamps[name] = self._store.stamp(name)
        self._opened.add(name, digest, generation, len(content))
        return StoredArtifact(name, digest, len(content))

    def restore_artifact(self, generation: Generation) -> None:
        """Store the serving generation's artifact, without deltas, again if it is gone or damaged.

        It looks every `ARTIFACT_EVERY_S` seconds, and reads the content only if it has changed
        since.
        """
        if monotonic() < self.next_artifact_check:
            return
        self.next_artifact_check = monotonic() + ARTIFACT_EVERY_S
        try:
            announced = find_announcement(self._log, generation.number)
        except NotFound:
            return  # pruned (keep_models): it serves until a new one is trained
        name = announced.artifact
        stamp = self._store.stamp(name)
        is_known = self._stamps.setdefault(name, stamp) == stamp
        if stamp is not None and (is_known or self._is_whole(announced)):
            self._stamps = {name: stamp}
            return
        harm = "gone" if stamp is None else "damaged"
        digest, content = pack(generation)
        if digest == announced.digest:
            self._store.put(name, content)
            self._stamps = {name: self._store.stamp(name)}
            log.warning("artifact stored again, it was %s name=%s", harm, name)
        else:
            log.error(
                "artifact is %s name=%s; `recstream train` makes a new generation", harm, name
            )

    def _is_whole(self, announced: GenerationAnnounced) -> bool:
        """Whether the content of an artifact is what was announced."""
        try:
            content = self._store.get(announced.artifact)
            read_arrays(io.BytesIO(content), announced.artifact, announced.digest)
        except (ArtifactCorrupt, NotFound):
            return False
        return True

    def publish_generation(
        self,
        trained: Trained,
        artifact: StoredArtifact,
        seconds: float,
        *,
        control_offset: int,
        gate_result: GateResult | None = None,
        copies: int | None = None,
    ) -> None:
        """Announce a generation whose artifact is in the store.

        Parameters
        ----------
        seconds : float
            Duration of the training.
        control_offset : int
            Commands before it need no other generation.
        copies : int, optional
            Rollback: number of the generation that this one repeats.
        """
        generation = trained.generation
        announced = GenerationAnnounced(
            generation=generation.number,
            parent=generation.parent,
            artifact=artifact.name,
            digest=artifact.digest,
            offsets=generation.offsets,
            hyperparameters=generation.hyperparameters,
            seed=generation.seed,
            n_users=len(trained.users),
            n_items=generation.n_items,
            n_interactions=trained.n_interactions,
            loss=trained.loss,
            train_seconds=round(seconds, 3),
            created_ts=self._clock_ms(),
            gate_result=gate_result,
            copies=copies,
            catalogue_offset=generation.catalogue_offset,
            control_offset=control_offset,
        )
        self._lease.append([NewRecord(MODELS, b"generation", msgspec.json.encode(announced))])
        self._announced.append(artifact.name)
        try:
            # On Kafka readers do not see the newest announcements at once.
            names = (each.artifact for _, each in announcements(self._log))
            prune(self._store, chain(reversed(self._announced), names), self._keep)
        except (ModelStoreUnavailable, LogError, OSError) as error:
            # The next generation prunes again.
            log.warning("old artifacts not deleted: %s", error)
        log.info(
            "model published generation=%d users=%d items=%d entries=%d seconds=%.2f bytes=%d",
            generation.number,
            len(trained.users),
            generation.n_items,
            trained.n_interactions,
            seconds,
            artifact.size_bytes,
        )
        self.publish_status(
            TrainingProgress(state="done", generation=generation.number, seconds=round(seconds, 3))
        )

    def publish_rejection(self, number: int, gate_result: GateResult, seconds: float) -> None:
        """Publish that the gate rejected a candidate."""
        log.warning("model rejected generation=%d reason=%s", number, gate_result.reason)
        self.publish_status(
            TrainingProgress(
                state="rejected",
                generation=number,
                seconds=round(seconds, 3),
                detail=gate_result.reason,
            )
        )

    def publish_deltas(self, deltas: Sequence[DeltaAnnounced]) -> None:
        """Append deltas: all or none."""
        self._lease.append(
            [NewRecord(MODELS, DELTA_KEY, msgspec.json.encode(delta)) for delta in deltas]
        )

    def publish_status(self, status: TrainingProgress | TrainerStatus) -> None:
        """Publish a status as of now, for people to see.

        Nothing depends on it: errors of the log, such as a full disk, are ignored.
        """
        dated = msgspec.structs.replace(status, ts=self._clock_ms())
        with contextlib.suppress(LogError):
            self._log.append([NewRecord(PIPELINE, b"trainer", msgspec.json.encode(dated))])
