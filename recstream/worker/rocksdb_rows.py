"""Rows of the table `user-histories` in Faust's RocksDB databases, and the folder they live in."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import rocksdict

from recstream.erasure import scrub
from recstream.errors import StartupError
from recstream.log import EventLog
from recstream.settings import Settings

log = logging.getLogger(__name__)

MEBIBYTE = 1024 * 1024

ROCKSDB_OPTIONS: dict[str, Any] = {
    "driver": "rocksdict",
    "block_cache_size": 32 * MEBIBYTE,
    "write_buffer_size": 16 * MEBIBYTE,
    "max_write_buffer_number": 3,
    "target_file_size_base": 32 * MEBIBYTE,
    "bloom_filter_size": 10,
}
"""About 80 MiB of memory per partition; Faust's defaults are 2 GiB and more."""

RowBatch = Iterable[tuple[bytes, bytes | None]]
"""Keys with their new values; None deletes the row."""


class RowStore(Protocol):
    """Rows of the partitions that this worker owns."""

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a row's value, or None."""

    def write(self, partition: int, rows: RowBatch, changelog_offset: int) -> None:
        """Write rows and the offset of their newest changelog record in one batch."""

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every row in key order."""

    def keys_of(self, partition: int, user: bytes) -> list[bytes]:
        """Return the keys of a user's rows."""

    def scrub(self, partition: int) -> None:
        """Remove deleted rows from the files."""


class RocksDBRows:
    """A `RowStore` over a Faust table whose store is RocksDB by rocksdict.

    Writes bypass Faust's table API: rows and Faust's changelog offset go into one ``WriteBatch``
    after the changelog acknowledged them. Faust opens, recovers and reassigns the partitions.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def _database(self, partition: int) -> rocksdict.Rdict:
        database: rocksdict.Rdict = self._table.data._db_for_partition(partition)  # noqa: SLF001 - no public name
        return database

    def keep_only(self, partitions: set[int]) -> None:
        """Close the databases of other partitions, which recovery may have opened again.

        RocksDB locks an open database: the partition's new owner could not open it.
        """
        databases = self._table.data._dbs  # noqa: SLF001 - no public name
        others = [partition for partition in databases if partition not in partitions]
        for partition in others:
            del databases[partition]
        if others:
            gc.collect()

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a row's value, or None."""
        value: bytes | None = self._database(partition).get(key)
        return value

    def write(self, partition: int, rows: RowBatch, changelog_offset: int) -> None:
        """Write rows and Faust's changelog offset in one batch."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(self._table.data.offset_key, str(changelog_offset).encode())
        self._database(partition).write(batch)

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every row but Faust's own, in key order."""
        own = self._table.data.offset_key
        for key, value in cast("Iterator[tuple[bytes, bytes]]", self._database(partition).items()):
            if key != own:
                yield key, value

    def keys_of(self, partition: int, user: bytes) -> list[bytes]:
        """Return the keys of a user's rows, which are adjacent."""
        found: list[bytes] = []
        for key in cast("Iterator[bytes]", self._database(partition).keys(from_key=user)):
            if key != user and not key.startswith(user + b"\0"):
                break
            found.append(key)
        return found

    def scrub(self, partition: int) -> None:
        """Rewrite the partition's files without deleted rows."""
        scrub(self._database(partition))


@contextlib.contextmanager
def tables_folder(settings: Settings, event_log: EventLog) -> Iterator[Path]:
    """Yield the folder of this log's tables; create it if it is missing.

    Tables of another epoch are kept but not used: this log's are recovered from its changelog. On
    Kafka a worker also keeps standby tables, so each worker of a machine takes the first numbered
    folder that no other process has locked.
    """
    folder = settings.path("tables", settings.app_id)
    with contextlib.ExitStack() as held:
        try:
            others = [each.name for each in folder.iterdir()] if folder.is_dir() else []
            if others and event_log.epoch not in others:
                log.warning(
                    "tables of another log found in %s (epochs %s), not used; delete them when the "
                    "log is not coming back",
                    folder,
                    ", ".join(others),
                )
            folder /= event_log.epoch
            folder.mkdir(parents=True, exist_ok=True)
            if settings.broker_url.startswith("kafka://"):
                folder = held.enter_context(_first_free(folder))
        except OSError as error:
            raise StartupError(
                f"tables folder {folder} can't be used: {error}; choose another with --data-dir"
            ) from error
        yield folder


@contextlib.contextmanager
def _first_free(parent: Path) -> Iterator[Path]:
    """Lock and yield the first numbered folder that no other process has locked."""
    for number in itertools.count(1):
        folder = parent / f"worker-{number}"
        folder.mkdir(exist_ok=True)
        with (folder / "owner").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder
            return
