"""Read the models topic: the only place that decodes its records.

A record that can't be read is logged and skipped: it must not stop a reader.
"""

from __future__ import annotations

from collections.abc import Iterator

from recstream.core.records import GenerationAnnounced, ModelRecord, decode_model
from recstream.errors import NotFound
from recstream.log import MODELS, ReadableLog, Record, decode_or_skip, read_records


def read_models(event_log: ReadableLog, start: int = 0) -> Iterator[tuple[Record, ModelRecord]]:
    """Yield the readable records of the models topic from an offset on, decoded."""
    for record in read_records(event_log, MODELS, 0, start):
        if (found := decode_or_skip(record, decode_model)) is not None:
            yield record, found


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
