"""Errors of RocksDB, which have no types of their own; databases and scans with damaged files."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from recstream.errors import OutOfSpace, StartupError

log = logging.getLogger(__name__)

NO_SPACE = "No space left on device"


@contextlib.contextmanager
def rocksdb_errors(folder: Path) -> Generator[None, None, None]:
    """Raise what RocksDB raises about a folder as an error that says what to do.

    Raises
    ------
    OutOfSpace
        The folder's disk is full. A database that could not write refuses all writes until it is
        opened again.
    StartupError
        The folder can't be used for another reason.
    """
    try:
        yield
    except Exception as error:
        if type(error) is not Exception and not isinstance(error, OSError):
            raise  # rocksdict raises plain ones
        # A database that is closed after a failed write raises another error.
        texts = f"{error} {error.__context__}"
        if NO_SPACE in texts:
            raise OutOfSpace(
                f"{folder} can't be written: its disk is full; free some space there and try again"
            ) from error
        raise StartupError(
            f"{folder} can't be used: {error}; close the other process that has it open, make "
            "it writable, or choose another folder"
        ) from error


def open_derived(
    folder: Path, open_database: Callable[[], Any], mark_key: bytes
) -> tuple[Any, bytes | None]:
    """Open a database of RocksDB that is derived from the log; a damaged one is opened empty.

    Parameters
    ----------
    mark_key : bytes
        Key of the value that says what the rows are derived from; it is returned, too.

    Raises
    ------
    OutOfSpace
    StartupError
        As `rocksdb_errors`.
    """

    def attempt() -> tuple[Any, bytes | None]:
        database = open_database()
        try:
            return database, database.get(mark_key)
        except BaseException:
            database.close()
            raise

    with rocksdb_errors(folder):
        try:
            return attempt()
        except Exception as error:
            if not is_damage(error) and "No such file or directory" not in str(error):
                raise
            log.warning("damaged, built again from the log folder=%s: %s", folder, error)
            shutil.rmtree(folder)
            return attempt()


def is_damage(error: Exception) -> bool:
    """Return whether RocksDB could not read a file, so that the database must be built again."""
    return str(error).startswith("Corruption")


def rows_from(database: Any, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a database of RocksDB from a key on, in order.

    Raises
    ------
    Exception
        A block of a file is damaged. rocksdict's own iterators end there as if there were no more rows.
    """
    key = start
    for key, value in database.items(from_key=start or None):
        yield key, value
    check_end(database, key)


def check_end(database: Any, key: bytes) -> None:
    """Raise if rows after the last key of a scan can't be read."""
    rest = database.iter()
    rest.seek(key)
    if rest.valid():
        rest.next()
    rest.status()
