"""Read the models topic: the only place that decodes its records.

A record that can't be read is logged and skipped: it must not stop a reader.
"""

from collections.abc import Collection, Iterator

from recstream.core.records import GenerationAnnounced, ModelRecord, decode_model
from recstream.errors import NotFound
from recstream.log import MODELS, ReadableLog, Record, decode_or_skip, read_backwards, read_records

DELTA_KEY = b"delta"
"""Key of the records of deltas."""


def read_models(event_log: ReadableLog, start: int = 0) -> Iterator[tuple[Record, ModelRecord]]:
    """Yield the readable records of the models topic from an offset on, decoded."""
    for record in read_records(event_log, MODELS, 0, start):
        if (found := decode_or_skip(record, decode_model)) is not None:
            yield record, found


def announcements(event_log: ReadableLog) -> Iterator[tuple[int, GenerationAnnounced]]:
    """Yield the offsets and announcements of generations, the newest first."""
    for record in read_backwards(event_log, MODELS, 0):
        if record.key == DELTA_KEY:  # decoding those of a large catalogue takes seconds
            continue
        found = decode_or_skip(record, decode_model)
        if isinstance(found, GenerationAnnounced):
            yield record.offset, found


def find_announcement(event_log: ReadableLog, number: int) -> GenerationAnnounced:
    """Return the newest announcement of a generation.

    Raises
    ------
    NotFound
        The generation was never announced, or its announcement was pruned.
    """
    for _, announced in announcements(event_log):
        if announced.generation == number:
            return announced
    raise NotFound(
        f"generation {number} was never announced; `recstream models list` shows which were"
    )


def start_of_generations(
    event_log: ReadableLog, n_newest: int, stored: Collection[str] | None = None
) -> int:
    """Return the offset of the announcement of the ``n_newest``-th newest generation.

    The earliest offset if there are fewer. The topic is read from its end.

    Parameters
    ----------
    stored : collection of str, optional
        Names of artifacts; the offset is that of an older generation if none from it on has one.
    """
    is_usable = stored is None
    for number, (offset, announced) in enumerate(announcements(event_log), start=1):
        is_usable = is_usable or announced.artifact in (stored or ())
        if number >= n_newest and is_usable:
            return offset
    return event_log.earliest(MODELS, 0)
