"""Overwrite unused bytes inside the pages of the log's file.

SQLite moves rows between pages when it splits or joins them, and leaves copies in the gap between a
page's row pointers and its rows; ``secure_delete`` does not reach these. After an erasure they are
overwritten here.
"""

import logging
import os
import struct
import time
from pathlib import Path

from recstream.log.embedded.storage import PAGE_SIZE, Storage

log = logging.getLogger(__name__)

_TREE_HEADER = struct.Struct(">BHHHB")
"""Page kind, first free block, number of cells, start of the cells, fragmented bytes."""
_LEAVES, _INNER = {0x0A, 0x0D}, {0x02, 0x05}
_LEAF_HEADER_BYTES, _INNER_HEADER_BYTES = 8, 12
_FILE_HEADER_BYTES = 100
_PAGES_AT_ONCE = 512
_CHUNK_BYTES = 1 << 26
_MOST_BYTES = 1 << 37
"""In larger files an overflow page could begin like a page of a tree."""
_ATTEMPTS = 20
_PAUSE_S = 0.01
_descriptors: dict[tuple[int, int], int] = {}


def zero_page_gaps(storage: Storage) -> None:
    """Overwrite the gaps of all pages: a chunk at a time, while no process writes to the log.

    Appends wait for one chunk at most. Cost: reads the file once. If other processes keep the
    write-ahead log from being emptied, pages that are in it are not reached; a warning says so.
    """
    wal = storage.path.with_name(f"{storage.path.name}-wal")
    start: int | None = 0
    attempts = 0
    while start is not None:
        if attempts == _ATTEMPTS:
            log.warning(
                "unused bytes in %s were not overwritten: its write-ahead log is in use", wal
            )
            return
        storage.checkpoint()
        with storage.write_alone() as connection:
            is_empty = not wal.exists() or wal.stat().st_size == 0
            if is_empty:
                end, has_written = _zero_gaps(storage.path, start)
                if has_written:
                    # A change of the file: every connection reads its pages again.
                    connection.execute("UPDATE meta SET value = value WHERE name = 'epoch'")
                start, attempts = end, 0
        if not is_empty:
            attempts += 1
            time.sleep(_PAUSE_S)


def _zero_gaps(path: Path, start: int) -> tuple[int | None, bool]:
    """Overwrite the gaps of a chunk; return where the next one begins, and whether bytes changed."""
    descriptor = _descriptor(path)
    size = os.fstat(descriptor).st_size
    if size > _MOST_BYTES:
        log.warning("unused bytes in %s were not overwritten: it is too large", path)
        return None, False
    stop = min(size, start + _CHUNK_BYTES)
    has_written = False
    for block_at in range(start, stop, _PAGES_AT_ONCE * PAGE_SIZE):
        block = os.pread(descriptor, min(_PAGES_AT_ONCE * PAGE_SIZE, stop - block_at), block_at)
        for at in range(0, len(block), PAGE_SIZE):
            page = block[at : at + PAGE_SIZE]
            first, end = page_gap(page, _FILE_HEADER_BYTES if block_at + at == 0 else 0)
            if page.count(0, first, end) < end - first:
                os.pwrite(descriptor, bytes(end - first), block_at + at + first)
                has_written = True
    if has_written:
        os.fsync(descriptor)
    return (stop if stop < size else None), has_written


def _descriptor(path: Path) -> int:
    """Return a descriptor of the file that stays open: closing it would release SQLite's locks (POSIX)."""
    status = path.stat()
    key = status.st_dev, status.st_ino
    if key not in _descriptors:
        _descriptors[key] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    return _descriptors[key]


def page_gap(page: bytes, header_at: int = 0) -> tuple[int, int]:
    """Return begin and end of a page's gap; (0, 0) if it is no page of a tree, or not sound."""
    if len(page) < PAGE_SIZE:
        return 0, 0
    kind, _, n_cells, cells_at, _ = _TREE_HEADER.unpack_from(page, header_at)
    if kind in _LEAVES:
        pointers_at = header_at + _LEAF_HEADER_BYTES
    elif kind in _INNER:
        pointers_at = header_at + _INNER_HEADER_BYTES
    else:
        return 0, 0
    first = pointers_at + 2 * n_cells
    if not first <= cells_at <= PAGE_SIZE:
        return 0, 0
    pointers = struct.unpack_from(f">{n_cells}H", page, pointers_at)
    if any(not cells_at <= each < PAGE_SIZE for each in pointers):
        return 0, 0
    return first, cells_at
