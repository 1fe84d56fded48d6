"""Start the trainer's histories from checkpoints: columns of a file become columns in memory."""

import logging
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recstream.checkpoints import Checkpoints, read_groups, rows_of_group
from recstream.core.columns import JoinedIds
from recstream.core.history import table_rows
from recstream.errors import CheckpointCorrupt
from recstream.log import Record, TopicPartition
from recstream.process import read_ahead
from recstream.trainer.histories import UserColumns
from recstream.trainer.histories.changelog import ChangelogFollower

log = logging.getLogger(__name__)

_PAGE = b"\0p"
"""In the rows that a checkpoint keeps as bytes: perhaps a page."""
_NOTHING_APPLIED = table_rows.encode_row(table_rows.AppliedRow(0, 0))


def restore_histories(
    follower: ChangelogFollower,
    checkpoints: Checkpoints,
    rows: Iterable[TopicPartition],
    *,
    at_most: int | None = None,
) -> dict[TopicPartition, int]:
    """Load the newest checkpoints, as if they had been read from the changelog.

    Parameters
    ----------
    rows : iterable of TopicPartition
        Partitions of the changelog.
    at_most : int, optional
        Only checkpoints at or before this offset.

    Returns
    -------
    dict of TopicPartition to int
        Where to read on. A partition without a checkpoint that can be used is missing.

    Raises
    ------
    CheckpointCorrupt
        The content of a file can't be read, though its digest is right. The follower holds a part
        of it.
    """
    starts = {}
    newest = (
        (tp, checkpoints.newest_readable(tp.partition, at_most, changelog=tp.topic)) for tp in rows
    )
    for tp, found in read_ahead(newest):
        if found is None:
            continue
        manifest, content = found
        try:
            groups = read_ahead(read_groups(content, entries_alone=True))
            n_users = sum(_load(follower, tp, group) for group in groups)
        except CheckpointCorrupt:
            raise
        except Exception as error:
            raise CheckpointCorrupt(
                f"{manifest.name} can't be read: {error!r}; delete the checkpoint"
            ) from error
        if n_users != manifest.n_users:
            raise CheckpointCorrupt(
                f"{manifest.name} must hold {manifest.n_users:,} users, got {n_users:,}; delete "
                "the checkpoint"
            )
        applied = manifest.applied_row
        follower.apply([Record(*tp, -1, 0, table_rows.APPLIED_KEY, table_rows.encode_row(applied))])
        starts[tp] = manifest.changelog_offset + 1
        log.info("histories restored partition=%d from %s", tp.partition, manifest.name)
    return starts


def _load(follower: ChangelogFollower, tp: TopicPartition, group: pa.Table) -> int:
    """Load the users of a row group, and return their number.

    Those with pages that are kept as bytes are loaded row by row.
    """
    headers = np.flatnonzero(pc.is_null(group.column("item")).to_numpy(zero_copy_only=False))
    if not len(headers):
        return 0
    is_plain = np.ones(len(headers), np.bool_)
    if "rest" in group.column_names:
        rests = group.column("rest").take(pa.array(headers)).to_pylist()
        is_plain = np.array([_PAGE not in rest for rest in rests], np.bool_)
    values = {
        name: group.column(name).to_numpy() for name in ("weight", "at_ms", "offset", "n_events")
    }
    sizes = np.diff(headers, append=group.num_rows)
    is_used = is_plain & (values["n_events"][headers] > 0)  # others have impressions alone
    is_entry = np.repeat(is_used, sizes)
    is_entry[headers] = False
    kept = headers[is_used]
    column = group.unify_dictionaries().column("item").combine_chunks()
    names = column.filter(pa.array(is_entry))
    if not isinstance(names, pa.DictionaryArray):
        names = names.dictionary_encode()
    users = group.column("user").combine_chunks()
    histories = follower.histories
    codes = histories.items.add(_joined(names.dictionary))
    histories.put(
        UserColumns(
            _joined(users.take(pa.array(kept)).dictionary_decode()),
            tp.partition,
            values["at_ms"][kept],
            values["n_events"][kept],
            sizes[is_used] - 1,
            codes[names.indices.to_numpy()],
            *(values[name][is_entry] for name in ("weight", "at_ms", "offset", "n_events")),
        )
    )
    for header, size in zip(headers[~is_plain].tolist(), sizes[~is_plain].tolist(), strict=True):
        follower.apply(_records(tp, group.slice(header, size)), with_touches=False)
    return len(headers)


def _joined(ids: pa.StringArray) -> JoinedIds:
    """Return ids that are not null, without copying their bytes."""
    if not len(ids):
        return JoinedIds(np.empty(0, np.uint8), np.empty(0, np.int64))
    _, offsets, content = ids.buffers()
    ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    block = np.frombuffer(content, np.uint8)[ends[0] : ends[-1]]
    return JoinedIds(block, (ends[1:] - ends[0]).astype(np.int64))


def _records(tp: TopicPartition, users: pa.Table) -> Iterator[Record]:
    """Yield the table rows of users as records of the changelog, as a group."""
    for _, rows in rows_of_group(users):
        for key, value in rows:
            yield Record(*tp, -1, 0, key, value)
    yield Record(*tp, -1, 0, table_rows.APPLIED_KEY, _NOTHING_APPLIED)
