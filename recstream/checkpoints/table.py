"""Read a worker's table while the worker runs, and write a table from a checkpoint."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import rocksdict

from recstream.checkpoints.columns import Row, read_rows, write_rows
from recstream.checkpoints.index import Checkpoints
from recstream.checkpoints.manifest import Manifest, file_name
from recstream.core.history import table_rows
from recstream.errors import CheckpointCorrupt, CheckpointError, NotFound, RecstreamError
from recstream.log import INTERACTIONS, EventLog, TopicPartition, read_backwards
from recstream.process import is_damage, rocksdb_errors, rows_from

log = logging.getLogger(__name__)

OFFSET_KEY = b"__faust\0offset__"
"""Faust's row with the offset of the newest changelog record in the database."""
OPEN_ATTEMPTS = 20
BATCH_ROWS = 20_000
PARTIAL = ".restoring"


def write_checkpoint(
    checkpoints: Checkpoints,
    table: Path,
    partition: int,
    changelog: str,
    *,
    clock_ms: Callable[[], int],
    request: int = -1,
) -> Manifest | None:
    """Write a checkpoint of a table's rows as they are now, and announce it.

    The worker continues: the rows are those of one moment, between two of its commits.

    Parameters
    ----------
    request : int
        See `Manifest`.

    Returns
    -------
    Manifest or None
        None if there is nothing new since the newest checkpoint, and its file is there.

    Raises
    ------
    NotFound
        There is no such table.
    CheckpointError
        The table can't be read, or it is being recovered.
    """
    with _view(table) as database:
        raw_offset, raw_applied = database.get(OFFSET_KEY), database.get(table_rows.APPLIED_KEY)
        if raw_offset is None or raw_applied is None:
            return None
        applied = table_rows.decode_applied_row(raw_applied)
        newest = checkpoints.newest(partition, changelog)
        is_new = newest is None or newest.changelog_offset < int(raw_offset)
        if not is_new and newest is not None and newest.name in checkpoints.store.list():
            return None
        _require_whole_commits(
            checkpoints.log, TopicPartition(changelog, partition), int(raw_offset)
        )
        content, counts = write_rows(_rows(database))
    digest = checkpoints.digest(content)
    manifest = Manifest(
        name=file_name(partition, applied.next_offset, digest, changelog),
        epoch=checkpoints.log.epoch,
        topic=INTERACTIONS,
        partition=partition,
        partitions=checkpoints.log.partitions(INTERACTIONS),
        offset=applied.next_offset,
        listed_offset=applied.listed_offset,
        changelog=changelog,
        changelog_offset=int(raw_offset),
        digest=digest,
        size=len(content),
        n_users=counts.users,
        n_entries=counts.entries,
        n_events=counts.events,
        made_ts=clock_ms(),
        request=request,
    )
    checkpoints.put(manifest, content)
    return manifest


def _require_whole_commits(event_log: EventLog, tp: TopicPartition, offset: int) -> None:
    """Raise `CheckpointError` if a table's newest changelog record is in the middle of a commit.

    Recovery writes records in groups of its own, and a worker that was killed leaves the process
    that makes its checkpoints. Compaction keeps the last record of the newest commit. Records
    without rows don't count.
    """
    keys = (each.key for each in read_backwards(event_log, *tp, offset + 1))
    newest = next((key for key in keys if key not in {None, table_rows.BLANK_KEY}), None)
    if newest != table_rows.APPLIED_KEY:
        raise CheckpointError(
            f"the table of partition {tp.partition} is being recovered: its newest record, "
            f"{tp.topic}[{tp.partition}] offset {offset}, ends no commit; it is tried again"
        )


