"""Read the models topic: the only place that decodes its records.

A record that can't be read is logged and skipped: it must not stop a reader.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from recstream.core.records import DeadLetter, GenerationAnnounced, ModelRecord, decode_model
from recstream.errors import NotFound
from recstream.log import MODELS, ReadableLog, Record, decode_record

log = logging.getLogger(__name__)

_CHUNK = 256


def model_record(record: Record) -> ModelRecord | None:
    """Decode a record of the models topic; None if it is a tombstone or can't be read."""
    found = decode_record(record, decode_model)
    if isinstance(found, DeadLetter):
        log.warning("models record not read offset=%d error=%s", record.offset, found.detail)
        return None
    return found


def read_models(event_log: ReadableLog, start: int = 0) -> Iterator[tuple[Record, ModelRecord]]:
    """Yield the readable records of the models topic from an offset on, decoded."""
    at, end = max(start, event_log.earliest(MODELS, 0)), event_log.high_watermark(MODELS, 0)
    while at < end:
        records = event_log.read(MODELS, 0, at, _CHUNK)
        if not records:
            return
        for record in records:
            if (found := model_record(record)) is not None:
                yield record, found
        at = records[-1].offset + 1


def find_announcement(event_log: ReadableLog, number: int) -> GenerationAnnounced:
    """Return the newest announcement of a generation.

    Raises
    ------
    NotFound
        The generation was never announced.
    """
    newest = None
    for _, record in read_models(event_log):
        if isinstance(record, GenerationAnnounced) and record.generation == number:
            newest = record
    if newest is None:
        raise NotFound(
            f"generation {number} was never announced; `recstream models list` shows which were"
        )
    return newest
