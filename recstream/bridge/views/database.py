"""RocksDB database of a bridge's views, held by one process and emptied for another log."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch

from recstream.core.history import table_rows as history_rows
from recstream.process import check_end, open_derived

log = logging.getLogger(__name__)

SCHEMA = b"2"
MIB = 1 << 20
_META = b"m"
OFFSET, LIST, ROW, MET = b"o", b"r", b"h", b"f"
"""First byte of a key: next offset of a partition, newest list of a user, row of a history or of a
partition's position, erasure that was seen."""


def lock_folder(folder: Path) -> int:
    """Return the descriptor of a folder's lock file; `BlockingIOError` if another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_database(folder: Path, epoch: str) -> Rdict:
    """Return the database, emptied if it is damaged or belongs to another log or schema."""
    mark = SCHEMA + b"\0" + epoch.encode()
    db: Rdict
    db, found = open_derived(folder, lambda: _rdict(folder), _META)
    if found != mark:
        if found is not None:
            log.info("views rebuilt folder=%s", folder)
        db.close()
        shutil.rmtree(folder)
        db = _rdict(folder)
        db[_META] = mark
    return db


def clear(database: Rdict, batch: WriteBatch) -> None:
    """Delete all rows but the mark of the log."""
    for key in database.keys():  # noqa: SIM118 - it is no dict
        if isinstance(key, bytes) and key != _META:
            batch.delete(key)


def keys_from(database: Rdict, prefix: bytes) -> Iterator[bytes]:
    """Yield the keys that begin with a prefix, in order."""
    last = prefix
    for key in database.keys(from_key=prefix):
        if not isinstance(key, bytes) or not key.startswith(prefix):
            return
        last = key
        yield key
    check_end(database, last)


def put(batch: WriteBatch, key: bytes, value: bytes | None) -> None:
    """Add a row to a batch; a value of None deletes it."""
    if value is None:
        batch.delete(key)
    else:
        batch.put(key, value)


def met_key(topic: str, request_id: str) -> bytes:
    """Return the key that marks a request to erase as seen on a topic."""
    return b"%b%b\0%b" % (MET, topic.encode(), request_id.encode())


def offset_key(topic: str, partition: int) -> bytes:
    """Return the key of the next offset to read of a partition."""
    return b"%b%b\0%d" % (OFFSET, topic.encode(), partition)


def applied_key(partition: int) -> bytes:
    """Return the key of a partition's applied row: in the log, all partitions use the same key."""
    return b"%b%b%d" % (ROW, history_rows.APPLIED_KEY, partition)


def _rdict(folder: Path) -> Rdict:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(8 * MIB)
    options.set_max_write_buffer_number(2)
    options.set_keep_log_file_num(2)
    blocks = BlockBasedOptions()
    blocks.set_block_cache(Cache(32 * MIB))
    blocks.set_bloom_filter(10, block_based=False)
    options.set_block_based_table_factory(blocks)
    return Rdict(str(folder), options)