@contextlib.contextmanager
def _view(table: Path) -> Iterator[rocksdict.Rdict]:
    """Open a database as it is at this moment, while its owner continues to write.

    RocksDB reads which files there are, then the write-ahead logs. If the owner flushes in between,
    the rows of a write-ahead log that was deleted are in neither: such a view is opened again.
    """
    if not table.is_dir():
        raise NotFound(
            f"there is no table at {table}; a worker makes it when it owns the partition"
        )
    options = rocksdict.Options(raw_mode=True)
    options.set_max_open_files(-1)  # files that the owner replaces stay readable
    failure: Exception | None = None
    for _ in range(OPEN_ATTEMPTS):
        try:
            before = _files_mark(table)
            database = rocksdict.Rdict(
                str(table), options, access_type=rocksdict.AccessType.read_only()
            )
        except Exception as error:  # noqa: BLE001 - rocksdict raises no other; a file was replaced
            failure = error
            continue
        try:
            if _files_mark(table) != before:
                failure = None
                continue
            yield database
        finally:
            database.close()
        return
    raise CheckpointError(
        f"the table {table} can't be read: {failure or 'its files change too fast'}; it is tried "
        "again"
    ) from failure


def _files_mark(table: Path) -> tuple[str, int, int]:
    """Return what changes with every change to the set of a database's files: its manifest."""
    name = (table / "CURRENT").read_text("ascii").strip()
    found = (table / name).stat()
    return name, found.st_size, found.st_mtime_ns


def _rows(database: rocksdict.Rdict) -> Iterator[Row]:
    """Yield a table's rows in order.

    Raises
    ------
    CheckpointError
        A block of a file is damaged.
    """
    try:
        for key, value in rows_from(database, b""):
            if key not in {OFFSET_KEY, table_rows.APPLIED_KEY}:
                yield key, value
    except Exception as error:
        if not is_damage(error):
            raise
        raise CheckpointError(
            f"rows of a table can't be read: {error}; stop the worker and delete the table, it is "
            "built again from its changelog"
        ) from error


def write_table(content: bytes, manifest: Manifest, table: Path) -> None:
    """Write a checkpoint's rows as a table; it appears whole or not at all."""
    partial = table.with_name(table.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(create_if_missing=True)
    unlogged = rocksdict.WriteOptions()
    unlogged.disable_wal = True  # type: ignore[method-assign,assignment]  # its stubs are wrong
    try:
        database = rocksdict.Rdict(str(partial), options)
        try:
            database.set_write_options(unlogged)
            n_users = 0
            batch = rocksdict.WriteBatch(raw_mode=True)
            for _, rows in read_rows(content):
                n_users += 1
                for key, value in rows:
                    batch.put(key, value)
                if batch.len() >= BATCH_ROWS:
                    database.write(batch)
                    batch = rocksdict.WriteBatch(raw_mode=True)
            if n_users != manifest.n_users:
                raise CheckpointCorrupt(
                    f"{manifest.name} must hold {manifest.n_users:,} users, got {n_users:,}"
                )
            batch.put(table_rows.APPLIED_KEY, table_rows.encode_row(manifest.applied_row))
            batch.put(OFFSET_KEY, str(manifest.changelog_offset).encode())
            database.write(batch)
            database.flush()
        finally:
            database.close()
        partial.rename(table)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextlib.contextmanager
def rows_by_key(
    content: bytes, manifest: Manifest, folder: Path
) -> Iterator[Callable[[bytes], bytes | None]]:
    """Yield a function that returns a checkpoint's row by key, from a table in a folder."""
    table = folder / manifest.name.removesuffix(".parquet")
    with rocksdb_errors(folder):
        write_table(content, manifest, table)
        database = rocksdict.Rdict(str(table), rocksdict.Options(raw_mode=True))
    try:
        yield database.get
    finally:
        database.close()
        shutil.rmtree(table, ignore_errors=True)


def restore_table(checkpoints: Checkpoints, partition: int, table: Path, changelog: str) -> bool:
    """Write a lost table from the newest checkpoint that can be used; Faust recovers the rest.

    Returns False where there is a table, or no checkpoint: then the whole changelog is read. A
    fault is logged and does the same. Only a checkpoint of the changelog that is given can be used.
    """
    if table.exists():
        return False
    try:
        found = checkpoints.newest_readable(partition, changelog=changelog)
        if found is None:
            return False
        manifest, content = found
        write_table(content, manifest, table)
    except (RecstreamError, OSError) as error:
        log.warning("table not restored, its changelog is read instead: %s", error)
        return False
    except Exception:
        log.exception("table not restored, its changelog is read instead")
        return False
    log.info(
        "table restored partition=%d offset=%d users=%d from %s",
        partition,
        manifest.offset,
        manifest.n_users,
        manifest.name,
    )
    return True
