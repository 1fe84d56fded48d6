"""Step 3 of the flow: the table `user-histories` as rows by partition, over Faust's RocksDB store."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast

import rocksdict

from recstream.erasure import scrub

MEBIBYTE = 1024 * 1024

ROCKSDB_OPTIONS: dict[str, Any] = {
    "driver": "rocksdict",
    "block_cache_size": 32 * MEBIBYTE,
    "write_buffer_size": 16 * MEBIBYTE,
    "max_write_buffer_number": 3,
    "target_file_size_base": 32 * MEBIBYTE,
    "bloom_filter_size": 10,
}
"""Bounds a partition to about 80 MiB; Faust's own defaults are 2 GiB and more."""

RowBatch = Iterable[tuple[bytes, bytes | None]]
"""Keys with their new values; None deletes."""


class RowStore(Protocol):
    """Rows of the partitions this worker owns."""

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a row's value, or None."""

    def write(self, partition: int, rows: RowBatch, changelog_offset: int) -> None:
        """Write rows, and the offset of the newest changelog record that they are, at once."""

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Give every row, in the order of keys."""

    def keys_of(self, partition: int, user: bytes) -> list[bytes]:
        """Return the keys of a user's rows."""

    def scrub(self, partition: int) -> None:
        """Overwrite what was deleted, where the store keeps it for a while."""


class FaustRows:
    """A `RowStore` over a Faust table whose store is RocksDB by rocksdict.

    It writes past Faust's table API: rows and Faust's own changelog offset go into one
    ``WriteBatch``, after the changelog acknowledged them. Faust still opens, recovers and hands
    over the partitions.
    """

    def __init__(self, table: Any) -> None:
        self._table = table

    def _database(self, partition: int) -> rocksdict.Rdict:
        database: rocksdict.Rdict = self._table.data._db_for_partition(partition)  # noqa: SLF001 - no public name
        return database

    def keep_only(self, partitions: set[int]) -> None:
        """Close the databases of other partitions.

        A recovery that a rebalance overtook may have opened one again, and an open database locks
        its new owner out.
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
        """Write rows and Faust's changelog offset at once."""
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key, value in rows:
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        batch.put(self._table.data.offset_key, str(changelog_offset).encode())
        self._database(partition).write(batch)

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Give every row but Faust's own, in the order of keys."""
        own = self._table.data.offset_key
        for key, value in cast("Iterator[tuple[bytes, bytes]]", self._database(partition).items()):
            if key != own:
                yield key, value

    def keys_of(self, partition: int, user: bytes) -> list[bytes]:
        """Return the keys of a user's rows, which are neighbours."""
        found: list[bytes] = []
        for key in cast("Iterator[bytes]", self._database(partition).keys(from_key=user)):
            if key != user and not key.startswith(user + b"\0"):
                break
            found.append(key)
        return found

    def scrub(self, partition: int) -> None:
        """Rewrite the partition's files without what was deleted."""
        scrub(self._database(partition))


class MemoryRows:
    """A `RowStore` in memory: for replays into nothing, and for tests."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[bytes, bytes]] = {}
        self.changelog_offsets: dict[int, int] = {}

    def get(self, partition: int, key: bytes) -> bytes | None:
        """Return a row's value, or None."""
        return self.rows.get(partition, {}).get(key)

    def write(self, partition: int, rows: RowBatch, changelog_offset: int) -> None:
        """Keep rows and the changelog offset."""
        table = self.rows.setdefault(partition, {})
        for key, value in rows:
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        self.changelog_offsets[partition] = changelog_offset

    def scan(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Give every row, in the order of keys."""
        yield from sorted(self.rows.get(partition, {}).items())

    def keys_of(self, partition: int, user: bytes) -> list[bytes]:
        """Return the keys of a user's rows."""
        return [key for key in self.rows.get(partition, {}) if key.partition(b"\0")[0] == user]

    def scrub(self, partition: int) -> None:
        """Nothing: memory keeps nothing."""
