"""Records of `recstream.pipeline`: progress of the trainer and status of workers, for people to watch."""

from typing import Literal

import msgspec


class TrainingProgress(
    msgspec.Struct, frozen=True, kw_only=True, tag="training", omit_defaults=True
):
    """What the trainer is doing now."""

    state: Literal["waiting", "training", "done", "failed", "rejected"]
    generation: int = 0
    iteration: int = 0
    iterations: int = 0
    seconds: float = 0.0
    detail: str = ""
    ts: int = 0


class PrequentialScore(msgspec.Struct, frozen=True, kw_only=True):
    """Prequential accuracy: how well lists predicted events before they were learnt.

    Attributes
    ----------
    hits : dict of int to float
        Recall by k: the share of events whose item was among the first k.
    mrr : float
        Mean of 1 / rank, 0 where the item was not listed.
    """

    events: int
    hits: dict[int, float]
    mrr: float


class ClickCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Items shown from lists, and those of them that users then interacted with for the first time."""

    shown: int = 0
    clicked: int = 0


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True, tag="worker", omit_defaults=True):
    """Counters and latencies of one worker, about once a second while it works.

    Attributes
    ----------
    events : int
        Events folded or ignored since the worker's start.
    outcomes : dict of str to dict of str to int
        The same by type, and by outcome: ``folded``, or ``ignored`` as a repeat.
    """

    worker: str
    events: int
    outcomes: dict[str, dict[str, int]] = {}
    published: int
    dead_letters: int
    lag: dict[str, int]
    generation: int
    delta: int = 0
    fold_in_ms_p50: float = 0.0
    fold_in_ms_p99: float = 0.0
    freshness_ms_p50: float = 0.0
    freshness_ms_p99: float = 0.0
    prequential: dict[str, PrequentialScore] = {}
    clicks: dict[str, ClickCounts] = {}
    is_compiling: bool = False
    ts: int = 0


class TrainerStatus(msgspec.Struct, frozen=True, kw_only=True, tag="trainer", omit_defaults=True):
    """Heartbeat of one trainer, every five seconds.

    Attributes
    ----------
    is_active : bool
        Whether it is the one that trains; the others stand by.
    lag : int
        Records of its topics that it has not read yet.
    waits_for : str
        What it waits for, such as a log that is away; empty while it works.
    is_compiling : bool
        Whether its kernels are being compiled, at a first start: trainings wait, lists are slower.
    """

    trainer: str
    is_active: bool
    lag: int = 0
    waits_for: str = ""
    is_compiling: bool = False
    ts: int = 0


PipelineRecord = TrainingProgress | WorkerStatus | TrainerStatus
decode_pipeline = msgspec.json.Decoder(PipelineRecord).decode
