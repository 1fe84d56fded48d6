"""Checkpoints of a log without a worker's table: folded to an offset, then written."""

from recstream.checkpoints import Checkpoints, Manifest
from recstream.checkpoints.columns import write_rows
from recstream.checkpoints.manifest import file_name
from recstream.control import read_timeline
from recstream.core.history import table_rows
from recstream.log import INTERACTIONS
from recstream.time_travel import PartitionFold


def make_checkpoint(
    checkpoints: Checkpoints, partition: int, offset: int, changelog: str, **changes: object
) -> Manifest:
    """Announce a checkpoint as a worker makes it when it has folded the events before an offset.

    The changelog's offset is that of the row that closes the group.
    """
    log = checkpoints.log
    fold = PartitionFold(partition, log.partitions(INTERACTIONS), read_timeline(log))
    records = log.read(INTERACTIONS, partition, 0, 10**6)
    fold.fold(each for each in records if each.offset < offset)
    rows = {
        key: value
        for history in fold.histories.values()
        if history.offset >= 0
        for key, value in table_rows.changes(None, history)
    }
    applied = [
        each.offset
        for each in log.read(changelog, partition, 0, 10**6)
        if each.key == table_rows.APPLIED_KEY
        and table_rows.decode_applied_row(each.value).next_offset <= offset
    ]
    rows |= {
        each.key: each.value
        for each in log.read(changelog, partition, 0, 10**6)
        if table_rows.split_key(each.key)[1] == "l" and each.offset <= max(applied, default=-1)
    }
    content, counts = write_rows(sorted(rows.items()))
    digest = checkpoints.digest(content)
    manifest = Manifest(
        name=file_name(partition, offset, digest), epoch=log.epoch, topic=INTERACTIONS,
        partition=partition, partitions=log.partitions(INTERACTIONS), offset=offset,
        listed_offset=offset, changelog=changelog, changelog_offset=max(applied, default=-1),
        digest=digest, size=len(content), n_users=counts.users, n_entries=counts.entries,
        n_events=counts.events, made_ts=0, **changes,
    )  # fmt: skip
    checkpoints.put(manifest, content)
    return manifest
