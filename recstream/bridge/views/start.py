"""Where new views start: checkpoints of the histories, the newest lists, the newest generations."""

import logging
from collections.abc import Iterable
from itertools import chain, islice

from rocksdict import Rdict, WriteBatch

from recstream.bridge.views.database import ROW, applied_key, keys_from, offset_key
from recstream.checkpoints import Checkpoints, read_rows
from recstream.core.history import table_rows
from recstream.errors import CheckpointCorrupt
from recstream.log import MODELS, RECOMMENDATIONS, EventLog, TopicPartition
from recstream.models import start_of_generations

log = logging.getLogger(__name__)

MAX_WITH_DELTAS = 5
"""Newest generations whose deltas are kept, as many as the model store keeps by default."""
NEWEST_LISTS = 2_000
"""Newest lists of each partition that new views read; an older one is read when it is asked for."""
BATCH_USERS = 1_000


def start_views(
    event_log: EventLog, changelog: str, checkpoints: Checkpoints | None, database: Rdict
) -> None:
    """Fill new views with the rows of the newest checkpoints, and store where reading continues.

    Rows of a start that failed in the middle are deleted first. A file whose content can't be read,
    though its digest is right, is logged: then no checkpoint is used.

    Parameters
    ----------
    changelog : str
        Topic of the histories' rows. Without a checkpoint it is read from its earliest record.
    """
    try:
        _start(event_log, changelog, checkpoints, database)
    except CheckpointCorrupt as error:
        log.warning("views are made from the changelog instead: %s", error)
        _start(event_log, changelog, None, database)


def _start(
    event_log: EventLog, changelog: str, checkpoints: Checkpoints | None, database: Rdict
) -> None:
    left = WriteBatch(raw_mode=True)
    for key in keys_from(database, ROW):
        left.delete(key)
    database.write(left)
    starts = {TopicPartition(MODELS, 0): start_of_generations(event_log, MAX_WITH_DELTAS)}
    for partition in range(event_log.partitions(RECOMMENDATIONS)):
        end = event_log.high_watermark(RECOMMENDATIONS, partition)
        starts[TopicPartition(RECOMMENDATIONS, partition)] = max(0, end - NEWEST_LISTS)
    batch = WriteBatch(raw_mode=True)
    for partition in range(event_log.partitions(changelog)):
        found = (
            None
            if checkpoints is None
            else checkpoints.newest_readable(partition, changelog=changelog)
        )
        if found is None:
            continue
        manifest, content = found
        users = read_rows(content)
        while some := list(islice(users, BATCH_USERS)):
            _put_rows(database, chain.from_iterable(rows for _, rows in some))
        batch.put(applied_key(partition), table_rows.encode_row(manifest.applied_row))
        starts[TopicPartition(changelog, partition)] = manifest.changelog_offset + 1
    for (topic, partition), offset in starts.items():
        batch.put(offset_key(topic, partition), offset.to_bytes(8, "little"))
    database.write(batch)


def _put_rows(database: Rdict, rows: Iterable[tuple[bytes, bytes]]) -> None:
    batch = WriteBatch(raw_mode=True)
    for key, value in rows:
        batch.put(ROW + key, value)
    database.write(batch)
