"""Submit a record to the control topic, and wait for its answer."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from recstream.core.records import (
    ControlRecord,
    ControlSnapshot,
    Forgotten,
    GenerationAnnounced,
    HyperparametersChosen,
    SettingsActivated,
    SteeringSet,
    TrainingProgress,
    decode_model,
    decode_pipeline,
)
from recstream.errors import RecstreamError
from recstream.log import CONTROL, MODELS, PIPELINE, EventLog, NewRecord, ReadableLog, decode_record

LOOK_EVERY_S = 0.1
log = logging.getLogger(__name__)

SNAPSHOT_KEY = b"snapshot"
_KEYS = {
    SettingsActivated: b"rules",
    SteeringSet: b"steering",
    Forgotten: b"forgotten",
    HyperparametersChosen: b"tuned",
    ControlSnapshot: SNAPSHOT_KEY,
}

NOTE_AFTER_S = 10.0
"""Seconds without an answer after which a person reads that something else must run."""

T = TypeVar("T")


def new_control_record(record: ControlRecord) -> NewRecord:
    """Return a control record as one to append."""
    return NewRecord(CONTROL, _KEYS.get(type(record)), msgspec.json.encode(record), 0)


def submit(event_log: EventLog, record: ControlRecord) -> int:
    """Append a record to the control topic; return its offset once it is durable."""
    (position,) = event_log.append([new_control_record(record)])
    return position.offset


def wait_for(answer: Callable[[], T | None], timeout_s: float, late: Callable[[], str]) -> T:
    """Poll until there is an answer.

    Parameters
    ----------
    answer : callable
        Returns the answer, or None.
    late : callable
        Returns what to say if none came.

    Raises
    ------
    RecstreamError
        No answer within the timeout.
    """
    began = time.monotonic()
    note_after_s = NOTE_AFTER_S
    while (found := answer()) is None:
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            raise RecstreamError(late())
        if waited_s > note_after_s:
            log.warning(
                "still waiting for the answer of a running role; `recstream up` starts the roles, and "
                "/health/ready says what they wait for"
            )
            note_after_s = timeout_s
        time.sleep(LOOK_EVERY_S)
    return found


def expect_generation(event_log: ReadableLog) -> Callable[[float], GenerationAnnounced]:
    """Return a function that waits for the next generation announced from now on.

    It raises `RecstreamError` if none came within its seconds, or if the trainer announced none: the
    training failed or the gate rejected it.
    """
    sources = {MODELS: decode_model, PIPELINE: decode_pipeline}
    offsets = {topic: event_log.high_watermark(topic, 0) for topic in sources}

    def answer() -> GenerationAnnounced | None:
        for topic, decode in sources.items():
            for record in event_log.read(topic, 0, offsets[topic]):
                offsets[topic] = record.offset + 1
                found = decode_record(record, decode)
                if isinstance(found, GenerationAnnounced):
                    return found
                if isinstance(found, TrainingProgress) and found.state in {"failed", "rejected"}:
                    raise RecstreamError(f"generation {found.generation}: {found.detail}")
        return None

    def wait(timeout_s: float) -> GenerationAnnounced:
        return wait_for(
            answer,
            timeout_s,
            lambda: (
                f"no generation was announced within {timeout_s:g} s; is a trainer running? "
                "`recstream up` and `recstream trainer` start one"
            ),
        )

    return wait
