"""Step 6 of the flow: what a trainer tells: generations, deltas, and how far it is."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from recstream.core.generation import Generation
from recstream.core.records import (
    DeltaAnnounced,
    GateResult,
    GenerationAnnounced,
    TrainingProgress,
)
from recstream.errors import LogError
from recstream.log import MODELS, PIPELINE, EventLog, NewRecord
from recstream.metrics import MODEL_GENERATION, TRAINING_DURATION
from recstream.models import ModelStore, artifact_name, pack, prune
from recstream.trainer.lease import Lease
from recstream.trainer.training import Trained

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """An artifact that was written."""

    name: str
    digest: str
    size_bytes: int


class Announcer:
    """Writes artifacts, announcements and progress.

    Parameters
    ----------
    event_log : EventLog
    store : ModelStore
    lease : Lease
        Announcements are refused by the log when another trainer is active.
    clock_ms : callable
    keep : int
        Artifacts kept.
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
        self._store = store
        self._lease = lease
        self._clock_ms = clock_ms
        self._keep = keep

    def keep(self, generation: Generation, packed: tuple[str, bytes] | None = None) -> Kept:
        """Write a generation's artifact: before it is told of, so that who reads that finds it."""
        digest, content = packed or pack(generation)
        name = artifact_name(generation.number, digest)
        self._store.put(name, content)
        return Kept(name, digest, len(content))

    def generation(
        self,
        trained: Trained,
        kept: Kept,
        seconds: float,
        *,
        gate_result: GateResult | None = None,
        copies: int | None = None,
    ) -> None:
        """Tell of a generation whose artifact is kept."""
        generation = trained.generation
        announced = GenerationAnnounced(
            generation=generation.number,
            parent=generation.parent,
            artifact=kept.name,
            digest=kept.digest,
            offsets=generation.offsets,
            hyperparameters=generation.hyperparameters,
            seed=generation.seed,
            n_users=len(trained.user_ids),
            n_items=generation.n_items,
            n_interactions=trained.n_interactions,
            loss=trained.loss,
            train_seconds=round(seconds, 3),
            created_ts=self._clock_ms(),
            gate_result=gate_result,
            copies=copies,
            catalogue_offset=generation.catalogue_offset,
        )
        self._lease.append([NewRecord(MODELS, b"generation", _encode(announced))])
        prune(self._store, self._keep)
        MODEL_GENERATION.set(generation.number)
        if trained.model is not None:
            TRAINING_DURATION.observe(seconds)
        log.info(
            "model published generation=%d users=%d items=%d entries=%d seconds=%.2f bytes=%d",
            generation.number,
            len(trained.user_ids),
            generation.n_items,
            trained.n_interactions,
            seconds,
            kept.size_bytes,
        )
        self.tell("done", generation.number, seconds=seconds)

    def rejected(self, number: int, gate_result: GateResult, seconds: float) -> None:
        """Tell that a candidate is not to serve."""
        log.warning("model not adopted generation=%d reason=%s", number, gate_result.reason)
        self.tell("rejected", number, seconds=seconds, detail=gate_result.reason)

    def deltas(self, deltas: Sequence[DeltaAnnounced]) -> None:
        """Tell which items moved: all or nothing."""
        self._lease.append([NewRecord(MODELS, b"delta", _encode(delta)) for delta in deltas])

    def tell(
        self,
        state: str,
        generation: int,
        *,
        iteration: int = 0,
        iterations: int = 0,
        seconds: float = 0.0,
        detail: str = "",
    ) -> None:
        """Tell people what is going on; nothing depends on it, so a full disk does not matter here."""
        progress = msgspec.convert(
            {
                "type": "training",
                "state": state,
                "generation": generation,
                "iteration": iteration,
                "iterations": iterations,
                "seconds": round(seconds, 3),
                "detail": detail,
                "ts": self._clock_ms(),
            },
            TrainingProgress,
        )
        with contextlib.suppress(LogError):
            self._log.append([NewRecord(PIPELINE, b"trainer", _encode(progress))])
