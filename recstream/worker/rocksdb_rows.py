"""Rows of the table `user-histories` in Faust's RocksDB databases, and the folder they live in."""

import asyncio
import contextlib
import fcntl
import gc
import itertools
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import rocksdict

from recstream.checkpoints import Checkpoints, restore_table
from recstream.core.history import table_rows
from recstream.erasure import BLANK_KEY, forgetting, scrub
from recstream.errors import RecstreamError, StartupError
from recstream.log import INTERACTIONS, EventLog, histories_changelog
from recstream.process import is_damage, rows_from
from recstream.settings import Settings

log = logging.getLogger(__name__)

MEBIBYTE = 1024 * 1024
OFFSET_KEY = b"__faust\0offset__"
"""Faust's row with the offset of the newest changelog record in the database."""

ROCKSDB_OPTIONS: dict[str, Any] = {
    "driver": "rocksdict",
    "block_cache_size": 32 * MEBIBYTE,
    "write_buffer_size": 16 * MEBIBYTE,
    "max_write_buffer_number": 3,
    "target_file_size_base": 32 * MEBIBYTE,
    "bloom_filter_size": 10,
}
"""About 80 MiB of memory per partition; Faust's defaults are 2 GiB and more."""

DAMAGED = "damaged"
"""Name of a file in a database's folder: a block of the database could not be read."""

BEFORE_ERASURE = "may hold rows of a user who was erased since"

RowBatch = Iterable[tuple[bytes, bytes | None]]
"""Keys with their new values; None deletes the row."""


