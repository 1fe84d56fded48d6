"""Where new views start: checkpoints of the histories, the newest lists, the newest generations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice

from recstream.checkpoints import Checkpoints, read_rows
from recstream.core.history import table_rows
from recstream.log import MODELS, RECOMMENDATIONS, EventLog, TopicPartition
from recstream.models import start_of_generations

MAX_WITH_DELTAS = 5
"""Newest generations whose deltas are kept, as many as the model store keeps by default."""
NEWEST_LISTS = 20_000
"""Newest lists of each partition that new views read; a user with an older one gets it made again."""
BATCH_USERS = 1_000

Put = Callable[[Iterable[tuple[bytes, bytes]]], None]


def start_views(
    event_log: EventLog, changelog: str, checkpoints: Checkpoints | None, put: Put
) -> tuple[dict[TopicPartition, int], dict[int, bytes]]:
    """Store the rows of the newest checkpoints; return where reading goes on, and each applied row.

    Parameters
    ----------
    event_log : EventLog
    changelog : str
        Topic of the histories' rows. Without a checkpoint it is read from its earliest record.
    checkpoints : Checkpoints or None
    put : callable
        Stores rows.
    """
    starts = {TopicPartition(MODELS, 0): start_of_generations(event_log, MAX_WITH_DELTAS)}
    for partition in range(event_log.partitions(RECOMMENDATIONS)):
        end = event_log.high_watermark(RECOMMENDATIONS, partition)
        starts[TopicPartition(RECOMMENDATIONS, partition)] = max(0, end - NEWEST_LISTS)
    applied: dict[int, bytes] = {}
    for partition in range(event_log.partitions(changelog)):
        found = None if checkpoints is None else checkpoints.newest_readable(partition)
        if found is None:
            continue
        manifest, content = found
        users = read_rows(content)
        while some := list(islice(users, BATCH_USERS)):
            put(chain.from_iterable(rows for _, rows in some))
        applied[partition] = table_rows.encode_row(manifest.applied_row)
        starts[TopicPartition(changelog, partition)] = manifest.changelog_offset + 1
    return starts, applied
