"""Verify checkpoints: fold the log from one to the next, and compare every row."""

import tempfile
from pathlib import Path

import msgspec

from recstream.checkpoints import Checkpoints, Manifest, read_rows, rows_by_key
from recstream.control import read_timeline
from recstream.core.history import SettingsTimeline, table_rows
from recstream.erasure import forgetting
from recstream.errors import CheckpointCorrupt, CheckpointMismatch
from recstream.log import INTERACTIONS, ReadableLog, read_records
from recstream.log.embedded import EmbeddedLog
from recstream.time_travel.fold import Load, PartitionFold, fold_from, load_history


def verify_checkpoints(
    checkpoints: Checkpoints,
    partition: int | None = None,
    *,
    only_new: bool = False,
    changelog: str | None = None,
) -> dict[str, str]:
    """Verify all checkpoints, or a partition's; announce those that are verified as such.

    Parameters
    ----------
    only_new : bool
        Leave out those that were verified before.
    changelog : str, optional
        Only checkpoints of its rows: those of workers with another ``app_id`` are theirs to verify.

    Returns
    -------
    dict of str to str
        Name to what was compared.

    Raises
    ------
    CheckpointCorrupt
        A file is cut or damaged.
    CheckpointMismatch
        The log gives other rows.
    """
    done: dict[str, str] = {}
    event_log = checkpoints.log
    erased = _partly_erased(checkpoints)
    for manifest in checkpoints.all(partition):
        if (only_new and manifest.is_verified) or changelog not in {None, manifest.changelog}:
            continue
        number = manifest.partition
        earliest = max(event_log.earliest(INTERACTIONS, number), erased.get(number, 0))
        start = checkpoints.newest_readable(number, manifest.offset - 1)
        if (0 if start is None else start[0].offset) < earliest:
            n_rows = compare_with_changelog(checkpoints, manifest)
            done[manifest.name] = f"{n_rows:,} rows compared with the changelog"
        else:
            n_users = verify_checkpoint(checkpoints, manifest, start)
            done[manifest.name] = f"{n_users:,} users folded again from " + (
                "the log's start" if start is None else f"offset {start[0].offset}"
            )
        if not manifest.is_verified:
            checkpoints.announce(msgspec.structs.replace(manifest, is_verified=True))
    return done


def _partly_erased(checkpoints: Checkpoints) -> dict[int, int]:
    """Return by partition the offset before which the log may still have events of erased users.

    The embedded log has them until the request is finished, Kafka until they are deleted.
    """
    if not isinstance(checkpoints.log, EmbeddedLog):
        return checkpoints.erased()
    found = forgetting(checkpoints.log)
    begun = sorted(
        (each.partition, each.at_offset)
        for name, each in found.begun.items()
        if name in found.pending
    )
    return dict(begun)


def compare_with_changelog(checkpoints: Checkpoints, manifest: Manifest) -> int:
    """Compare a checkpoint's rows with the table's changelog: the events before it were pruned.

    Rows that are newer in the changelog can't be compared if it was compacted.

    Raises
    ------
    CheckpointCorrupt
        The file is cut or damaged.
    CheckpointMismatch
        The changelog has other rows.
    """
    rows = {key: value for _, its in read_rows(checkpoints.read(manifest)) for key, value in its}
    stored: dict[bytes, bytes | None] = {}
    replaced: set[bytes] = set()
    for record in read_records(checkpoints.log, manifest.changelog, manifest.partition):
        if record.key is None or record.key == table_rows.APPLIED_KEY:
            continue
        if record.offset <= manifest.changelog_offset:
            stored[record.key] = record.value
        else:
            replaced.add(record.key)
    for key in rows.keys() | stored.keys():
        found = stored.get(key)
        if found != rows.get(key) and not (found is None and key in replaced):
            raise CheckpointMismatch(
                f"{manifest.name}: the changelog has another row of a user at offset "
                f"{manifest.changelog_offset}; delete the checkpoint and make a new one"
            )
    return len(rows)


def verify_checkpoint(
    checkpoints: Checkpoints, manifest: Manifest, start: tuple[Manifest, bytes] | None
) -> int:
    """Fold the log from a checkpoint, or its first record, to another one; compare rows.

    Returns
    -------
    int
        Number of users compared.

    Raises
    ------
    CheckpointCorrupt
        A file is cut or damaged.
    CheckpointMismatch
        The log gives other rows.
    BeyondHorizon
        The log lacks records between the two.
    """
    content = checkpoints.read(manifest)
    if start is None:
        return _compare(checkpoints.log, content, manifest, 0, lambda _: None)
    with (
        tempfile.TemporaryDirectory(prefix="recstream-verify-") as folder,
        rows_by_key(start[1], start[0], Path(folder)) as load,
    ):
        return _compare(checkpoints.log, content, manifest, start[0].offset, load)


def _compare(
    event_log: ReadableLog, content: bytes, manifest: Manifest, start: int, load: Load
) -> int:
    """Compare a checkpoint's rows with those folded from an offset; return the number of users.

    Parameters
    ----------
    load : callable
        Returns a row as of the start by key, or None.
    """
    fold = fold_from(event_log, manifest.partition, read_timeline(event_log), start, load)
    fold.advance(event_log, manifest.offset)
    folded = {user: each for user, each in fold.histories.items() if each.offset >= 0}
    n_users = 0
    for key, rows in read_rows(content):
        user = key.decode()
        n_users += 1
        history = folded.pop(user, None) or load_history(user, load)
        stored = sorted(row for row in rows if row[0] != table_rows.list_key(key))
        if history is None or sorted(table_rows.changes(None, history)) != stored:
            header = dict(rows).get(key)
            at = "?" if header is None else table_rows.header_offset(header)
            raise CheckpointMismatch(
                f"{manifest.name}: folding the log from offset {start} gives other rows for a user "
                f"whose newest event is at offset {at}; delete the checkpoint and make a new one"
            )
    if folded:
        raise CheckpointMismatch(
            f"{manifest.name} lacks {len(folded):,} users whom the log has before offset "
            f"{manifest.offset}; delete the checkpoint and make a new one"
        )
    return n_users


def nearest_fold(
    checkpoints: Checkpoints | None,
    event_log: ReadableLog,
    partition: int,
    timeline: SettingsTimeline,
    offset: int,
) -> PartitionFold:
    """Return a fold with all histories of the newest checkpoint at or before an offset.

    Without one it is empty and starts at offset 0; if those events were pruned, reading them raises
    `BeyondHorizon`.
    """
    found = None if checkpoints is None else checkpoints.newest_readable(partition, offset)
    if found is None:
        return fold_from(event_log, partition, timeline, 0, lambda _: None)
    manifest, content = found
    fold = fold_from(event_log, partition, timeline, manifest.offset, lambda _: None)
    for key, rows in read_rows(content):
        user = key.decode()
        try:
            history = table_rows.load(user, dict(rows).get)
        except (ValueError, msgspec.MsgspecError) as error:
            raise CheckpointCorrupt(
                f"{manifest.name} has rows that can't be read: {error}; delete the checkpoint"
            ) from error
        if history is not None:
            fold.histories[user] = history
    return fold