class RocksDBRows:
    """Rows of the partitions that this worker owns: a Faust table whose store is RocksDB by rocksdict.

    Parameters
    ----------
    deletes_others : bool
        Delete databases of partitions that this worker gave up; on Kafka it may stand by for them.

    Attributes
    ----------
    prepare : callable
        Called with a partition before its database is opened: deletes one from before a user was erased, which
        another worker may have done since this one started, and writes a lost one from a checkpoint.

    Notes
    -----
    Writes bypass Faust's table API: rows and Faust's changelog offset go into one ``WriteBatch``
    after the changelog acknowledged them. Faust opens, recovers and reassigns the partitions.
    """

    def __init__(self, table: Any, folder: Path, *, deletes_others: bool) -> None:
        self._table = table
        self._folder = folder
        self._deletes_others = deletes_others
        self._fault: BaseException | None = None
        self.prepare: Callable[[int], None] = lambda _: None

    def check(self) -> None:
        """Raise if rows may be in the log that the table lacks."""
        if self._fault is not None:
            raise RuntimeError(
                "the tables may lack rows that are in the log; the worker must start again, which recovers"
                f" them: {self._fault!r}"
            ) from self._fault

    def _database(self, partition: int) -> rocksdict.Rdict:
        self.check()
        database: rocksdict.Rdict = self._table.data._db_for_partition(partition)  # noqa: SLF001 - no public name
        return database

    def path(self, partition: int) -> Path:
        """Return the folder of a partition's database."""
        path: Path = self._table.data.partition_path(partition)
        return path

    def prepare_with(self, event_log: EventLog, checkpoints: Checkpoints, changelog: str) -> None:
        """Have Faust's store call `prepare` before it opens a database."""
        store = self._table.data
        open_database = store._try_open_db_for_partition  # noqa: SLF001 - Faust has no hook for it

        def prepare(partition: int) -> None:
            if partition not in store._dbs:  # noqa: SLF001 - no public name
                _set_aside_stale(self._folder, event_log, changelog, partition)
                restore_table(checkpoints, partition, self.path(partition), changelog)

        async def prepare_and_open(partition: int, *arguments: Any, **named: Any) -> Any:
            await asyncio.to_thread(prepare, partition)
            return await open_database(partition, *arguments, **named)

        self.prepare = prepare
        store._try_open_db_for_partition = prepare_and_open  # noqa: SLF001

    def keep_only(self, partitions: set[int]) -> None:
        """Close the databases of other partitions, which recovery may have opened again.

        On the embedded log they are deleted: an erased user's rows would come back with them.
        """
        databases = self._table.data._dbs  # noqa: SLF001 - no public name
        others = [partition for partition in databases if partition not in partitions]
        for partition in others:
            del databases[partition]
        if others:
            gc.collect()
        if self._deletes_others:
            for partition, paths in _databases(self._folder).items():
                if partition not in partitions:
                    for path in paths:
                        shutil.rmtree(path)

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a row's value, or None."""
        try:
            value: bytes | None = self._database(partition).get(key)
        except Exception as error:
            self._note_damage(partition, error)
            raise
        return value

    def write(self, partition: int, rows: RowBatch, changelog_offset: int) -> None:
        """Write rows and Faust's changelog offset in one batch.

        The rows are in the log already. After an error every call raises: whoever read the table now
        would continue from rows that are older than the log's.
        """
        try:
            batch = rocksdict.WriteBatch(raw_mode=True)
            for key, value in rows:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            batch.put(self._table.data.offset_key, str(changelog_offset).encode())
            self._database(partition).write(batch)
        except BaseException as error:
            self.fail(error)
            raise

    def fail(self, error: BaseException) -> None:
        """Refuse to read and write from now on: rows may be in the log that the table lacks."""
        self._fault = self._fault or error

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every row but Faust's own, in key order."""
        own = self._table.data.offset_key
        for key, value in self._rows_from(partition, b""):
            if key != own:
                yield key, value

    def keys_of(self, partition: int, user: bytes) -> list[bytes]:
        """Return the keys of a user's rows, which are adjacent."""
        found: list[bytes] = []
        for key, _ in self._rows_from(partition, user):
            if key != user and not key.startswith(user + b"\0"):
                break
            found.append(key)
        return found

    def _rows_from(self, partition: int, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield rows in key order; raise if a block of them can't be read."""
        database = self._database(partition)
        try:
            yield from rows_from(database, start)
        except Exception as error:
            self._note_damage(partition, error)
            raise

    def _note_damage(self, partition: int, error: Exception) -> None:
        """Have the next start set a damaged database aside; until then refuse to read and write."""
        if is_damage(error):
            self.fail(error)
            (self.path(partition) / DAMAGED).touch()

    def scrub(self, partition: int) -> None:
        """Rewrite the partition's files without deleted rows, and delete copies nobody uses."""
        scrub(self._database(partition))
        remove_unused_copies(self._folder, partition)
        for path in _databases(self._folder).get(partition, []):
            if path.parent != self._folder:
                shutil.rmtree(path)

    def scrub_copy(self, partition: int) -> None:
        """Rewrite the files of a partition that this worker stands by for."""
        if partition in self._table.data._dbs:  # noqa: SLF001 - no public name
            scrub(self._database(partition))


@contextlib.contextmanager
def tables_folder(settings: Settings, event_log: EventLog) -> Iterator[Path]:
    """Yield a folder for the tables that no other process uses, with databases that match the log.

    Each worker of a machine has its own: RocksDB locks a database as long as its process lives, also
    when that is stopped and its partitions are another's. Tables of another epoch are kept but not
    used.

    Raises
    ------
    StartupError
        The folder can't be written.
    """
    parent = settings.path("tables", settings.app_id)
    with contextlib.ExitStack() as held:
        try:
            others = [each.name for each in parent.iterdir()] if parent.is_dir() else []
            if others and event_log.epoch not in others:
                log.warning(
                    "tables of another log found in %s (epochs %s), not used; delete them when the "
                    "log is not coming back",
                    parent,
                    ", ".join(others),
                )
            folder = held.enter_context(_first_free(parent / event_log.epoch))
            _set_aside_stale(folder, event_log, histories_changelog(settings.app_id))
        except OSError as error:
            raise StartupError(
                f"tables folder {parent} can't be used: {error}; choose another with --data-dir"
            ) from error
        yield folder


@contextlib.contextmanager
def _first_free(parent: Path) -> Iterator[Path]:
    """Lock and yield the first numbered folder that no other process has locked."""
    for number in itertools.count(1):
        folder = parent / f"worker-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "owner").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if number == 1:  # where versions before 0.2 had them
                for path in parent.glob("*.db"):
                    path.rename(folder / path.name)
            yield folder
            return


def remove_unused_copies(folder: Path, partition: int) -> None:
    """Delete a partition's databases in the folders of workers that are gone."""
    for other in folder.parent.glob("worker-*"):
        if other == folder:
            continue
        with (other / "owner").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for path in _databases(other).get(partition, []):
                shutil.rmtree(path)


def _databases(folder: Path) -> dict[int, list[Path]]:
    """Return the databases in a folder by partition, those set aside included."""
    found: dict[int, list[Path]] = {}
    for path in [*folder.glob("*.db"), *folder.glob("set-aside/*.db")]:
        found.setdefault(int(path.stem.rpartition("-")[2]), []).append(path)
    return found


def _set_aside_stale(
    folder: Path, event_log: EventLog, changelog: str, alone: int | None = None
) -> None:
    """Move databases that don't match the log out of the way, all or one partition's; Faust rebuilds them."""
    found = _databases(folder)
    if alone is not None:
        found = {alone: found[alone]} if alone in found else {}
    forgotten = forgetting(event_log).begun.values() if found else ()
    for partition, paths in found.items():
        for path in paths:
            if path.parent != folder:
                continue
            until = max((f.at_offset for f in forgotten if f.partition == partition), default=-1)
            fault = (
                "has a block that can't be read"
                if (path / DAMAGED).exists()
                else _fault(path, event_log, changelog, partition, until)
            )
            if fault is None:
                continue
            if fault == BEFORE_ERASURE:
                shutil.rmtree(path)
                log.info(
                    "table deleted, rebuilt from the changelog: partition %d %s", partition, fault
                )
                continue
            target = folder / "set-aside" / path.name
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
            log.warning(
                "table set aside in %s, rebuilt from the changelog: partition %d %s",
                target,
                partition,
                fault,
            )


def _fault(
    path: Path, event_log: EventLog, changelog: str, partition: int, forgotten_until: int
) -> str | None:
    """Return why a database can't be a copy of the changelog, None if it can.

    Parameters
    ----------
    forgotten_until : int
        Newest offset at which a user of the partition was erased. An older copy still has the rows.
    """
    options = rocksdict.Options(raw_mode=True)
    try:
        database = rocksdict.Rdict(str(path), options, access_type=rocksdict.AccessType.read_only())
        try:
            offset, applied = database.get(OFFSET_KEY), database.get(table_rows.APPLIED_KEY)
            next_offset = (
                0 if applied is None else table_rows.decode_applied_row(applied).next_offset
            )
            if offset is None:
                return None if applied is None else "has rows without a changelog offset"
            if partition >= event_log.partitions(changelog) or not _matches(
                database, int(offset), event_log, changelog, partition
            ):
                return f"is not a copy of the changelog up to offset {int(offset)}"
        finally:
            database.close()
    except RecstreamError:
        raise
    except Exception as error:  # noqa: BLE001 - rocksdict raises no other
        return f"can't be read ({error})"
    if next_offset > event_log.high_watermark(INTERACTIONS, partition):
        return f"is ahead of the events of the log (next offset {next_offset})"
    if next_offset <= forgotten_until:
        return BEFORE_ERASURE
    return None


def _matches(
    database: rocksdict.Rdict, offset: int, event_log: EventLog, changelog: str, partition: int
) -> bool:
    """Return whether a database holds the changelog record that it says is its newest."""
    if offset >= event_log.high_watermark(changelog, partition):
        return False
    if offset < event_log.earliest(changelog, partition):
        return True
    found = event_log.read(changelog, partition, offset, 1)
    if not found or found[0].offset != offset:
        return True  # compacted
    key = found[0].key
    return key is None or key == BLANK_KEY or database.get(key) == found[0].value
